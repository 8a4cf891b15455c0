package schemas

import (
	"strconv"
	"time"
)

// decoder reads one event of a known kind.
type decoder struct {
	walker
	e        *Event
	kind     Kind
	zone     *time.Location
	skim     bool // attributes and details are checked, not kept
	hasValue bool
	few      [4]extra // the first keys that are not fields
	more     []extra  // the others
	extras   int
}

// extra is a key that is kept as an attribute, unless there is an explicit one of
// the same name, whichever comes first.
type extra struct {
	key   string
	value any
}

// event reads the whole event.
func (d *decoder) event() *DecodeError {
	var given names
	for more := d.first('}'); more; more = d.next('}') {
		key := d.name()
		d.broken = d.broken || given.again(key)
		if err := d.member(key); err != nil {
			return err.in(key)
		}
	}
	for _, x := range d.few[:min(d.extras, len(d.few))] {
		d.keep(x)
	}
	for _, x := range d.more {
		d.keep(x)
	}
	return nil
}

// member reads the value of one top-level key.
func (d *decoder) member(key string) *DecodeError {
	e := d.e
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
		return d.members(&e.Attributes)
	}
	known, err := d.own(key)
	if known || err != nil {
		return err
	}
	if d.skim {
		return d.check(2)
	}
	v, err := d.value(2)
	d.extra(key, v)
	return err
}

// own reads the keys of the event's own kind. On an event of another kind they
// are attributes like any other.
func (d *decoder) own(key string) (known bool, err *DecodeError) {
	e := d.e
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
			return true, d.members(&e.Details)
		case "success":
			return true, d.success()
		}
	}
	return false, nil
}

func (d *decoder) extra(key string, v any) {
	if d.extras < len(d.few) {
		d.few[d.extras] = extra{key, v}
	} else {
		d.more = append(d.more, extra{key, v})
	}
	d.extras++
}

// keep makes an attribute of an extra, if there is none of its name.
func (d *decoder) keep(x extra) {
	if d.e.Attributes == nil {
		d.e.Attributes = map[string]any{}
	}
	if _, ok := d.e.Attributes[x.key]; !ok {
		d.e.Attributes[x.key] = x.value
	}
}

// members reads an object of attributes or details; an empty one is not given.
func (d *decoder) members(to *map[string]any) *DecodeError {
	if d.null() {
		return nil
	}
	if c := d.s[d.i]; c != '{' {
		return wrongType("an object", c)
	}
	if d.skim {
		return d.checkObject(2)
	}
	m, err := d.object(2)
	if err == nil && len(m) > 0 {
		*to = m
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
	v, err := d.value(2)
	if err != nil {
		return err
	}
	ok := v == true
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
	if d.null() {
		return nil
	}
	if c := d.s[d.i]; c != '{' {
		return wrongType("a string, or an object with type, message and stack", c)
	}
	e := &Error{}
	var given names
	var others map[string]any
	for more := d.first('}'); more; more = d.next('}') {
		name := d.name()
		d.broken = d.broken || given.again(name)
		var err *DecodeError
		switch name {
		case "type":
			err = d.string(&e.Type)
		case "message":
			err = d.string(&e.Message)
		case "stack":
			err = d.string(&e.Stack)
		default:
			if d.skim {
				err = d.check(3)
				break
			}
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
	d.word("null")
	return true
}

func wrongType(want string, got byte) *DecodeError {
	return &DecodeError{Reason: "want " + want + ", got " + kindName(got)}
}

func unknown(what, got, want string) *DecodeError {
	return &DecodeError{Reason: "unknown " + what + " " + strconv.Quote(cut(got, 40)), Mend: "use " + want}
}
