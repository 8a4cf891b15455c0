package sinks

import (
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dermai/millrace/schemas"
)

// Other is the value of a label whose own is not in the list, or one too many.
const Other = "other"

// How many values a label may have. What comes later is Other.
const (
	maxEndpoints = 200
	maxServices  = 100
	maxRules     = 500
)

// WellKnownMetrics are the names that metric events are shown under unless told
// otherwise; see docs/events.md.
var WellKnownMetrics = []string{"system.cpu", "system.memory_percent", "system.disk_percent", "db.pool"}

// PrometheusConfig says which values labels may have.
type PrometheusConfig struct {
	// Endpoints are the templates of paths, such as /patients/{id}, where a
	// segment in braces stands for any; every other path is Other. None: what
	// schemas.PathTemplate makes of a path, the first 200.
	Endpoints []string
	// Names of metric events. nil: WellKnownMetrics.
	Names []string
}

// Prometheus makes metrics from events and from alerts. No label ever has a text
// from an event that is not in a list or a template. It is safe for concurrent
// use; each reducer gets a Tally of its own and each evaluator a Board.
type Prometheus struct {
	endpoints [][]string
	names     map[string]bool

	requests   *prometheus.CounterVec
	duration   *prometheus.HistogramVec
	queries    *prometheus.HistogramVec
	gauges     *prometheus.GaugeVec
	gaugesAt   *prometheus.GaugeVec
	counters   *prometheus.CounterVec
	histograms *prometheus.HistogramVec
	unusable   prometheus.Counter
	alerts     *prometheus.GaugeVec
	shadows    *prometheus.GaugeVec

	mu       sync.Mutex
	paths    map[string]bool // templates seen, without a list
	services map[string]bool
	rules    map[string]bool
	at       map[[2]string]int64 // event time of a gauge's value, by service and name
	levels   map[level]int
}

// NewPrometheus makes the metrics and registers them where reg is not nil.
func NewPrometheus(c PrometheusConfig, reg prometheus.Registerer) *Prometheus {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, labels)
	}
	// Classic buckets for who scrapes text, native ones for who asks for them.
	histogram := func(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: name, Help: help, Buckets: buckets,
			NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 160, NativeHistogramMinResetDuration: time.Hour,
		}, labels)
	}
	if c.Names == nil {
		c.Names = WellKnownMetrics
	}
	p := &Prometheus{
		names: map[string]bool{},
		requests: counter("api_requests_total",
			"API requests in stored events.", "method", "endpoint", "status"),
		duration: histogram("api_request_duration_seconds",
			"Duration of API requests in stored events.", prometheus.DefBuckets, "method", "endpoint"),
		queries: histogram("db_query_duration_seconds",
			"Duration of the database queries that services logged as slow.", []float64{.1, .25, .5, 1, 2, 5, 10, 30, 60}, "service"),
		gauges: gauge("millrace_event_value",
			"Latest value of metric events of type gauge, by event time.", "service", "name"),
		gaugesAt: gauge("millrace_event_value_timestamp_seconds",
			"Event time of that value, Unix seconds.", "service", "name"),
		counters: counter("millrace_event_increments_total",
			"Sum of metric events of type counter.", "service", "name"),
		histograms: histogram("millrace_event_distribution",
			"Values of metric events of type histogram.", prometheus.ExponentialBuckets(.001, 10, 9), "service", "name"),
		unusable: prometheus.NewCounter(prometheus.CounterOpts{Name: "millrace_event_metric_unusable_total",
			Help: "Metric events that no metric shows: their name is not listed, or a counter falls."}),
		alerts: gauge("millrace_alerts",
			"Alerts that are not inactive, by state; of the process that decides.", "alertname", "severity", "class", "state"),
		shadows: gauge("millrace_shadow_alerts",
			"Alerts of rules in shadow that are not inactive, by state; nobody is told of them.", "alertname", "severity", "class", "state"),
		paths: map[string]bool{}, services: map[string]bool{}, rules: map[string]bool{},
		at: map[[2]string]int64{}, levels: map[level]int{},
	}
	for _, e := range c.Endpoints {
		p.endpoints = append(p.endpoints, strings.Split(strings.Trim(e, "/"), "/"))
	}
	for _, n := range c.Names {
		p.names[n] = true
	}
	if reg != nil {
		reg.MustRegister(p.requests, p.duration, p.queries, p.gauges, p.gaugesAt, p.counters, p.histograms, p.unusable, p.alerts, p.shadows)
	}
	return p
}

// methods that labels may have.
var methods = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"}

func listed(list []string, value string) string {
	if slices.Contains(list, value) {
		return value
	}
	return Other
}

// among keeps the first values of a label up to a limit.
func (p *Prometheus) among(seen map[string]bool, limit int, value string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !seen[value] {
		if len(seen) >= limit || value == "" {
			return Other
		}
		seen[strings.Clone(value)] = true
	}
	return value
}

// endpoint is the label of a path.
func (p *Prometheus) endpoint(path string) string {
	if len(p.endpoints) == 0 {
		return p.among(p.paths, maxEndpoints, schemas.PathTemplate(path))
	}
	path, _, _ = strings.Cut(path, "?")
	have := strings.Split(strings.Trim(path, "/"), "/")
	for _, want := range p.endpoints {
		if slices.EqualFunc(want, have, func(w, h string) bool { return w == h || strings.HasPrefix(w, "{") && h != "" }) {
			return "/" + strings.Join(want, "/")
		}
	}
	return Other
}

// status is the label of a status code.
func status(v any) string {
	code, ok := v.(float64)
	if !ok || code != math.Trunc(code) || code < 100 || code > 599 {
		return Other
	}
	return string([]byte{byte('0' + int(code)/100), byte('0' + int(code)/10%10), byte('0' + int(code)%10)})
}

// seconds of a duration in milliseconds; false: there is none.
func seconds(e *schemas.Event) (float64, bool) {
	ms, ok := e.Attributes["duration_ms"].(float64)
	return ms / 1000, ok && ms >= 0
}
