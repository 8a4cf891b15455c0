package notify

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dermai/millrace/schemas"
)

// Metrics counts what the machines of a process do. It is safe for concurrent
// use; nil counts nothing.
type Metrics struct {
	planned    *prometheus.CounterVec
	deliveries *prometheus.CounterVec
	latency    *prometheus.HistogramVec
	sending    *prometheus.HistogramVec
	lost       *prometheus.CounterVec
	fenced     *prometheus.CounterVec
	breaker    *prometheus.GaugeVec
}

// NewMetrics makes the metrics and registers them where reg is not nil.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	histogram := func(name, help string, buckets ...float64) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, []string{"receiver"})
	}
	m := &Metrics{
		planned: counter("millrace_notifications_planned_total",
			"Notifications appended to NOTIFY.", "receiver", "reason"),
		deliveries: counter("millrace_notification_attempts_total",
			"Attempts to deliver by outcome: delivered, retry, ambiguous, rejected.", "receiver", "outcome"),
		latency: histogram("millrace_notification_latency_seconds",
			"From the end of the tick that a notification is about until the receiver had it.", .5, 1, 2, 3, 5, 10, 30, 60, 300, 1800, 3600),
		sending: histogram("millrace_notification_send_seconds",
			"Length of one attempt.", .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10),
		lost: counter("millrace_notify_lost_messages_total",
			"Messages that expired before they were planned or sent.", "receiver", "stream"),
		fenced: counter("millrace_notify_fenced_total",
			"Times that a machine lost its subject to another process.", "receiver", "stream"),
		breaker: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "millrace_receiver_breaker_open",
			Help: "1 while a receiver is left alone after failures in a row, otherwise 0.",
		}, []string{"receiver"}),
	}
	if reg != nil {
		reg.MustRegister(m.planned, m.deliveries, m.latency, m.sending, m.lost, m.fenced, m.breaker)
	}
	return m
}

func (m *Metrics) orNone() *Metrics {
	if m == nil {
		return NewMetrics(nil)
	}
	return m
}

// ended counts an attempt whose outcome is stored.
func (m *Metrics) ended(receiver string, d schemas.Delivery) {
	m.deliveries.WithLabelValues(receiver, d.Outcome).Inc()
}

// delivered notes how long after its tick a receiver had a notification.
func (m *Metrics) delivered(receiver string, tick int64, now time.Time) {
	m.latency.WithLabelValues(receiver).Observe(max(0, now.Sub(time.Unix(0, tick)).Seconds()))
}
