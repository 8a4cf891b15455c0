package sinks

import (
	"context"
	"strconv"

	"github.com/dermai/millrace/notify"
	"github.com/dermai/millrace/schemas"
)

// Delivered is an event with the place where it stands in its stream, which is
// its identity: the same on every attempt, and of no other event.
type Delivered struct {
	Stream string // such as EVENTS_p03
	Seq    uint64 // of the frame
	Index  int    // of the event within its frame, from 0
	Time   int64  // effective event time, min(event time, arrival), Unix ns
	Event  *schemas.Event
}

// Position is stream/sequence/index.
func (d Delivered) Position() string {
	return d.Stream + "/" + strconv.FormatUint(d.Seq, 10) + "/" + strconv.Itoa(d.Index)
}

// EventSink takes events to somewhere else.
//
// Write makes one attempt at all of events, within ctx. A nil error means that
// the other side has every one of them that it wants, for good. After an error
// nothing is known of them: the same events, at the same positions, come again,
// also in other batches, so that each arrives at least once. A sink that can
// tell the other side by the position that an event is the same does so. Write
// never retries by itself. It is called by one goroutine at a time, and keeps
// neither the slice nor the events after it has returned.
//
// An error says how it wants to be treated as one of a notify.Receiver does, by
// Permanent, RetryAfter and Ambiguous. One that is Permanent also has
//
//	Failed() int	the index of the event that no other attempt gets through
//
// if it is about one event: those before it are there, those after it were not
// tried. Its text holds no secret and nothing of the events.
type EventSink interface {
	Write(ctx context.Context, events []Delivered) error
	Off() (reason string, off bool)
}

// EventBuilder makes a receiver of events of one type from its options, as
// Builder does one of notifications.
type EventBuilder func(name string, options notify.Options, env Env) (EventSink, error)

// BuiltinEvents are the types of receivers of events by the name they have in
// the configuration. The map is the caller's.
func BuiltinEvents() map[string]EventBuilder {
	return map[string]EventBuilder{
		"sentry":     buildSentryEvents,
		"file":       buildEventFile,
		"audit_file": buildAuditFile,
	}
}
