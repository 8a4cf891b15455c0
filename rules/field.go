package rules

import (
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/dermai/millrace/schemas"
)

// field refers to one value of an event: a field of the event itself (service,
// error.type, value) or an entry of its attributes or details.
type field struct {
	own  string   // name of the event's own field, "" for an entry
	root string   // attributes or details
	keys []string // from the root inwards; not empty for an entry
	want kind     // what a well-known attribute must be; anything: whatever it is

	text func(*schemas.Event) string // nil unless own is text
}

// textFields are the event's own fields that hold text.
var textFields = []string{
	"kind", "service", "id", "instance", "trace_id", "span_id",
	"level", "logger", "message", "error.type", "error.message", "error.stack",
	"name", "type", "unit", "user", "action", "resource",
}

// wellKnown gives the types of the attributes that events of the wire format
// agree on (docs/events.md). A value of another type counts as missing.
var wellKnown = map[string]kind{
	"status_code": number, "duration_ms": number, "exit_code": number,
	"cpu": number, "memory_percent": number, "disk_percent": number,
	"size": number, "checkedout": number,
	"method": text, "path": text, "client": text, "query": text, "job": text,
	"healthy": truth,
}

// String is the field as it is written in a rule.
func (f field) String() string {
	if f.own != "" {
		return f.own
	}
	var b strings.Builder
	b.WriteString(f.root)
	for _, k := range f.keys {
		if isName(k) {
			b.WriteString("." + k)
		} else {
			b.WriteString("[" + strconv.Quote(k) + "]")
		}
	}
	return b.String()
}

// label is the name under which the field's value is shown: its last part, in
// the characters that Prometheus allows in a label.
func (f field) label() string {
	if f.own != "" {
		return strings.ReplaceAll(f.own, ".", "_")
	}
	name := []byte(f.keys[len(f.keys)-1])
	for i, c := range name {
		if !nameByte(c, i > 0) {
			name[i] = '_'
		}
	}
	if len(name) == 0 {
		return "_"
	}
	return string(name)
}

// read gives the field's value in an event; missing where it is not given or
// not what it must be.
func (f field) read(e *schemas.Event) value {
	if f.text != nil {
		return value{kind: text, s: f.text(e)}
	}
	switch f.own {
	case "value":
		if e.Kind != schemas.KindMetric {
			return value{}
		}
		return numberOf(e.Value)
	case "success":
		if e.Success == nil {
			return value{}
		}
		return truthOf(*e.Success)
	}
	m := e.Attributes
	if f.root == "details" {
		m = e.Details
	}
	for _, k := range f.keys[:len(f.keys)-1] {
		m, _ = m[k].(map[string]any)
	}
	x, ok := m[f.keys[len(f.keys)-1]]
	if !ok {
		return value{}
	}
	v := valueOf(x)
	if f.want != anything && v.kind != f.want {
		return value{}
	}
	return v
}

// ownText gives the reader of one of textFields. What is not given is "".
func ownText(name string) func(*schemas.Event) string {
	switch name {
	case "kind":
		return func(e *schemas.Event) string { return string(e.Kind) }
	case "service":
		return func(e *schemas.Event) string { return e.Service }
	case "id":
		return func(e *schemas.Event) string { return e.ID }
	case "instance":
		return func(e *schemas.Event) string { return e.Instance }
	case "trace_id":
		return func(e *schemas.Event) string { return e.TraceID }
	case "span_id":
		return func(e *schemas.Event) string { return e.SpanID }
	case "level":
		return func(e *schemas.Event) string { return e.Level }
	case "logger":
		return func(e *schemas.Event) string { return e.Logger }
	case "message":
		return func(e *schemas.Event) string { return e.Message }
	case "name":
		return func(e *schemas.Event) string { return e.Name }
	case "type":
		return func(e *schemas.Event) string { return e.Type }
	case "unit":
		return func(e *schemas.Event) string { return e.Unit }
	case "user":
		return func(e *schemas.Event) string { return e.User }
	case "action":
		return func(e *schemas.Event) string { return e.Action }
	case "resource":
		return func(e *schemas.Event) string { return e.Resource }
	case "error.type":
		return ofError(func(f *schemas.Error) string { return f.Type })
	case "error.message":
		return ofError(func(f *schemas.Error) string { return f.Message })
	}
	return ofError(func(f *schemas.Error) string { return f.Stack })
}

