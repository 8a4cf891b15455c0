package proof

import (
	"context"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/dermai/millrace/archive"
)

// settle is how long after a day's end it is looked at: clocks differ.
const settle = 10 * time.Minute

// Daily looks at each UTC day once it is over, in order, and keeps its report in
// the archive, where it is what the next day goes on from. Any number may run for
// one archive: a day has one report, whoever was first. It is not safe for
// concurrent use.
type Daily struct {
	store   archive.Store
	run     func(ctx context.Context, since, until int64) (*Report, error)
	now     func() time.Time
	metrics metrics
}

// NewDaily prepares it. run is Run with all that it compares. The metrics are
// registered with reg, which may be nil.
func NewDaily(store archive.Store, reg prometheus.Registerer, now func() time.Time,
	run func(ctx context.Context, since, until int64) (*Report, error)) *Daily {
	return &Daily{store, run, now, newMetrics(reg)}
}

// Step looks at the next day that is over and that nobody has looked at, and
// returns its report, nil if there is no such day.
func (d *Daily) Step(ctx context.Context) (*Report, error) {
	last, err := Last(ctx, d.store)
	if err != nil {
		return nil, err
	}
	d.metrics.show(last)
	since, err := d.next(ctx, last)
	if err != nil || since == 0 {
		return nil, err
	}
	until := since + int64(dayLength)
	if d.now().UnixNano() < until+int64(settle) {
		return nil, nil
	}
	r, err := d.run(ctx, since, until)
	if err != nil {
		return nil, err
	}
	if err := keep(ctx, d.store, r); err != nil {
		return nil, fmt.Errorf("keep the report of %s: %w", day(since), err)
	}
	if last, err = Last(ctx, d.store); err == nil {
		d.metrics.show(last)
	}
	return last, err
}

// next is the beginning of the day behind the last report, or of the first day of
// the archive; 0: it is empty.
func (d *Daily) next(ctx context.Context, last *Report) (int64, error) {
	if last != nil {
		return last.Until, nil
	}
	chains, err := archive.Chains(ctx, d.store, "", "")
	return earliest(chains) / int64(dayLength) * int64(dayLength), err
}

// earliest is when the first stream of an archive was created, Unix ns; 0: it is
// empty.
func earliest(chains []archive.Chain) (created int64) {
	for _, c := range chains {
		if created == 0 || c.Epoch.Created < created {
			created = c.Epoch.Created
		}
	}
	return created
}

type metrics struct {
	ended, until, findings, unknown prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer) metrics {
	f := promauto.With(reg)
	gauge := func(name, help string) prometheus.Gauge {
		return f.NewGauge(prometheus.GaugeOpts{Name: "millrace_verify_" + name, Help: help})
	}
	return metrics{
		ended:    gauge("timestamp_seconds", "When the last day was looked at, Unix time; 0 for never."),
		until:    gauge("until_seconds", "Arrival up to which every day was looked at, Unix time; 0 for none."),
		findings: gauge("findings", "What the last day that was looked at lacks, or has wrong."),
		unknown:  gauge("unknown_lanes", "Lanes without a final frame: what they sent behind their last one is unknown."),
	}
}

func (m *metrics) show(r *Report) {
	if r == nil {
		return
	}
	m.ended.Set(float64(r.Ended) / 1e9)
	m.until.Set(float64(r.Until) / 1e9)
	m.findings.Set(float64(len(r.Findings) + r.More))
	m.unknown.Set(float64(len(r.Lanes)) + float64(r.Forgotten))
}
