package retain

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/dermai/millrace/archive"
)

// Metrics of workers. One set serves all classes of a process.
type Metrics struct {
	segments, bytes, waiting, held, holds *prometheus.GaugeVec
	deleted, deletedBytes                 *prometheus.CounterVec
	last, failed                          *prometheus.GaugeVec
}

// NewMetrics registers the metrics with reg, which may be nil.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	f := promauto.With(reg)
	gauge := func(name, help string) *prometheus.GaugeVec {
		return f.NewGaugeVec(prometheus.GaugeOpts{Name: "millrace_archive_retention_" + name, Help: help}, []string{"class"})
	}
	counter := func(name, help string) *prometheus.CounterVec {
		return f.NewCounterVec(prometheus.CounterOpts{Name: "millrace_archive_retention_" + name, Help: help}, []string{"class"})
	}
	return &Metrics{
		segments:     gauge("segments", "Segments that are kept, as of the last run."),
		bytes:        gauge("bytes", "Bytes of the segments that are kept, as of the last run."),
		waiting:      gauge("waiting", "Segments that are condemned and not removed yet, as of the last run."),
		held:         gauge("held", "Segments past their time that legal holds keep, as of the last run."),
		holds:        gauge("holds", "Legal holds in force, as of the last run."),
		deleted:      counter("deleted_objects_total", "Objects and segments removed by retention."),
		deletedBytes: counter("deleted_bytes_total", "Bytes of the objects and segments removed by retention."),
		last:         gauge("run_timestamp_seconds", "When retention last ran to its end, Unix time; 0 for never."),
		failed:       gauge("failed", "1 if the last run failed, otherwise 0."),
	}
}

// inventory is what a run leaves.
type inventory struct {
	segments, waiting, holds int
	bytes                    int64
}

func (i *inventory) count(m *archive.Manifest) {
	i.segments += len(m.Segments)
	for _, s := range m.Segments {
		i.bytes += s.Bytes
	}
	for _, t := range m.Deleted {
		if t.Removed == 0 {
			i.waiting++
		}
	}
}

// ran notes a run.
func (m *Metrics) ran(class string, at time.Time, left inventory, r Result, err error) {
	m.deleted.WithLabelValues(class).Add(float64(r.Objects))
	m.deletedBytes.WithLabelValues(class).Add(float64(r.Bytes))
	if err != nil {
		m.failed.WithLabelValues(class).Set(1)
		return
	}
	m.failed.WithLabelValues(class).Set(0)
	m.last.WithLabelValues(class).Set(float64(at.UnixNano()) / 1e9)
	m.segments.WithLabelValues(class).Set(float64(left.segments))
	m.bytes.WithLabelValues(class).Set(float64(left.bytes))
	m.waiting.WithLabelValues(class).Set(float64(left.waiting))
	m.holds.WithLabelValues(class).Set(float64(left.holds))
	m.held.WithLabelValues(class).Set(float64(r.Held))
}
