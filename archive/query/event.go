package query

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/dermai/millrace/archive"
	"github.com/dermai/millrace/archive/segment"
	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/rules"
	"github.com/dermai/millrace/schemas"
)

// Options say which events are looked for. The zero Options are every event of the
// archive.
type Options struct {
	Where *rules.Condition // nil: every event
	// From and To bound when an event happened: at its own time, or when it arrived
	// if that is earlier. From <= t < To, Unix ns; 0: no bound.
	From, To int64
	// Since and Until bound the arrival, Since <= arrival < Until, Unix ns; 0: no
	// bound.
	Since, Until int64
	// Late is for how long after To events are looked for that happened before it:
	// what arrived later than that is passed over. 0: 48 h.
	Late   time.Duration
	Class  string // telemetry or audit; "": both
	Stream string // "": each

	// Log, if set, gives what is not archived yet of Streams.
	Log     fence.Log
	Streams []string

	// Broken, if set, is told of each segment that cannot be read. nil: go on behind
	// it; an error ends the query. Without it the query ends with the first.
	Broken func(err error) error
	// Progress, if set, is told how far the query is, often.
	Progress func(Stats)
}

// Stats tell what a query read of what there was.
type Stats struct {
	Events                 int64 // that were given
	Total, Passed          int64 // bytes there are of chains, and of those behind the reader
	Segments, SegmentsRead int64 // within the time
	Objects, ObjectsRead   int64
	BytesRead              int64 // of objects
	segment.Cost                 // of the segments of which anything was read
	Messages               int64 // read from streams
	Faulty                 int64 // lines that are no event
}

// Event is an event and where it is kept.
type Event struct {
	schemas.Event
	Chain   archive.Chain
	Seq     uint64
	Index   int // in its message
	Arrival int64
	Stored  int64 // the broker's timestamp, Unix ns
	Subject string
	Line    []byte // as its service sent it
}

// Row is the event as it stands in a segment, as the only one of its message.
func (e *Event) Row() segment.Row {
	lane := ""
	if s, err := schemas.ParseSubject(e.Subject); err == nil {
		lane = s.Lane
	}
	return segment.Row{
		Stream: e.Chain.Stream, Sequence: int64(e.Seq), Index: int32(e.Index), Lane: lane,
		Arrival: e.Arrival, Stored: e.Stored, EventTime: e.Time, Kind: string(e.Kind), Service: e.Service,
		Level: e.Level, User: e.User, Resource: e.Resource, Action: e.Action, TraceID: e.TraceID,
		Payload: e.Line, Subject: e.Subject,
	}
}

// events reads the events of one chain.
type events struct {
	*Options
	chain  archive.Chain
	stats  *Stats
	sel    segment.Select
	fn     func(*Event) error
	event  Event
	buf    []byte
	first  int64 // arrival before which nothing is looked for
	latest int64 // arrival from which on nothing is, 0: no bound
}

func newEvents(o *Options, c archive.Chain, stats *Stats, fn func(*Event) error) *events {
	e := &events{Options: o, chain: c, stats: stats, fn: fn}
	if o.To > 0 {
		e.latest = o.To + int64(cmp.Or(o.Late, 48*time.Hour))
	}
	if o.Until > 0 && (e.latest == 0 || o.Until < e.latest) {
		e.latest = o.Until
	}
	e.first = max(o.From, o.Since)
	e.sel = segment.Select{From: o.From, To: o.To, Since: o.Since, Until: e.latest}
	if o.Where != nil {
		for _, t := range o.Where.Terms() {
			if slices.Contains(segment.Tested, t.Field) {
				e.sel.Tests = append(e.sel.Tests, segment.Test{Column: t.Field, Op: t.Op, Values: t.Values})
			}
		}
	}
	return e
}

func (e *events) segment(s *archive.Segment) bool {
	hasEvents := s.EventFrom != 0 || s.EventTo != 0
	return hasEvents && s.ArrivalTo >= e.first && s.EventTo >= e.From &&
		(e.To == 0 || s.EventFrom < e.To || s.ArrivalFrom < e.To)
}

func (e *events) object(_ uint64, arrivalTo int64) bool { return arrivalTo >= e.first }

