package sources

import (
	"time"

	"github.com/dermai/millrace/schemas"
	"github.com/prometheus/client_golang/prometheus"
)

// Metrics counts what comes in by all doors. A nil *Metrics counts nothing. Safe
// for concurrent use.
type Metrics struct {
	events  *prometheus.CounterVec
	bytes   *prometheus.CounterVec
	refusal *prometheus.CounterVec
	secrets *prometheus.CounterVec
	store   *prometheus.HistogramVec
	lag     *prometheus.GaugeVec
}

// NewMetrics registers the metrics of this package. There is one set a registry.
func NewMetrics(r prometheus.Registerer) *Metrics {
	m := &Metrics{
		events: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "millrace_source_events_total",
			Help: "Events that came in by a door and are stored.",
		}, []string{"door", "kind"}),
		bytes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "millrace_source_bytes_total",
			Help: "Bytes of the stored events, as canonical JSON.",
		}, []string{"door"}),
		refusal: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "millrace_source_refused_total",
			Help: "Requests and lines that were refused, by reason.",
		}, []string{"door", "reason"}),
		secrets: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "millrace_source_redacted_total",
			Help: "Values that were redacted from events before they were stored.",
		}, []string{"door"}),
		store: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "millrace_source_store_seconds",
			Help:    "Time until a frame was stored.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 16),
		}, []string{"door"}),
		lag: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "millrace_follow_lag_bytes",
			Help: "Bytes of a followed file that are not stored yet.",
		}, []string{"path"}),
	}
	r.MustRegister(m.events, m.bytes, m.refusal, m.secrets, m.store, m.lag)
	return m
}

func (m *Metrics) accepted(door string, kind schemas.Kind, events, bytes int, took time.Duration) {
	if m == nil {
		return
	}
	m.events.WithLabelValues(door, string(kind)).Add(float64(events))
	m.bytes.WithLabelValues(door).Add(float64(bytes))
	m.store.WithLabelValues(door).Observe(took.Seconds())
}

func (m *Metrics) refused(door, reason string, n int) {
	if m != nil {
		m.refusal.WithLabelValues(door, reason).Add(float64(n))
	}
}

func (m *Metrics) redacted(door string, n int) {
	if m != nil && n > 0 {
		m.secrets.WithLabelValues(door).Add(float64(n))
	}
}

func (m *Metrics) behind(path string, bytes int64) {
	if m != nil {
		m.lag.WithLabelValues(path).Set(float64(bytes))
	}
}

// reasonOf puts the refusal of a line into one of few words.
func reasonOf(err error) string {
	switch err {
	case error(errLong):
		return "too large"
	case error(errCut):
		return "cut off"
	}
	return "invalid"
}
