package sources

import (
	"errors"
	"fmt"
	"time"

	"github.com/dermai/millrace/schemas"
)

// Defaults complete events that do not say everything themselves. The zero value
// completes nothing.
type Defaults struct {
	// Kind of events that name none. "": what their fields say.
	Kind schemas.Kind
	// Service of events that name none.
	Service string
	// Only refuses events that name another service than Service: what a
	// credential may speak for is not the event's to say.
	Only bool
	// Instance of events that name none.
	Instance string
	// Zone of times without one. nil: UTC.
	Zone *time.Location
}

// Validate names every fault.
func (d Defaults) Validate() error {
	var faults []error
	if d.Kind != "" && d.Kind.Class() == "" {
		faults = append(faults, fmt.Errorf("kind: %q is unknown; use log, metric or audit", d.Kind))
	}
	if d.Service == "" && d.Only {
		faults = append(faults, errors.New("service: missing, and no other is allowed"))
	}
	if d.Service != "" {
		if _, err := schemas.Token(d.Service); err != nil {
			faults = append(faults, fmt.Errorf("service: %w", err))
		}
	}
	return errors.Join(faults...)
}

// Normalize makes an event of one line of JSON: in the form of docs/events.md,
// or as Python's logging writes it through a JSON formatter (docs/sources.md).
// Secrets are redacted. A line that is no event is refused with a
// *schemas.DecodeError, which holds no value of an attribute.
//
// What is stored is the event's AppendJSON, never the line. Normalize may be
// called by any number of goroutines.
func Normalize(line []byte, d Defaults) (schemas.Event, error) {
	e, _, err := d.event(line)
	return e, err
}

// errLong is the refusal of a line, before anything else is looked at.
var errLong = &schemas.DecodeError{
	Reason: fmt.Sprintf("line is over %d bytes", schemas.LineBytes),
	Mend:   "shorten its texts, or send them elsewhere and refer to them",
}

// errCut is the refusal of a line that was lost half written.
var errCut = &schemas.DecodeError{Reason: "the file was truncated before the line ended"}

// normalize appends the canonical text of a line's event.
func (d Defaults) normalize(dst, line []byte) (text []byte, to lane, redacted int, err error) {
	e, redacted, err := d.event(line)
	if err != nil {
		return dst, lane{}, 0, err
	}
	text, err = schemas.AppendJSON(dst, &e)
	return text, lane{e.Kind, e.Service}, redacted, err
}

func (d Defaults) event(line []byte) (e schemas.Event, redacted int, err error) {
	if len(line) > schemas.LineBytes {
		return e, 0, errLong
	}
	origin := schemas.Origin{Kind: d.Kind, Service: d.Service, Fill: true, Zone: d.Zone}
	e, err = schemas.Decode(line, origin)
	if err != nil {
		e, err = decodeForeign(line, origin, err)
	}
	if err != nil {
		return schemas.Event{}, 0, err
	}
	if len(e.Attributes) > 0 && e.Kind == schemas.KindLog {
		if err := adoptRecord(&e, d.Zone); err != nil {
			return schemas.Event{}, 0, err
		}
	}
	if d.Only && e.Service != d.Service {
		return schemas.Event{}, 0, &schemas.DecodeError{
			Field:  "service",
			Reason: "not the one that the token is for",
			Mend:   "leave it out, or use the service's own token",
		}
	}
	if e.Instance == "" {
		e.Instance = d.Instance
	}
	redacted = schemas.Redact(&e)
	return e, redacted, nil
}
