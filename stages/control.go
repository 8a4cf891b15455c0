package stages

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/rules"
	"github.com/dermai/millrace/rules/engine"
	"github.com/dermai/millrace/schemas"
)

// Control follows the control log and folds it into a schedule. Every machine
// has its own, since each may have read the log up to another entry.
type Control struct {
	log      fence.Log
	clock    Clock
	cache    *rules.Cache
	schedule *engine.Schedule
	next     uint64 // sequence to read
	last     uint64 // sequence of the last entry read
	time     int64  // when that was stored, Unix ns
	created  int64  // of the stream, Unix ns; 0: it was never read
	ticked   time.Time
	seen     func(fence.Entry, *schemas.ControlEntry) // nil: nobody asks
}

// NewControl starts at the beginning of the control log: its genesis, or the
// snapshot that took the place of what was purged. Machines of one process may
// share the cache of compiled rules; nil: there is none.
func NewControl(log fence.Log, clock Clock, cache *rules.Cache) *Control {
	c := &Control{log: log, clock: clock, cache: cache}
	c.reset()
	return c
}

func (c *Control) reset() {
	c.schedule, c.next, c.last = engine.NewSchedule(), 1, 0
	if c.cache != nil {
		c.schedule.Parse = c.cache.Parse
	}
}

// errBehind says that entries were trimmed before they were read: the control log
// is begun anew at its snapshot, and who holds anything of the old schedule loads
// again.
var errBehind = errors.New("the control log was trimmed beyond what was read of it")

// Schedule is the control log as far as it has been read.
func (c *Control) Schedule() *engine.Schedule { return c.schedule }

// Read folds all entries that are there. It reports whether there were any.
// errBehind: the schedule is a new one.
func (c *Control) Read(ctx context.Context) (bool, error) {
	if c.created == 0 {
		info, err := c.log.Info(ctx, schemas.StreamControl)
		if err != nil {
			return false, fmt.Errorf("read the control log: %w", err)
		}
		c.created = info.Created
	}
	for read := false; ; read = true {
		entries, err := c.log.Read(ctx, schemas.StreamControl, c.next, 256)
		if err != nil {
			return read, fmt.Errorf("read the control log: %w", err)
		}
		if len(entries) == 0 {
			return read, c.still(ctx)
		}
		if c.last > 0 && entries[0].Seq == c.last && c.next == c.last { // read again
			if entries[0].Time != c.time {
				return read, fmt.Errorf("read the control log: entry %d is another than the one that was read: %w", c.last, fence.ErrRewound)
			}
			entries, c.next = entries[1:], c.last+1
		}
		if c.last > 0 && len(entries) > 0 && entries[0].Seq != c.last+1 {
			c.reset()
			return false, errBehind
		}
		for _, e := range entries {
			var entry schemas.ControlEntry
			if err := schemas.DecodeInto(e.Data, &entry); err != nil {
				return read, fence.Incident(schemas.StreamControl, "entry %d: %v", e.Seq, err)
			}
			if err := c.schedule.Apply(e.Seq, e.Time, &entry); err != nil {
				return read, fence.Incident(schemas.StreamControl, "entry %d: %v", e.Seq, err)
			}
			c.next, c.last, c.time = e.Seq+1, e.Seq, e.Time
			if c.seen != nil {
				c.seen(e, &entry)
			}
		}
	}
}

// still makes sure that the entry which is read again is there, where nothing came.
func (c *Control) still(ctx context.Context) error {
	if c.last == 0 || c.next != c.last {
		return nil
	}
	info, err := fence.Extent(ctx, c.log, schemas.StreamControl, c.last)
	switch {
	case err != nil:
		return fmt.Errorf("look at the control log: %w", err)
	case info.Created != c.created:
		return fmt.Errorf("look at the control log: %s: %w", schemas.StreamControl, fence.ErrRecreated)
	case info.Last < c.last:
		return fmt.Errorf("look at the control log: %s: it was read up to entry %d, and ends at %d: %w", schemas.StreamControl, c.last, info.Last, fence.ErrRewound)
	}
	return nil
}

// mark is the last entry read.
func (c *Control) mark() schemas.Mark {
	return schemas.Mark{Created: c.created, Seq: c.last, Time: c.time}
}

// recognise makes sure that the log that is read is the one up to whose marked entry
// something was folded or decided, and has been read as far.
func (c *Control) recognise(ctx context.Context, m schemas.Mark) error {
	if m.Created == 0 {
		return nil // nobody said
	}
	info, err := fence.Recognise(ctx, c.log, schemas.StreamControl, m)
	switch {
	case err != nil:
		return fmt.Errorf("look at the control log: %w", err)
	case info.Created != c.created:
		return fmt.Errorf("look at the control log: %s: %w", schemas.StreamControl, fence.ErrRecreated)
	case c.last < m.Seq:
		return fmt.Errorf("look at the control log: entry %d is there and was not delivered", m.Seq)
	}
	c.next = c.last // which is compared, since what was read meanwhile is another place
	return nil
}

// tickPause is the least time between two control ticks of one machine.
const tickPause = 500 * time.Millisecond

// Tick appends an empty entry, whose timestamp settles what comes before it.
// That somebody else was faster is as good.
func (c *Control) Tick(ctx context.Context) error {
	if c.clock().Sub(c.ticked) < tickPause {
		return nil
	}
	_, err := ProposeControl(ctx, c.log, c.last, schemas.ControlEntry{})
	c.ticked = c.clock()
	if refused := (*fence.RefusedError)(nil); errors.As(err, &refused) {
		return nil
	}
	return err
}

// tick is Tick for a machine, which has other work too: a server that is gone without a
// word gives no answer, and is not waited for beyond the time of the next tick.
func (c *Control) tick(ctx context.Context) error {
	ctx, done := context.WithTimeout(ctx, tickPause)
	defer done()
	return c.Tick(ctx)
}

// ProposeControl appends an entry to the control log if its last entry has
// sequence last, and gives the new one's.
func ProposeControl(ctx context.Context, log fence.Log, last uint64, entry schemas.ControlEntry) (uint64, error) {
	data, err := schemas.Encode(entry)
	if err != nil {
		return 0, fmt.Errorf("encode a control entry: %w", err)
	}
	m := fence.Message{
		Subject: schemas.SubjectControl,
		Header:  fence.Header{schemas.HeaderType: schemas.TypeControl},
		Data:    data,
	}
	seq, err := log.Append(ctx, m, last)
	if err != nil {
		return 0, fmt.Errorf("append to the control log: %w", err)
	}
	return seq, nil
}
