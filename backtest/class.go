package backtest

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/dermai/millrace/rules/engine"
	"github.com/dermai/millrace/schemas"
)

// class decides one class.
type class struct {
	*backtest
	sum   *ClassSummary
	lanes []*lane
	read  int64 // arrivals from then on are read, Unix ns

	// What it has decided and Run has not given on.
	next func() error
	head schemas.Transition
	more bool
}

// transitions are those of the range, in order.
func (c *class) transitions(ctx context.Context) iter.Seq2[schemas.Transition, error] {
	return func(yield func(schemas.Transition, error) bool) {
		err := c.decide(ctx, func(t *schemas.Transition) error {
			if !yield(*t, nil) {
				return errEnough
			}
			return nil
		})
		if err != nil && !errors.Is(err, errEnough) {
			yield(schemas.Transition{}, fmt.Errorf("backtest of %s: %w", c.sum.Class, err))
		}
	}
}

func (c *class) decide(ctx context.Context, emit func(*schemas.Transition) error) (end error) {
	d, past, err := c.begin(ctx)
	if err != nil {
		return err
	}
	if c.Check {
		k, stop, err := c.checked(ctx)
		if err != nil {
			return err
		}
		defer stop()
		given := emit
		emit = func(t *schemas.Transition) error {
			if err := k.transition(t); err != nil {
				return err
			}
			return given(t)
		}
		defer func() {
			if end == nil {
				end = k.end(d.Tick())
			}
		}()
	}
	c.open(ctx)
	var before batch // of the time before the first tick
	t := c.schedule.Timing()
	c.sum.Read, c.sum.From = c.read, t.End(c.first)
	for {
		behind, settled := c.settled()
		c.report(settled)
		if past != nil && settled >= past.tick {
			if err := d.Rebuild(past.tick, past.Past, before.rows, before.losses); err != nil {
				return err
			}
			past, before = nil, batch{}
		}
		if past == nil {
			if err := c.decideTo(d, settled, emit); err != nil {
				return err
			}
		}
		if settled >= c.last {
			if c.To > 0 && c.last < t.Sec(c.To)-1 {
				c.sum.HeldBy = schemas.StreamControl
			}
			return nil
		}
		b, ok := <-behind.out
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case !ok && past != nil, !ok && settled < c.first:
			mend := "; begin the range before that"
			if _, live := c.Source.(*Live); !live {
				mend = "; --live reads what it holds behind the archive, such as ticks"
			}
			return fmt.Errorf("there is nothing to decide: %s ends at %s%s", behind.partition.Stream(), stamp(t.End(settled)), mend)
		case !ok:
			c.sum.HeldBy = behind.partition.Stream()
			return nil
		case b.err != nil:
			return b.err
		}
		c.count(behind, &b)
		if past != nil {
			before.rows, before.losses = append(before.rows, b.rows...), append(before.losses, b.losses...)
		} else if err := d.Add(b.rows, b.losses); err != nil {
			return err
		}
	}
}

// begin makes the decider, and says what is to be found out of the time before.
func (c *class) begin(ctx context.Context) (*engine.Decider, *logged, error) {
	d := engine.NewDecider(c.schedule, c.sum.Class)
	t := c.schedule.Timing()
	if c.Rules != nil {
		d.SkipTo(c.warm - 1)
		c.read = t.End(c.warm + t.Lateness - 1)
		return d, nil, nil
	}
	if d.Tick() >= c.first-1 {
		return d, nil, nil
	}
	past, err := c.past(ctx)
	if err != nil {
		return nil, nil, err
	}
	c.read = c.schedule.Reach(c.sum.Class, past.tick)
	return d, past, nil
}

// open begins to read the partitions.
func (c *class) open(ctx context.Context) {
	s := c.schedule
	for _, p := range s.Partitions(c.sum.Class) {
		opened, _ := s.Opened(p)
		if opened > c.last {
			continue
		}
		l := &lane{
			partition: p, source: c.Source, schedule: s, since: c.read, until: c.last,
			passed: max(opened, s.Timing().Arrival(c.read)) - 1, out: make(chan batch, ahead),
		}
		c.lanes = append(c.lanes, l)
		c.readers.Go(func() { l.run(ctx) })
	}
}

// settled is the last tick that no partition holds back, and the partition that
// holds back the next.
func (c *class) settled() (behind *lane, tick int64) {
	tick = c.last
	for _, l := range c.lanes {
		if behind == nil || l.passed < behind.passed {
			behind = l
		}
		tick = min(tick, l.passed)
	}
	return behind, tick
}

// decideTo decides the ticks up to one.
func (c *class) decideTo(d *engine.Decider, tick int64, emit func(*schemas.Transition) error) error {
	for d.Tick() < tick {
		if d.SkipTo(tick); d.Tick() == tick {
			break
		}
		for _, part := range d.Decide() {
			for i := range part.Transitions {
				if t := &part.Transitions[i]; t.Tick >= c.first {
					if err := emit(t); err != nil {
						return err
					}
				}
			}
		}
	}
	c.sum.To = c.schedule.Timing().End(d.Tick())
	return nil
}

// count adds up what was read of a partition.
func (c *class) count(l *lane, b *batch) {
	l.passed = b.passed
	c.backtest.sum.Messages += b.messages
	c.backtest.sum.Events += b.events
	c.backtest.sum.Missing = append(c.backtest.sum.Missing, b.missing...)
}

// report tells how far it is.
func (c *class) report(tick int64) {
	if c.Progress == nil {
		return
	}
	t := c.schedule.Timing()
	c.Progress(Progress{Class: c.sum.Class, From: t.End(c.first), At: t.End(tick), To: t.End(c.last), Events: c.backtest.sum.Events})
}
