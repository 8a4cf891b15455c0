package retain

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dermai/millrace/archive"
)

// Config says what a worker deletes.
type Config struct {
	// Before gives the time before which events must have arrived to be deleted. The
	// zero time: none are.
	Before func(now time.Time) time.Time
	// Why is the reason that stands in tombstones, such as "telemetry is kept for 90d".
	Why string
	// By is who deletes.
	By string
	// Grace is for how long what is condemned stays, longer than any reader reads; in
	// it a hold, or a longer retention, spares it. 0: 96 h.
	Grace time.Duration
	// Announce publishes what is about to be committed, and returns once that is
	// durable. What was announced may not come to pass, if the process ends there or
	// another worker is faster; whatever comes to pass was announced.
	Announce func(ctx context.Context, a Announcement) error
	Now      func() time.Time // nil: time.Now
	Metrics  *Metrics         // nil: not kept
}

// Announcement is what a worker is about to commit.
type Announcement struct {
	Chain    archive.Chain
	Version  uint64 // of the commit
	Decision archive.Retention
	Segments []archive.Segment // that it is about
}

// commitMost bounds what one commit decides about.
const commitMost = 500

// Worker deletes what is to be deleted of one class. It is not safe for concurrent
// use; any number of workers, in any processes, may run at once.
type Worker struct {
	store archive.View
	cfg   Config
	known map[question]bool
	holds int // in force, when it last looked
}

// New prepares a worker for the class that the view shows.
func New(store archive.View, cfg Config) (*Worker, error) {
	if cfg.Before == nil || cfg.Announce == nil || cfg.By == "" || cfg.Why == "" || cfg.Grace < 0 {
		return nil, errors.New("retention: want Before, Announce, By, Why and a grace of 0 or more")
	}
	cfg.Grace = cmp.Or(cfg.Grace, 96*time.Hour)
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Metrics == nil {
		cfg.Metrics = NewMetrics(nil)
	}
	return &Worker{store: store, cfg: cfg, known: map[question]bool{}}, nil
}

// Verdict is what becomes of a segment.
type Verdict string

// The verdicts.
const (
	Condemn Verdict = "condemn" // it is not read any more, and removed after the grace
	Wait    Verdict = "wait"    // it is condemned, and waits for the end of the grace
	Remove  Verdict = "remove"  // it is removed, with the objects that it replaced
	Spare   Verdict = "spare"   // it was condemned, and is read again
	Held    Verdict = "held"    // it would be condemned, but for a legal hold
)

// Planned is what a worker does, or would do, with a segment.
type Planned struct {
	Chain   archive.Chain
	Segment archive.Segment
	Verdict Verdict
	Hold    string // the id of the hold that keeps it, if one does
	// Objects are those that it replaced and that are still beside it. They go with it.
	Objects []archive.Object
}

// Plan says what Run would do now, chain by chain, ascending. It changes nothing.
func (w *Worker) Plan(ctx context.Context) (plan []Planned, err error) {
	err = w.each(ctx, func(m *archive.Manifest, _ time.Time, planned []Planned) error {
		if len(planned) == 0 {
			return nil
		}
		beside, err := m.Compacted(ctx, w.store, planned[len(planned)-1].Segment.Last+1)
		for _, p := range planned {
			p.Objects = m.Beside(p.Segment, beside)
			plan = append(plan, p)
		}
		return err
	})
	return plan, err
}

// each gives the chains of the class to fn, with what is to be decided of each.
// Where another worker or a compactor was faster it decides again.
func (w *Worker) each(ctx context.Context, fn func(*archive.Manifest, time.Time, []Planned) error) error {
	chains, err := archive.Chains(ctx, w.store, w.store.Class(), "")
	if err != nil {
		return fmt.Errorf("retention: %w", err)
	}
	for _, c := range chains {
		for try := 1; ; try++ {
			if err = w.chain(ctx, c, fn); try == tries || !errors.Is(err, archive.ErrExists) {
				break
			}
		}
		if err != nil {
			return fmt.Errorf("retention of %s: %w", c, err)
		}
	}
	return nil
}

// tries is how often a worker decides about a chain when others are faster.
const tries = 10