func (e *events) behind(_ uint64, arrival int64) bool { return e.latest > 0 && arrival >= e.latest }

func (e *events) broken(_ *archive.Segment, err error) error {
	if e.Broken == nil {
		return err
	}
	return e.Broken(err)
}

func (e *events) read(f *segment.File, from uint64) error {
	e.sel.First = 0
	if from > 1 {
		e.sel.First = from
	}
	return f.Scan(e.sel, func(r *segment.Row) error {
		e.event = Event{
			Chain: e.chain, Seq: uint64(r.Sequence), Index: int(r.Index), Arrival: r.Arrival, Stored: r.Stored,
			Subject: r.Subject, Line: r.Payload,
		}
		if subject, err := schemas.ParseSubject(r.Subject); err == nil {
			return e.decode(subject)
		}
		return nil
	})
}

func (e *events) message(r *archive.Record) error {
	if r.Arrival < e.first {
		return nil
	}
	subject, err := schemas.ParseSubject(r.Subject)
	if err != nil || subject.Tick || len(r.Payload) == 0 {
		return nil
	}
	content, err := schemas.Unpack(e.buf, r.Payload, schemas.FrameDecoded)
	if err != nil {
		e.stats.Faulty++ // the reducer reports it
		return nil
	}
	if len(content) > 0 && &content[0] != &r.Payload[0] {
		e.buf = content
	}
	for i, line := range schemas.Lines(content) {
		e.event = Event{Chain: r.Chain, Seq: r.Seq, Index: i, Arrival: r.Arrival, Stored: r.Time, Subject: r.Subject, Line: line}
		if err := e.decode(subject); err != nil {
			return err
		}
	}
	return nil
}

// decode decodes the line of the event and gives it on if it is looked for.
func (e *events) decode(subject schemas.Subject) error {
	var err error
	e.event.Event, err = schemas.Decode(e.event.Line, schemas.Origin{
		Kind: subject.Kind, Service: subject.Service,
		Arrival: e.event.Arrival, Stream: e.chain.Stream, Seq: e.event.Seq, Index: e.event.Index,
	})
	if err == nil {
		return e.give()
	}
	e.stats.Faulty++ // the reducer reports it
	return nil
}

func (e *events) give() error {
	happened := min(e.event.Time, e.event.Arrival)
	if happened < e.From || e.To > 0 && happened >= e.To || e.Where != nil && !e.Where.Holds(&e.event.Event) {
		return nil
	}
	if err := e.fn(&e.event); err != nil {
		return &stopError{err}
	}
	return nil
}

// classes are those of which there can be something: a class holds kinds of its
// own.
func (o *Options) classes() []string {
	out := []string{string(schemas.AuditTrail), string(schemas.Telemetry)}
	return slices.DeleteFunc(out, func(class string) bool {
		if o.Class != "" && o.Class != class {
			return true
		}
		for _, t := range o.terms("kind") {
			if (t.Op == "==" || t.Op == "in") && !slices.ContainsFunc(t.Values, func(k string) bool {
				return string(schemas.Kind(k).Class()) == class
			}) {
				return true
			}
		}
		return false
	})
}

func (o *Options) terms(field string) (out []rules.Term) {
	if o.Where != nil {
		out = o.Where.Terms()
	}
	return slices.DeleteFunc(out, func(t rules.Term) bool { return t.Field != field })
}

// chains finds what is to be read, stream by stream.
func (o *Options) chains(ctx context.Context, store archive.Store) (map[string][]archive.Chain, error) {
	byStream := map[string][]archive.Chain{}
	for _, class := range o.classes() {
		found, err := archive.Chains(ctx, store, class, o.Stream)
		if err != nil {
			return nil, err
		}
		for _, c := range found {
			byStream[c.Stream] = append(byStream[c.Stream], c)
		}
		if o.Log == nil {
			continue
		}
		for _, name := range o.Streams {
			if (o.Stream == "" || o.Stream == name) && classOf(name) == class && byStream[name] == nil {
				byStream[name] = []archive.Chain{}
			}
		}
	}
	return byStream, nil
}

func classOf(stream string) string {
	if stream == schemas.StreamAudit {
		return string(schemas.AuditTrail)
	}
	return string(schemas.Telemetry)
}