func ofError(get func(*schemas.Error) string) func(*schemas.Event) string {
	return func(e *schemas.Event) string {
		if e.Error == nil {
			return ""
		}
		return get(e.Error)
	}
}

// isName tells whether s can be a label's name, or follow a dot.
func isName(s string) bool {
	for i := range len(s) {
		if !nameByte(s[i], i > 0) {
			return false
		}
	}
	return s != ""
}

func nameByte(c byte, digits bool) bool {
	return c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || digits && '0' <= c && c <= '9'
}

// kind is the type of a value.
type kind uint8

const (
	missing  kind = iota // not given, or not what the operation needs
	null                 // JSON's null
	number               // finite, in value.n
	text                 // in value.s
	truth                // true or false: value.n is 1 or 0
	compound             // a list or an object, in value.x
)

// anything stands, as the type of a field, for a value that is known only when an
// event comes.
const anything = missing

// value is what a part of an expression is for one event. The zero value is
// missing.
type value struct {
	kind kind
	n    float64
	s    string
	x    any
}

func valueOf(x any) value {
	switch x := x.(type) {
	case nil:
		return value{kind: null}
	case float64:
		return numberOf(x)
	case string:
		return value{kind: text, s: x}
	case bool:
		return truthOf(x)
	}
	return value{kind: compound, x: x}
}

// numberOf holds a number; one that is not finite is missing, and -0 is 0, so
// that no arithmetic makes what an event can't hold.
func numberOf(n float64) value {
	if math.IsNaN(n) || math.IsInf(n, 0) {
		return value{}
	}
	return value{kind: number, n: n + 0}
}

func truthOf(b bool) value {
	if b {
		return value{kind: truth, n: 1}
	}
	return value{kind: truth}
}

// shown is the field as a label or as evidence, "" for what is missing or not a
// scalar. Statements and paths are shown without the values in them, since
// those may name people.
func (f field) shown(e *schemas.Event) string {
	v := f.read(e)
	switch v.kind {
	case number:
		return formatNumber(v.n)
	case truth:
		return strconv.FormatBool(v.n == 1)
	case text:
	default:
		return ""
	}
	if f.root == "attributes" {
		switch f.keys[len(f.keys)-1] {
		case "query":
			return schemas.NormalizeSQL(v.s)
		case "path":
			return normalizePath(v.s)
		}
	}
	return v.s
}

// cut keeps the first runes of s and makes a space of each control character.
func cut(s string, runes int) string {
	clean := true
	for i, r := range s {
		if runes--; runes < 0 {
			s = s[:i]
			break
		}
		clean = clean && r >= ' ' && r != 0x7f
	}
	if clean {
		return s
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
}

// normalizePath drops the query of a URL's path and replaces the segments that
// identify something, whole numbers and UUIDs, by :id.
func normalizePath(path string) string {
	if i := strings.IndexAny(path, "?#"); i >= 0 {
		path = path[:i]
	}
	segments := strings.Split(path, "/")
	for i, s := range segments {
		if isDigits(s) || isUUID(s) {
			segments[i] = ":id"
		}
	}
	return strings.Join(segments, "/")
}

func isDigits(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r < '0' || r > '9' })
}

func isUUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		if slices.Contains([]int{8, 13, 18, 23}, i) {
			if s[i] != '-' {
				return false
			}
		} else if !strings.Contains("0123456789abcdefABCDEF", s[i:i+1]) {
			return false
		}
	}
	return true
}

// formatNumber writes a number as JSON does: shortest, and without an exponent
// where people would not write one.
func formatNumber(n float64) string {
	if a := math.Abs(n); a != 0 && (a < 1e-6 || a >= 1e21) {
		return strconv.FormatFloat(n, 'e', -1, 64)
	}
	return strconv.FormatFloat(n, 'f', -1, 64)
}
