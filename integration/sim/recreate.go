package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/dermai/millrace/archive"
	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/schemas"
)

// recreate deletes a partition's stream, under reducers and archivers that are in the
// middle of it, and makes another of the same name: empty, or with a part of what the
// first one held, as a backup that is restored has it. It checks that each reducer names
// it, now or when it is started again, that nothing of the new stream counts where the
// position is of the old one, and that the archive has what was read of the old stream
// in its epoch, and all of the new one in another, each message once.
func (w *world) recreate(p schemas.Partition) error {
	name := p.Stream()
	s := w.broker.stream(name)
	c := &recreation{world: w, p: p, keepers: w.newArchivers(p), reducers: append(slices.Clone(w.workers), w.newWorker(0))}
	if err := c.busy(); err != nil {
		return fmt.Errorf("before %s is made again: %w", name, err)
	}
	old, created := s.entries, s.created
	for _, a := range c.keepers {
		c.read = max(c.read, max(a.Next(), 1)-1)
	}
	w.broker.now += unit
	*s = stream{created: w.broker.now, low: 1, heads: map[string]uint64{}, trimmed: map[string]uint64{}, skew: s.skew}
	if w.dice.chance(3) {
		s.entries = slices.Clone(old[:w.dice.Intn(len(old)+1)])
		for _, e := range s.entries {
			s.heads[e.Subject] = e.Seq
		}
	}
	w.broker.note("%s, which has %d messages, is made again with %d", name, len(old), len(s.entries))
	w.stats.Recreated++
	c.again, c.written = true, nil
	if err := c.busy(); err != nil {
		return fmt.Errorf("%s was made again: %w", name, err)
	}
	return errors.Join(c.named(created), c.epochs(old, created))
}

// recreation is a stream that is made again under who reads it.
type recreation struct {
	*world
	p        schemas.Partition
	keepers  []*archive.Archiver
	reducers []*worker
	again    bool             // it was made again
	noticed  map[*worker]bool // that have ended
	written  []string         // ids of events
	read     uint64           // of the first stream, by archivers
}

// busy lets publishers, archivers and reducers act in any order.
func (c *recreation) busy() error {
	for n := 10 + c.dice.Intn(80); n > 0; n-- {
		switch c.broker.now += unit; c.dice.Intn(5) {
		case 0, 1:
			c.written = append(c.written, c.write(c.p)...)
		case 2:
			if _, err := c.keepers[c.dice.Intn(len(c.keepers))].Step(c.ctx); err != nil {
				return err
			}
		default:
			if err := c.reduce(c.reducers[c.dice.Intn(len(c.reducers))]); err != nil {
				return err
			}
		}
	}
	return nil
}

// reduce lets a reducer do something, if it has not ended.
func (c *recreation) reduce(k *worker) error {
	if c.noticed[k] {
		return nil
	}
	c.world.reduce(k, int(c.p))
	err := errors.Join(c.errs...)
	c.errs = nil
	switch {
	case err == nil:
	case !c.again, !strings.Contains(err.Error(), c.p.Stream()), !strings.Contains(err.Error(), "made again"):
		return fmt.Errorf("a reducer: %w", err)
	default:
		c.stats.Noticed++
		if c.noticed == nil {
			c.noticed = map[*worker]bool{}
		}
		c.noticed[k] = true
	}
	return nil
}

// named checks that all reducers have noticed, and those that are started in their
// place, and that they committed nothing but what they had read of the first stream.
func (c *recreation) named(created int64) error {
	for _, k := range append(c.reducers, c.newWorker(0)) {
		for n := 0; n < 50 && !c.noticed[k]; n++ {
			c.broker.now += unit
			if err := c.reduce(k); err != nil {
				return err
			}
		}
		if !c.noticed[k] {
			return fmt.Errorf("%s was made again, and a reducer does not say so", c.p.Stream())
		}
	}
	for _, part := range c.partials() {
		if part.Partition == c.p && part.Created != created {
			return fmt.Errorf("%s was made again, and partial %d is of the new stream", c.p.Stream(), part.entry.Seq)
		}
	}
	for _, id := range c.written {
		if c.tallied[id] != 0 {
			return fmt.Errorf("%s was made again, and event %s, written since, is counted", c.p.Stream(), id)
		}
	}
	for id, n := range c.tallied {
		if n > 1 {
			return fmt.Errorf("%s was made again, and event %s is counted %d times", c.p.Stream(), id, n)
		}
	}
	return nil
}

// epochs checks what the archive has of both streams, and that the new one forgets
// nothing, since nobody has reduced it.
func (c *recreation) epochs(old []fence.Entry, created int64) error {
	name := c.p.Stream()
	s := c.broker.stream(name)
	for range 9 {
		c.broker.now += int64(2*replay*c.hour) / hurry
		for _, a := range c.keepers {
			if _, err := a.Step(c.ctx); err != nil {
				return fmt.Errorf("%s was made again: %w", name, err)
			}
		}
	}
	if s.low > 1 {
		return fmt.Errorf("%s was made again, and is trimmed below %d, which nobody has reduced", name, s.low)
	}
	times, err := c.archivedOf(c.p, c.keepers)
	if err != nil {
		return fmt.Errorf("%s was made again: %w", name, err)
	}
	want := func(created int64, list []fence.Entry, least uint64) error {
		for _, e := range list {
			m := messageOf(created, e)
			n := times[m]
			delete(times, m)
			if n > 1 || n == 0 && len(e.Data) > 0 && e.Seq <= least {
				return fmt.Errorf("%s was made again, and the archive has message %d of that of %d %d times", name, e.Seq, created, n)
			}
		}
		return nil
	}
	if err := errors.Join(want(created, old, c.read), want(s.created, s.entries, uint64(len(s.entries)))); err != nil {
		return err
	}
	if len(times) > 0 {
		return fmt.Errorf("%s was made again, and the archive has %d messages that no stream had", name, len(times))
	}
	return nil
}
