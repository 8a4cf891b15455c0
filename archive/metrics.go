package archive

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// Metrics of archivers. One set serves all streams of a
// process.
type Metrics struct {
	lag        *prometheus.GaugeVec
	lagSeconds *prometheus.GaugeVec
	objects    *prometheus.CounterVec
	bytes      *prometheus.CounterVec
	messages   *prometheus.CounterVec
	adoptions  *prometheus.CounterVec
	missing    *prometheus.CounterVec
	trimmed    *prometheus.GaugeVec
	refused    *prometheus.GaugeVec
}

// NewMetrics registers the metrics with reg, which may be nil.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	f := promauto.With(reg)
	gauge := func(name, help string) *prometheus.GaugeVec {
		return f.NewGaugeVec(prometheus.GaugeOpts{Name: "millrace_archive_" + name, Help: help}, []string{"stream"})
	}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return f.NewCounterVec(prometheus.CounterOpts{Name: "millrace_archive_" + name, Help: help}, append(labels, "stream"))
	}
	return &Metrics{
		lag:        gauge("lag_messages", "Messages of the stream that no stored object covers."),
		lagSeconds: gauge("lag_seconds", "Age of the oldest message that was read and is not stored."),
		objects:    counter("objects_total", "Objects stored."),
		bytes:      counter("bytes_total", "Bytes of the objects stored."),
		messages:   counter("messages_total", "Messages in the objects stored."),
		adoptions:  counter("adoptions_total", "Objects of other archivers that were compared and adopted."),
		missing:    counter("missing_total", "Sequences recorded as missing, by reason.", "reason"),
		trimmed:    gauge("trimmed_sequence", "Sequence below which the stream was trimmed."),
		refused:    gauge("trim_refused", "1 while the stream is not trimmed because an object is gone or damaged, otherwise 0."),
	}
}
