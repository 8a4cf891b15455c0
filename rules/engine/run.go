package engine

import (
	"errors"
	"fmt"
	"iter"
	"math"

	"github.com/dermai/millrace/rules"
	"github.com/dermai/millrace/schemas"
)

// Summary is what Run saw.
type Summary struct {
	Events      int64 // of any kind
	Transitions int64 // emitted
	First, Last int64 // arrivals of the first and the last event, Unix ns
	End         int64 // end of the last tick decided, Unix ns
	// TooLate and Mismatched count per alert name what Partial's count per
	// instance: events no window could hold any more, and conditions that were
	// false for want of an attribute or its type.
	TooLate    map[string]int64
	Mismatched map[string]int64
}

// Run decides a recorded file in this process: the transitions that the live
// system would have made, had each event arrived at its own time. An event that
// is older than one before it is late, and arrives with that one; one without a
// time arrives with the one before. The rules are in force before the first
// event. After the last one time goes on for as long as the longest rule takes to
// see its window, for and keep_firing_for out: alerts resolve, and what is
// expected goes missing.
//
// Transitions are emitted in the order of ticks, telemetry before audit.
// Mistakes in the rules are reported before the first event is read. An error of
// events or emit ends the run, and so does a time that 64-bit nanoseconds don't
// hold. Memory is that of the open windows, and spans without events cost
// nothing.
func Run(src schemas.RuleSource, dep schemas.Deployment, events iter.Seq2[schemas.Event, error], emit func(schemas.Transition) error) (Summary, error) {
	r := run{dep: dep, src: src, emit: emit}
	if err := (Timing{dep}).Validate(); err != nil {
		return r.sum, err
	}
	if _, err := r.rules.Parse(src.Files...); err != nil {
		return r.sum, err
	}
	for e, err := range events {
		if err == nil {
			err = r.next(&e)
		}
		if err != nil {
			return r.sum, fmt.Errorf("event %d: %w", r.sum.Events+1, err)
		}
		r.sum.Events++
	}
	if r.schedule == nil {
		return r.sum, nil
	}
	return r.sum, r.finish()
}

// run holds one lane for each class.
type run struct {
	dep      schemas.Deployment
	src      schemas.RuleSource
	rules    rules.Cache
	sum      Summary
	emit     func(schemas.Transition) error
	schedule *Schedule
	lanes    []lane
}

type lane struct {
	reducer *Reducer
	decider *Decider
}

func (r *run) next(e *schemas.Event) error {
	if r.schedule == nil {
		if e.Time == 0 {
			return errors.New("it has no timestamp, and there is none before it to go by")
		}
		if err := r.begin(e.Time); err != nil {
			return err
		}
	}
	if e.Time == 0 {
		e.Time = r.sum.Last
	}
	timing := r.schedule.timing
	before := timing.Arrival(r.sum.Last)
	r.sum.Last = max(r.sum.Last, e.Time)
	if now := timing.Arrival(r.sum.Last); now > before {
		if err := r.decide(now - 1); err != nil {
			return err
		}
	}
	for _, l := range r.lanes {
		l.reducer.Arrive(uint64(r.sum.Events+1), r.sum.Last, nil) // in each, so that none lacks a sequence
		if l.reducer.partition.Class() == e.Kind.Class() {
			l.reducer.Fold(0, e)
		}
	}
	return nil
}

// begin puts the rules in force one tick before the first event's.
func (r *run) begin(first int64) error {
	t := Timing{r.dep}
	s := NewSchedule()
	s.Parse = r.rules.Parse
	applied := t.End(t.Arrival(first) - 1 - t.Delay)
	if applied > first {
		return errors.New("its timestamp lies outside of what 64-bit nanoseconds hold")
	}
	open := []schemas.Partition{0, schemas.Audit}
	if err := s.Apply(1, applied, &schemas.ControlEntry{Deployment: &r.dep, Rules: &r.src, Open: open}); err != nil {
		return err
	}
	// No other entry comes: everything is settled.
	if err := s.Apply(2, math.MaxInt64, &schemas.ControlEntry{}); err != nil {
		return err
	}
	r.schedule = s
	r.sum.First, r.sum.Last = first, first
	for _, p := range open {
		r.lanes = append(r.lanes, lane{NewReducer(s, p), NewDecider(s, p.Class())})
	}
	return nil
}

// decide hands over the rows of both lanes and decides their ticks up to one,
// in order.
func (r *run) decide(to int64) error {
	for _, l := range r.lanes {
		p := l.reducer.Cut()
		r.count(&r.sum.TooLate, p.TooLate)
		r.count(&r.sum.Mismatched, p.Mismatched)
		if err := l.decider.Add(p.Rows, nil); err != nil {
			return err
		}
	}
	for {
		var next *Decider
		at := to
		for _, l := range r.lanes {
			if tick, ok := l.decider.Waits(); ok && (tick < at || tick == at && next == nil) {
				next, at = l.decider, tick
			}
		}
		if next == nil {
			break
		}
		next.SkipTo(at - 1)
		for _, part := range next.Decide() {
			for _, t := range part.Transitions {
				if err := r.emit(t); err != nil {
					return err
				}
				r.sum.Transitions++
			}
		}
	}
	for _, l := range r.lanes {
		l.decider.SkipTo(to)
	}
	r.sum.End = r.schedule.timing.End(to)
	return nil
}

func (r *run) count(sum *map[string]int64, n map[string]int64) {
	for id, n := range n {
		count(sum, r.schedule.Instance(id).Rule.Name, n)
	}
}

// finish lets the time go on after the last event.
func (r *run) finish() error {
	t := r.schedule.timing
	longest := int64(0)
	last := t.Sec(r.sum.Last)
	for _, in := range r.schedule.At(last) {
		longest = max(longest, in.Window+in.Pane+in.For+in.Keep)
	}
	return r.decide(last + longest)
}
