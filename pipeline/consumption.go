package pipeline

import (
	"context"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dermai/millrace/schemas"
	"github.com/nats-io/nats.go"
)

// consumption is a running Consume, whose handler gets values of type D.
type consumption[D any] struct {
	sub    Subscription
	most   int // values in a call of the handler
	handle func(context.Context, []D) error
	open   func(*held)           // finds the lines of a message
	decode func(*D, *item) error // reads one
	where  func(*D) bool         // whether it is wanted; nil: it is

	partitions bool   // are read; otherwise ALERTS
	redrives   string // first token of the subjects of what was redriven

	hand       *hand
	quarantine *Quarantine
	metrics    consumerMetrics
	asking     sync.Mutex   // where
	complained atomic.Int64 // when it last did, Unix ns

	mu      sync.Mutex
	sources []*source
}

func (c *consumption[D]) run(ctx context.Context) error {
	if err := c.sub.Validate(); err != nil {
		return err
	}
	c.hand = newHand(c.sub.MaxBytes, c.openMessage)
	c.quarantine = NewQuarantine(c.sub.Conn)
	c.metrics = c.sub.Conn.metrics.consumer(c.sub.Name)

	var reading, working sync.WaitGroup
	if err := c.find(ctx, &reading); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	// A handler may go on for a while after ctx has ended.
	handling, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	for range c.workers() {
		working.Go(func() { c.work(ctx, handling) })
	}
	ended := make(chan struct{})
	var beating sync.WaitGroup
	beating.Go(func() { c.beat(ended) })

	<-ctx.Done()
	reading.Wait()
	c.hand.close()
	grace := time.AfterFunc(c.sub.Grace, func() {
		c.hand.cutOff()
		stop()
	})
	working.Wait()
	grace.Stop()
	close(ended)
	beating.Wait()
	// What was acknowledged is only queued.
	flush, done := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer done()
	_ = c.sub.Conn.nats.FlushWithContext(flush) // if it is lost, it is given again
	return nil
}

// beat tells the broker every now and then that what is in hand is worked on.
func (c *consumption[D]) beat(ended <-chan struct{}) {
	tick := time.NewTicker(c.sub.AckWait / 3)
	defer tick.Stop()
	for {
		select {
		case <-ended:
			return
		case <-tick.C:
		}
		c.mu.Lock()
		sources := c.sources
		c.mu.Unlock()
		for _, m := range c.hand.working(sources) {
			_ = m.InProgress() // one that is lost costs a redelivery
		}
	}
}

// openMessage opens a message; one that cannot be read is one item.
func (c *consumption[D]) openMessage(m *held) {
	if m.source.stream != schemas.StreamRedrive || redriven(m) {
		c.open(m)
	}
	if m.bad != nil {
		m.lines, m.origin.Index = [][]byte{m.data}, -1
	}
}

// redriven puts what was quarantined in place of the message that brings it
// back, and tells whether that is a whole message that is to be opened.
func redriven(m *held) bool {
	var q schemas.Quarantined
	if m.bad = schemas.DecodeInto(m.data, &q); m.bad != nil {
		return false
	}
	m.name, m.data, m.arrival, m.redriven = q.Subject, q.Data, q.Arrival, q.Redriven
	m.subject, _ = schemas.ParseSubject(m.name)
	m.header = nats.Header{schemas.HeaderType: {schemas.TypeDecision}} // of a decision; events have none
	m.origin = Position{Stream: q.Stream, Seq: q.Seq, Index: max(q.Index, 0)}
	if q.Index < 0 {
		return true
	}
	m.lines = [][]byte{q.Data}
	return false
}

// position is where the item is stored.
func (it *item) position() Position {
	at := it.of.origin
	at.Index += it.index
	return at
}

// pieces is how many items a worker takes at once at most, where single ones are
// handled one after the other: enough to spare locks, and few enough that the others
// read meanwhile.
const pieces = 256

// readers is how many workers there are at most where the handler is called by
// one at a time: the others read ahead.
const readers = 4

// workers is how many take, read and handle. Where only one may handle, they do it
// in the order in which they took, each when its turn has come.
func (c *consumption[D]) workers() int {
	if c.sub.Concurrency > 1 {
		return c.sub.Concurrency
	}
	return min(readers, runtime.GOMAXPROCS(0))
}

// work gives items to the handler until there are no more. Once running has
// ended it only finishes messages that the handler saw some of, and with handling
// not even those.
func (c *consumption[D]) work(running, handling context.Context) {
	most := c.most
	if c.sub.Concurrency == 1 {
		most = max(most, pieces)
	}
	var items, given []*item
	var read []D
	for {
		var turn turn
		if items, turn = c.hand.take(items[:0], most); len(items) == 0 {
			return
		}
		read = slices.Grow(read[:0], len(items))[:len(items)]
		for i, it := range items {
			if it.verdict == nil {
				it.verdict = it.of.bad
			}
			if it.verdict == nil {
				it.verdict = c.decode(&read[i], it)
			}
		}
		if c.sub.Concurrency == 1 {
			<-turn.come
		}
		first, end := 0, 0 // of what is read, wanted and not yet given
		for i, it := range items {
			if handling.Err() != nil || running.Err() != nil && !it.of.touched.Load() {
				it.fate = dropped
				continue
			}
			if !c.wants(handling, &read[i], it) {
				continue
			}
			if i > end {
				read[end] = read[i]
			}
			given = append(given, it)
			if end++; end-first == c.most {
				c.give(handling, read[first:end:end], given)
				first, given = end, given[:0]
			}
		}
		if end > first {
			c.give(handling, read[first:end:end], given)
			given = given[:0]
		}
		close(turn.over)
		c.hand.giveBack(items)
	}
}

// wants tells whether the handler shall have an item that was read. One that
// could not be read goes into quarantine.
func (c *consumption[D]) wants(ctx context.Context, d *D, it *item) bool {
	if it.verdict != nil {
		c.condemn(ctx, it)
		return false
	}
	if c.where == nil {
		return true
	}
	wanted, err := c.wanted(d)
	switch {
	case err != nil:
		c.failed(ctx, it, err)
		return false
	case !wanted:
		c.metrics.skipped.Inc()
		it.fate = done
	}
	return wanted
}

// wanted asks the subscription. A panic is an error.
func (c *consumption[D]) wanted(d *D) (wanted bool, err error) {
	c.asking.Lock()
	defer c.asking.Unlock()
	defer func() {
		if p := recover(); p != nil {
			err = panicked("where", p)
		}
	}()
	return c.where(d), nil
}

// give calls the handler, and then, if a batch is at fault, with each alone.
func (c *consumption[D]) give(ctx context.Context, batch []D, given []*item) {
	for _, it := range given {
		it.of.touched.Store(true)
	}
	err := c.call(ctx, batch)
	if err == nil {
		c.metrics.handled.Add(float64(len(batch)))
		for _, it := range given {
			it.fate = done
		}
		return
	}
	if len(batch) > 1 && (isPermanent(err) || slices.ContainsFunc(given, func(it *item) bool { return c.last(it, err) })) {
		for i := range batch {
			c.give(ctx, batch[i:i+1], given[i:i+1])
		}
		return
	}
	for _, it := range given {
		c.failed(ctx, it, err)
	}
}

// call calls the handler. A panic is an error.
func (c *consumption[D]) call(ctx context.Context, batch []D) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = panicked("the handler", p)
		}
	}()
	return c.handle(ctx, batch)
}
