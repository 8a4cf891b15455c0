package pipeline

import (
	"context"
	"fmt"
	"strconv"

	"github.com/dermai/millrace/schemas"
)

// Position is where an event, or a change of an alert, is stored. It is the same
// on every delivery.
type Position struct {
	Stream string
	Seq    uint64 // of the message in the stream
	Index  int    // within the message, from 0
}

// String is <stream>/<seq>/<index>, which is also the ID of an event that its
// author gave none.
func (p Position) String() string {
	return p.Stream + "/" + strconv.FormatUint(p.Seq, 10) + "/" + strconv.Itoa(p.Index)
}

// Delivery is an event as a handler gets it. It belongs to the handler.
type Delivery struct {
	Event    schemas.Event
	Position Position
	Arrival  int64 // when the broker stored it, Unix ns
	Attempt  int   // by this process: 1, 2, 3, ...
	Redriven int   // times that it was taken out of quarantine for this consumer
}

// Handler takes one event. nil: it is settled, and this process gives it no
// more. An error: it is given again after a while (Subscription.Retry), unless
// the error has Permanent() bool and says true: then the event is quarantined.
// The error's text is stored there; let it hold no secret and nothing of the
// event.
//
// Every event is given at least once, and again after a crash, a lost
// connection or a stop in the middle: a handler is idempotent, or remembers the
// Position or the event's ID. It may change or keep what it gets. With
// Subscription.Concurrency it is called by as many goroutines.
type Handler func(ctx context.Context, d Delivery) error

// BatchHandler takes some events, in the order in which they come, as soon as
// there is at least one. nil: all are settled. An error: all are given again,
// in the same slice or others. If the error is permanent, or was the last
// attempt, they are given one by one, so that only those are quarantined that
// are at fault. The slice belongs to the caller again when it returns.
type BatchHandler func(ctx context.Context, batch []Delivery) error

// Consume gives the events that a subscription wants to a handler, until ctx
// ends and the work in hand is finished; then it returns nil. An error says why
// it could not begin.
//
// The broker keeps for each name what is settled, so that any number of
// processes may consume under a name, each event goes to one of them, and a new
// process goes on where others ended. A partition that is added is read, too. What the handler
// refuses for ever, and what cannot be decoded, goes to the quarantine (stage
// consume), from where millrace quarantine redrive gives it to this consumer
// alone again. If ctx ends, the broker gives to others what was not begun.
//
// Order is promised for the events of one lane (a kind and service of one
// publisher), with Concurrency 1 and one process of the name, and for first
// attempts: one that failed is given again after later ones. There is no other
// order.
func Consume(ctx context.Context, s Subscription, h Handler) error {
	s = s.withDefaults()
	return consumeEvents(ctx, s, 1, func(ctx context.Context, batch []Delivery) error { return h(ctx, batch[0]) })
}

// ConsumeBatches is Consume for a handler that takes slices of up to
// Subscription.Batch events, such as one that writes to a file.
func ConsumeBatches(ctx context.Context, s Subscription, h BatchHandler) error {
	s = s.withDefaults()
	return consumeEvents(ctx, s, s.Batch, h)
}

func consumeEvents(ctx context.Context, s Subscription, most int, h BatchHandler) error {
	c := &consumption[Delivery]{
		sub: s, most: most, handle: h, open: openEvents, decode: decodeEvent,
		partitions: true, redrives: "consume",
	}
	if s.Where != nil {
		c.where = func(d *Delivery) bool { return s.Where(&d.Event) }
	}
	if err := c.run(ctx); err != nil {
		return fmt.Errorf("consume as %s: %w", s.Name, err)
	}
	return nil
}

// openEvents finds the events of a frame.
func openEvents(m *held) {
	if _, m.bad = schemas.ParseSubject(m.name); m.bad != nil || m.subject.Tick {
		return
	}
	body := m.unpack()
	if m.bad != nil {
		return
	}
	for _, line := range schemas.Lines(body) {
		m.lines = append(m.lines, line)
	}
}

// decodeEvent reads an event.
func decodeEvent(d *Delivery, it *item) error {
	m := it.of
	at := it.position()
	d.Position, d.Arrival, d.Attempt, d.Redriven = at, m.arrival, it.attempts+1, m.redriven
	return d.Event.Decode(it.line, schemas.Origin{
		Kind: m.subject.Kind, Service: m.subject.Service,
		Arrival: m.arrival, Stream: at.Stream, Seq: at.Seq, Index: at.Index,
	})
}
