package schemas

import (
	"strconv"
	"time"
)

// decoder reads one event of a known kind.
type decoder struct {
	walker
	e        Event
	kind     Kind
	zone     *time.Location
	hasValue bool
}

func (d *decoder) event() error {
	d.i++
	for d.more('}') {
		key := d.name()
		if err := d.member(key); err != nil {
			return err.in(key)
		}
	}
	return nil
}

// member reads the value of one top-level key.
func (d *decoder) member(key string) *DecodeError {
	e := &d.e
	switch key {
	case "timestamp":
		return d.timestamp()
	case "kind":
		return d.checkKind()
	case "service":
		return d.string(&e.Service)
	case "id":
		return d.string(&e.ID)
	case "instance":
		return d.string(&e.Instance)
	case "trace_id":
		return d.string(&e.TraceID)
	case "span_id":
		return d.string(&e.SpanID)
	case "attributes":
		return d.attributes()
	}
	known, err := d.own(key)
	if known || err != nil {
		return err
	}
	v, err := d.value(2)
	if err == nil {
		d.extra(key, v)
	}
	return err
}

// own reads the keys of the event's own kind. On an event of another kind they
// are attributes like any other.
func (d *decoder) own(key string) (known bool, err *DecodeError) {
	e := &d.e
	switch d.kind {
	case KindLog:
		switch key {
		case "level":
			return true, d.level()
		case "logger":
			return true, d.string(&e.Logger)
		case "message":
			return true, d.string(&e.Message)
		case "error":
			return true, d.error()
		}
	case KindMetric:
		switch key {
		case "name":
			return true, d.string(&e.Name)
		case "type":
			return true, d.string(&e.Type)
		case "value":
			return true, d.metric()
		case "unit":
			return true, d.string(&e.Unit)
		}
	case KindAudit:
		switch key {
		case "user":
			return true, d.string(&e.User)
		case "action":
			return true, d.string(&e.Action)
		case "resource":
			return true, d.string(&e.Resource)
		case "details":
			return true, d.details()
		case "success":
			return true, d.success()
		}
	}
	return false, nil
}

// extra keeps a key that is not a field. An explicit attribute of the same name
// wins, whichever comes first.
func (d *decoder) extra(key string, v any) {
	if d.e.Attributes == nil {
		d.e.Attributes = map[string]any{}
	}
	if _, ok := d.e.Attributes[key]; !ok {
		d.e.Attributes[key] = v
	}
}

func (d *decoder) attributes() *DecodeError {
	ok, err := d.open("an object")
	if !ok {
		return err
	}
	if d.e.Attributes == nil {
		d.e.Attributes = map[string]any{}
	}
	for d.more('}') {
		name := d.name()
		v, err := d.value(2)
		if err != nil {
			return err.in(name)
		}
		d.e.Attributes[name] = v
	}
	if len(d.e.Attributes) == 0 {
		d.e.Attributes = nil
	}
	return nil
}

func (d *decoder) details() *DecodeError {
	if d.null() {
		return nil
	}
	if c := d.s[d.i]; c != '{' {
		return wrongType("an object", c)
	}
	m, err := d.object(2)
	if err == nil && len(m) > 0 {
		d.e.Details = m
	}
	return err
}

func (d *decoder) timestamp() *DecodeError {
	var s string
	if err := d.string(&s); err != nil {
		err.Mend = "write it as 2025-11-27T10:30:45.123Z"
		return err
	}
	if s == "" {
		return nil
	}
	ns, reason := parseTime(s, d.zone)
	if reason != "" {
		return &DecodeError{Reason: strconv.Quote(cut(s, 40)) + ": " + reason, Mend: "write it as 2025-11-27T10:30:45.123Z"}
	}
	d.e.Time = ns
	return nil
}

func (d *decoder) checkKind() *DecodeError {
	var s string
	if err := d.string(&s); err != nil {
		return err
	}
	if s != "" && Kind(s).Class() == "" {
		return unknown("kind", s, "log, metric or audit")
	}
	return nil
}

func (d *decoder) level() *DecodeError {
	var s string
	if err := d.string(&s); err != nil || s == "" {
		return err
	}
	level, ok := ParseLevel(s)
	if !ok {
		return unknown("level", s, levels)
	}
	d.e.Level = level
	return nil
}

func (d *decoder) metric() *DecodeError {
	if d.null() {
		return nil
	}
	if c := d.s[d.i]; c != '-' && (c < '0' || c > '9') {
		return wrongType("a number", c)
	}
	f, err := d.number()
	d.e.Value, d.hasValue = f, true
	return err
}

func (d *decoder) success() *DecodeError {
	if d.null() {
		return nil
	}
	c := d.s[d.i]
	if c != 't' && c != 'f' {
		return wrongType("true or false", c)
	}
	d.skip()
	ok := c == 't'
	d.e.Success = &ok
	return nil
}

// error reads {type, message, stack}, or a string, which is the message. Other
// members are kept as the attribute "error".
func (d *decoder) error() *DecodeError {
	if d.s[d.i] == '"' {
		d.e.Error = &Error{Message: d.text()}
		return nil
	}
	ok, err := d.open("a string, or an object with type, message and stack")
	if !ok {
		return err
	}
	e := &Error{}
	var others map[string]any
	for d.more('}') {
		name := d.name()
		var err *DecodeError
		switch name {
		case "type":
			err = d.string(&e.Type)
		case "message":
			err = d.string(&e.Message)
		case "stack":
			err = d.string(&e.Stack)
		default:
			if others == nil {
				others = map[string]any{}
			}
			others[name], err = d.value(3)
		}
		if err != nil {
			return err.in(name)
		}
	}
	d.e.Error = e
	if others != nil {
		d.extra("error", others)
	}
	return nil
}

// open enters an object; null is not given.
func (d *decoder) open(want string) (bool, *DecodeError) {
	if d.null() {
		return false, nil
	}
	if c := d.s[d.i]; c != '{' {
		return false, wrongType(want, c)
	}
	d.i++
	return true, nil
}

// string reads a string field; null is not given.
func (d *decoder) string(to *string) *DecodeError {
	if d.null() {
		return nil
	}
	if c := d.s[d.i]; c != '"' {
		return wrongType("a string", c)
	}
	*to = d.text()
	return nil
}

// null moves behind a null and tells whether there was one.
func (d *decoder) null() bool {
	if d.s[d.i] != 'n' {
		return false
	}
	d.i += len("null")
	return true
}

func wrongType(want string, got byte) *DecodeError {
	return &DecodeError{Reason: "want " + want + ", got " + kindName(got)}
}

func unknown(what, got, want string) *DecodeError {
	return &DecodeError{Reason: "unknown " + what + " " + strconv.Quote(cut(got, 40)), Mend: "use " + want}
}
