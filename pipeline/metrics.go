package pipeline

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics of one connection and of all that uses it.
type metrics struct {
	disconnects   prometheus.Counter
	appends       *prometheus.CounterVec // stream, outcome
	appendSeconds prometheus.Histogram
	readMessages  *prometheus.CounterVec // stream
	readRestarts  *prometheus.CounterVec // stream
	frames        *prometheus.CounterVec // kind
	events        *prometheus.CounterVec // kind
	shed          *prometheus.CounterVec // reason
	laneFaults    prometheus.Counter
	unknownFrames prometheus.Counter
	buffered      prometheus.Gauge
	quarantined   *prometheus.CounterVec // stage
	consumed      *prometheus.CounterVec // consumer, outcome
	consumerLag   *prometheus.GaugeVec   // consumer, stream
	redelivered   *prometheus.CounterVec // consumer, stream
	fill          *prometheus.GaugeVec   // stream
	spooled       prometheus.Counter
	spoolDamaged  prometheus.Counter
	spoolBytes    prometheus.Gauge
	spoolEvents   prometheus.Gauge
}

// outcomes of an append, as the label says them.
const (
	outcomeStored  = "stored"
	outcomeRefused = "refused"
	outcomeUnknown = "unknown"
	outcomeFull    = "full"
	outcomeError   = "error"
)

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: "millrace", Name: name, Help: help})
	}
	vec := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "millrace", Name: name, Help: help}, labels)
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "millrace", Name: name, Help: help})
	}
	m := &metrics{
		disconnects: counter("broker_disconnects_total", "Connections to the broker that were lost."),
		appends:     vec("appends_total", "Appends by outcome: stored, refused, unknown, full, error.", "stream", "outcome"),
		appendSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "millrace", Name: "append_seconds", Help: "Time from an append to its answer.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 14),
		}),
		readMessages:  vec("read_messages_total", "Messages that readers took from the broker.", "stream"),
		readRestarts:  vec("read_restarts_total", "Times a reader was started anew.", "stream"),
		frames:        vec("publisher_frames_total", "Frames that publishers stored.", "kind"),
		events:        vec("publisher_events_total", "Events that publishers stored.", "kind"),
		shed:          vec("publisher_shed_total", "Events of Enqueue that are not stored: invalid, full, refused.", "reason"),
		laneFaults:    counter("publisher_lane_faults_total", "Lanes that were left because the broker lost them, or somebody else wrote to them."),
		unknownFrames: counter("publisher_unknown_total", "Frames given up without knowing whether they are stored."),
		buffered:      gauge("publisher_buffered_bytes", "Bytes of events that wait to be stored."),
		quarantined:   vec("quarantined_total", "Items put into quarantine.", "stage"),
		consumed:      vec("consumer_events_total", "What consumers did with events: handled, skipped, retried, panicked, quarantined.", "consumer", "outcome"),
		consumerLag: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: "millrace", Name: "consumer_lag_messages", Help: "Messages that no process of the consumer had taken when the last one came, or the broker was last asked."}, []string{"consumer", "stream"}),
		redelivered: vec("consumer_redelivered_total", "Messages that came again.", "consumer", "stream"),
		fill: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: "millrace", Name: "stream_fill_ratio", Help: "Share of a stream's bytes that is used, when last looked at."}, []string{"stream"}),
		spooled:      counter("spool_events_total", "Events written to the publisher's spool."),
		spoolDamaged: counter("spool_damaged_total", "Damaged stretches of the spool that were skipped; millrace spool check names them."),
		spoolBytes:   gauge("spool_bytes", "Bytes of the publisher's spool."),
		spoolEvents:  gauge("spool_events", "Events in the publisher's spool that are not yet at the broker."),
	}
	if r == nil {
		return m, nil
	}
	var faults []error
	for _, c := range []prometheus.Collector{
		m.disconnects, m.appends, m.appendSeconds, m.readMessages, m.readRestarts, m.frames, m.events,
		m.shed, m.laneFaults, m.unknownFrames, m.buffered, m.quarantined, m.consumed, m.consumerLag, m.redelivered, m.fill,
		m.spooled, m.spoolDamaged, m.spoolBytes, m.spoolEvents,
	} {
		faults = append(faults, r.Register(c))
	}
	if err := errors.Join(faults...); err != nil {
		return nil, fmt.Errorf("metrics: %w; give each connection a registerer of its own", err)
	}
	return m, nil
}

// consumerMetrics counts what one consumer does with events.
type consumerMetrics struct {
	handled, skipped, retried, panics, quarantined prometheus.Counter
}

func (m *metrics) consumer(name string) consumerMetrics {
	of := func(outcome string) prometheus.Counter { return m.consumed.WithLabelValues(name, outcome) }
	return consumerMetrics{of("handled"), of("skipped"), of("retried"), of("panicked"), of("quarantined")}
}
