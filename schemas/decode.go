package schemas

import (
	"strconv"
	"time"
)

// LineBytes bounds the JSON text of one event.
const LineBytes = 256 << 10

// shareBytes bounds the lines whose strings stay pieces of one copy of the
// line: a copy for the whole is cheap, but whoever keeps one string keeps all.
const shareBytes = 4 << 10

// Origin is what a reader knows of an event besides its text. The zero Origin
// knows nothing.
type Origin struct {
	// Kind and Service come from the subject, which is what a credential allows,
	// and win over what the event says of itself. "": the event says it.
	Kind    Kind
	Service string
	// Fill makes Kind and Service only complete an event that does not say its own.
	Fill bool
	// Zone is that of timestamps without one; nil: UTC.
	Zone *time.Location
	// Arrival (Unix ns), Stream, Seq and Index tell where the event is stored. If
	// Seq is above 0 they fill a missing time and id.
	Arrival int64
	Stream  string
	Seq     uint64
	Index   int
}

// Decode reads one event from one JSON object and refuses, with a *DecodeError,
// what it cannot keep as it is: invalid JSON or UTF-8, duplicate names, depth
// above 32, numbers that are not doubles, more than LineBytes, anything behind
// the object, and fields of a wrong type. Attributes may be of any type. A nil
// error means that Validate finds nothing, and that decoding the event's
// AppendJSON gives the same event, unless that text is longer than LineBytes.
//
// The event keeps nothing of line, so that the caller may use it again. Decode
// may be called by any number of goroutines.
func Decode(line []byte, o Origin) (Event, error) {
	var e Event
	if err := e.Decode(line, o); err != nil {
		return Event{}, err
	}
	return e, nil
}

// Decode is the function Decode, for who has the memory. After an error the event is
// worth nothing.
func (e *Event) Decode(line []byte, o Origin) error { return e.decode(line, o, false) }

// Skim is Decode without Attributes and Details, which stay nil: it refuses the same
// lines, and is cheaper.
func (e *Event) Skim(line []byte, o Origin) error { return e.decode(line, o, true) }

func (e *Event) decode(line []byte, o Origin, skim bool) error {
	if len(line) > LineBytes {
		return &DecodeError{
			Reason: "event of " + strconv.Itoa(len(line)) + " bytes, at most " + strconv.Itoa(LineBytes),
			Mend:   "shorten its texts, or send them elsewhere and refer to them",
		}
	}
	w := newWalker(line)
	if c := w.skipSpace(); c != '{' {
		return refusal(line, &DecodeError{Reason: "want a JSON object, got " + kindName(c), Mend: "send one object a line"})
	}
	if o.Kind == "" || o.Fill {
		look := w
		o.Kind = look.kind(o.Kind)
	}
	*e = Event{}
	d := decoder{walker: w, e: e, kind: o.Kind, zone: o.Zone, skim: skim}
	switch err := d.event(); {
	case d.broken, err == nil && !d.atEnd():
		return syntaxFault(line)
	case err != nil:
		return refusal(line, err)
	}
	e.Kind = o.Kind
	if o.Service != "" && (e.Service == "" || !o.Fill) {
		e.Service = o.Service
	}
	if o.Seq > 0 {
		if e.Time == 0 {
			e.Time = o.Arrival
		}
		if e.ID == "" {
			var buf [64]byte
			id := append(append(buf[:0], o.Stream...), '/')
			id = append(strconv.AppendUint(id, o.Seq, 10), '/')
			e.ID = string(strconv.AppendInt(id, int64(o.Index), 10))
		}
	}
	if e.Kind == KindMetric && !d.hasValue {
		return &DecodeError{Field: "value", Reason: "missing", Mend: "a metric needs a name and a value"}
	}
	return e.fault()
}

// kind is what the event calls itself, else the given one, else what its fields
// say: user, action and resource make an audit event; name and value without
// level and message a metric; anything else is a log event. A kind that does not
// exist is reported when the event is read.
func (w *walker) kind(otherwise Kind) Kind {
	var user, action, resource, name, value, level, message bool
	for more := w.first('}'); more; more = w.next('}') {
		key := w.name()
		given := w.s[w.i] != 'n' // null is not given
		switch key {
		case "kind":
			if w.s[w.i] == '"' {
				if k := w.text(); k != "" {
					return Kind(k)
				}
				continue
			}
		case "user":
			user = given
		case "action":
			action = given
		case "resource":
			resource = given
		case "name":
			name = given
		case "value":
			value = given
		case "level":
			level = given
		case "message":
			message = given
		}
		w.skip()
	}
	switch {
	case otherwise != "":
		return otherwise
	case user && action && resource:
		return KindAudit
	case name && value && !level && !message:
		return KindMetric
	}
	return KindLog
}
