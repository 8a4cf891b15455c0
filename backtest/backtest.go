package backtest

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"time"

	"github.com/dermai/millrace/rules"
	"github.com/dermai/millrace/rules/engine"
	"github.com/dermai/millrace/schemas"
)

// Config says what to decide.
type Config struct {
	Source Source
	// From and To bound the ticks whose transitions are given, From <= end of the
	// tick < To, Unix ns. 0: from the deployment's first tick, and as far as every
	// stream is there.
	From, To int64
	// Rules are in force for the whole range. nil: those that were.
	Rules *schemas.RuleSource
	// Check compares with ALERTS, as far as it goes; only without Rules. The first
	// difference is a *DifferError.
	Check bool
	// Progress is told now and then how far it is. nil: nobody is.
	Progress func(Progress)
}

// Progress is how far a backtest is.
type Progress struct {
	Class        schemas.Class
	From, At, To int64 // ends of ticks, Unix ns; At is before From while it warms up
	Events       int64
}

// Summary is what a backtest saw.
type Summary struct {
	Messages int64          `json:"messages"`
	Events   int64          `json:"events"`
	Missing  []Missing      `json:"missing,omitempty"` // what the range lacks, as far as it was read
	Classes  []ClassSummary `json:"classes"`
}

// ClassSummary is what was decided of a class.
type ClassSummary struct {
	Class       schemas.Class `json:"class"`
	Transitions int64         `json:"transitions"`
	Read        int64         `json:"read"`             // arrivals from then on were read, Unix ns
	Checked     int64         `json:"checked,omitzero"` // transitions that ALERTS has as well
	From        int64         `json:"from"`             // end of the first tick, Unix ns
	To          int64         `json:"to"`               // of the last
	// HeldBy is the stream that ends before the range does, "" for none.
	HeldBy string `json:"held_by,omitempty"`
}

// Missing are sequences of a stream that are nowhere.
type Missing struct {
	Stream string `json:"stream"`
	First  uint64 `json:"first"`
	Last   uint64 `json:"last"`
}

// UnknownError says that a stream does not reach back far enough.
type UnknownError struct {
	Stream string
	Begins int64 // arrival of its first message, Unix ns
	Needed int64 // arrival from which on it is needed, Unix ns
}

func (e *UnknownError) Error() string {
	later := time.Duration(e.Begins-e.Needed).Truncate(time.Second) + time.Second
	return fmt.Sprintf("what was before is unknown: %s begins at %s and is needed from %s on: begin the range %s later",
		e.Stream, stamp(e.Begins), stamp(e.Needed), later)
}

// Run decides the range again, class beside class, and gives each transition to
// emit: in the order of ticks, telemetry before audit. An error of emit ends it.
// Memory is that of the open windows, and of some messages of each partition.
func Run(ctx context.Context, cfg Config, emit func(schemas.Transition) error) (Summary, error) {
	if cfg.Check && cfg.Rules != nil {
		return Summary{}, errors.New("backtest: ALERTS has nothing to compare with what other rules decide")
	}
	b := &backtest{Config: cfg}
	if err := b.plan(ctx); err != nil {
		return b.sum, err
	}
	reading, cancel := context.WithCancel(ctx)
	defer b.readers.Wait()
	defer cancel()
	classes := make([]class, len(b.sum.Classes))
	for i := range classes {
		c := &classes[i]
		c.backtest, c.sum = b, &b.sum.Classes[i]
		next, stop := iter.Pull2(c.transitions(reading))
		defer stop()
		c.next = func() (err error) {
			c.head, err, c.more = next()
			return err
		}
		if err := c.next(); err != nil {
			return b.sum, err
		}
	}
	for {
		var first *class
		for i := range classes {
			if c := &classes[i]; c.more && (first == nil || c.head.Tick < first.head.Tick) {
				first = c
			}
		}
		if first == nil {
			return b.sum, ctx.Err()
		}
		first.sum.Transitions++
		if err := emit(first.head); err != nil {
			return b.sum, err
		}
		if err := first.next(); err != nil {
			return b.sum, err
		}
	}
}

// backtest is one run. Its schedules change no more once they are planned.
type backtest struct {
	Config
	cache    rules.Cache
	schedule *engine.Schedule // what is decided by
	first    int64            // tick; transitions are given from here on
	last     int64            // tick; the last that can be decided at all
	warm     int64            // tick at which other rules begin
	readers  sync.WaitGroup
	sum      Summary
}

// plan reads the control log and fixes what is decided.
func (b *backtest) plan(ctx context.Context) error {
	s := engine.NewSchedule()
	s.Parse = b.cache.Parse
	for r, err := range b.Source.Messages(ctx, schemas.StreamControl, 0) {
		var entry schemas.ControlEntry
		if err == nil {
			err = schemas.DecodeInto(r.Payload, &entry)
		}
		if err != nil {
			return fmt.Errorf("read the control log: %w", err)
		}
		if s.Seq() == 0 && entry.Deployment == nil && entry.Snapshot == nil {
			continue // the archive began later than the log; a snapshot comes
		}
		if err := s.Apply(r.Seq, r.Arrival, &entry); err != nil {
			return err
		}
	}
	begin, ok := s.First()
	if !ok {
		return errors.New("there is no control log with rules in the archive")
	}
	t := s.Timing()
	b.schedule, b.first, b.last = s, begin, s.Limit()-1
	if b.From > 0 {
		b.first = max(begin, t.Sec(b.From))
	}
	if b.To > 0 {
		b.last = min(b.last, t.Sec(b.To)-1)
	}
	if b.last < b.first {
		return fmt.Errorf("there is nothing to decide: the range has no tick from %s on that is before %s, where the control log ends",
			stamp(t.End(b.first)), stamp(t.End(s.Limit())))
	}
	if b.Rules != nil {
		if err := b.instead(begin); err != nil {
			return err
		}
	}
	for _, c := range schemas.Classes {
		if len(b.schedule.Instances(c, b.first-1, b.last)) > 0 {
			b.sum.Classes = append(b.sum.Classes, ClassSummary{Class: c})
		}
	}
	return nil
}

// instead puts other rules in the place of those of the control log: one entry,
// so long before the range that their windows, for and keep_firing_for fit.
func (b *backtest) instead(begin int64) error {
	set, err := b.cache.Parse(b.Rules.Files...)
	if err != nil {
		return err
	}
	t := b.schedule.Timing()
	longest := int64(0)
	for _, r := range set.Rules {
		window := t.Ticks(r.Window)
		longest = max(longest, window+window/60+1+t.Ticks(r.For)+t.Ticks(r.Keep))
	}
	b.warm = max(begin, b.first-longest)
	snapshot := b.schedule.Snapshot(b.warm)
	snapshot.Revisions = []schemas.Revision{{Tick: b.warm, Rules: *b.Rules}}
	b.schedule = engine.NewSchedule()
	b.schedule.Parse = b.cache.Parse
	return b.schedule.Apply(snapshot.Seq+1, snapshot.Arrival, &schemas.ControlEntry{Snapshot: &snapshot})
}

// stamp is a time as people read it.
func stamp(ns int64) string { return time.Unix(0, ns).UTC().Format(time.RFC3339) }