func (w *Worker) chain(ctx context.Context, c archive.Chain, fn func(*archive.Manifest, time.Time, []Planned) error) error {
	m, err := archive.ReadManifest(ctx, w.store, c)
	if err != nil {
		return err
	}
	// Holds are read behind the time, so that what they keep was not decided yet.
	now := w.cfg.Now()
	planned, err := w.decide(ctx, m, now)
	if err != nil {
		return err
	}
	return fn(m, now, planned)
}

// decide says what becomes of the segments of a chain.
func (w *Worker) decide(ctx context.Context, m *archive.Manifest, now time.Time) (out []Planned, err error) {
	holds, err := active(ctx, w.store)
	if err != nil {
		return nil, err
	}
	w.holds = len(holds)
	due := func(s archive.Segment) bool {
		before := w.cfg.Before(now)
		return !before.IsZero() && s.ArrivalTo < before.UnixNano()
	}
	for _, t := range m.Deleted {
		if t.Removed > 0 {
			continue
		}
		p := Planned{Chain: m.Chain, Segment: t.Segment, Verdict: Wait}
		if p.Hold, err = w.held(ctx, holds, t.Segment); err != nil {
			return nil, err
		}
		switch {
		case p.Hold != "" || !due(t.Segment):
			p.Verdict = Spare
		case now.UnixNano() >= t.At+int64(w.cfg.Grace):
			p.Verdict = Remove
		}
		out = append(out, p)
	}
	for _, s := range m.Segments {
		if !due(s) {
			break // what follows arrived later
		}
		p := Planned{Chain: m.Chain, Segment: s, Verdict: Condemn}
		if p.Hold, err = w.held(ctx, holds, s); err != nil {
			return nil, err
		}
		if p.Hold != "" {
			p.Verdict = Held
		}
		out = append(out, p)
	}
	return out, nil
}

// Result is what a run did.
type Result struct {
	Condemned, Spared, Removed, Held int // segments
	Objects                          int // removed from the store
	Bytes                            int64
}

// Run does what Plan says, and removes what an earlier run left. After an error the
// next run goes on.
func (w *Worker) Run(ctx context.Context) (Result, error) {
	var r Result
	left := inventory{}
	err := w.each(ctx, func(m *archive.Manifest, now time.Time, planned []Planned) error {
		if err := w.commit(ctx, m, now, planned, &r); err != nil {
			return err
		}
		if err := w.sweep(ctx, m, &r); err != nil {
			return err
		}
		left.count(m)
		for _, p := range planned {
			if p.Verdict == Held {
				r.Held++
			}
		}
		return nil
	})
	left.holds = w.holds
	w.cfg.Metrics.ran(w.store.Class(), w.cfg.Now(), left, r, err)
	return r, err
}

// commit announces and commits what was decided of a chain.
func (w *Worker) commit(ctx context.Context, m *archive.Manifest, now time.Time, planned []Planned, r *Result) error {
	for len(planned) > 0 {
		part := planned[:min(len(planned), commitMost)]
		planned = planned[len(part):]
		a := Announcement{Chain: m.Chain, Version: m.Version + 1, Decision: archive.Retention{At: now.UnixNano(), By: w.cfg.By, Why: w.cfg.Why}}
		d := &a.Decision
		for _, p := range part {
			switch p.Verdict {
			case Condemn:
				d.Condemned = append(d.Condemned, p.Segment)
			case Spare:
				d.Spared = append(d.Spared, p.Segment.Key)
			case Remove:
				d.Removed = append(d.Removed, p.Segment.Key)
			case Held, Wait:
				continue
			}
			a.Segments = append(a.Segments, p.Segment)
		}
		if len(a.Segments) == 0 {
			continue
		}
		if err := w.cfg.Announce(ctx, a); err != nil {
			return fmt.Errorf("announce: %w", err)
		}
		if err := m.Retain(ctx, w.store, *d); err != nil {
			return err
		}
		r.Condemned += len(d.Condemned)
		r.Spared += len(d.Spared)
		r.Removed += len(d.Removed)
	}
	return nil
}

// sweep removes what is to be removed of a chain.
func (w *Worker) sweep(ctx context.Context, m *archive.Manifest, r *Result) error {
	gone, err := m.Leftovers(ctx, w.store)
	if err != nil {
		return err
	}
	for _, o := range gone {
		if err := w.store.Remove(ctx, o.Key); err != nil {
			return err
		}
		r.Objects++
		r.Bytes += o.Size
	}
	return nil
}
