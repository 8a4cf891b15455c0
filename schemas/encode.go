package schemas

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

// AppendJSON appends the event's canonical text to dst: one line without its
// line end, keys in a fixed order, names of attributes sorted, numbers in their
// shortest form. It refuses, with a *DecodeError, what Decode would not give
// back. Values of attributes may also be of Go's integer types and float32:
// they are written as the double they become.
func AppendJSON(dst []byte, e *Event) ([]byte, error) {
	if err := e.fault(); err != nil {
		return dst, err
	}
	w := writer{b: append(dst, '{')}
	if e.Time != 0 {
		w.key("timestamp")
		w.b = append(appendTime(append(w.b, '"'), e.Time), '"')
	}
	w.field("kind", string(e.Kind))
	w.field("service", e.Service)
	w.field("id", e.ID)
	w.field("instance", e.Instance)
	w.field("trace_id", e.TraceID)
	w.field("span_id", e.SpanID)
	switch e.Kind {
	case KindLog:
		w.field("level", e.Level)
		w.field("logger", e.Logger)
		w.field("message", e.Message)
		if e.Error != nil {
			w.key("error")
			w.b = append(w.b, '{')
			w.field("type", e.Error.Type)
			w.field("message", e.Error.Message)
			w.field("stack", e.Error.Stack)
			w.b = append(w.b, '}')
		}
	case KindMetric:
		w.field("name", e.Name)
		w.field("type", e.Type)
		w.key("value")
		w.b = appendFloat(w.b, e.Value)
		w.field("unit", e.Unit)
	case KindAudit:
		w.field("user", e.User)
		w.field("action", e.Action)
		w.field("resource", e.Resource)
		w.object("details", e.Details)
		if e.Success != nil {
			w.key("success")
			w.b = strconv.AppendBool(w.b, *e.Success)
		}
	}
	w.object("attributes", e.Attributes)
	w.b = append(w.b, '}')
	if n := len(w.b) - len(dst); w.err == nil && n > LineBytes {
		w.err = &DecodeError{
			Reason: "event of " + strconv.Itoa(n) + " bytes, at most " + strconv.Itoa(LineBytes),
			Mend:   "shorten its texts, or send them elsewhere and refer to them",
		}
	}
	if w.err != nil {
		return dst, w.err
	}
	return w.b, nil
}

// writer appends members of objects and remembers the first fault.
type writer struct {
	b   []byte
	err *DecodeError
}

func (w *writer) key(name string) {
	if w.b[len(w.b)-1] != '{' {
		w.b = append(w.b, ',')
	}
	w.text(name)
	w.b = append(w.b, ':')
}

// field writes a string field, if it was given.
func (w *writer) field(name, s string) {
	if s == "" {
		return
	}
	w.key(name)
	if !w.text(s) {
		w.fail(notUTF8().in(name))
	}
}

// object writes attributes or details, if there are any.
func (w *writer) object(name string, m map[string]any) {
	if len(m) == 0 {
		return
	}
	w.key(name)
	if err := w.value(m, 1); err != nil {
		w.fail(err.in(name))
	}
}

func (w *writer) fail(err *DecodeError) {
	if w.err == nil {
		w.err = err
	}
}

// text writes a string and tells whether it is valid UTF-8.
func (w *writer) text(s string) bool {
	var err error
	w.b, err = jsontext.AppendQuote(w.b, s)
	return err == nil
}

// value writes a value that stands at the given depth.
func (w *writer) value(v any, depth int) *DecodeError {
	switch v := v.(type) {
	case nil:
		w.b = append(w.b, "null"...)
	case bool:
		w.b = strconv.AppendBool(w.b, v)
	case string:
		if !w.text(v) {
			return notUTF8()
		}
	case map[string]any:
		return w.members(v, depth+1)
	case []any:
		return w.items(v, depth+1)
	default:
		f, ok := double(v)
		if !ok {
			return &DecodeError{Reason: fmt.Sprintf("cannot send a %T", v), Mend: "use nil, bool, a number, string, []any or map[string]any"}
		}
		if math.IsNaN(f) || math.IsInf(f, 0) {
			return &DecodeError{Reason: "not a finite number", Mend: "leave it out"}
		}
		w.b = appendFloat(w.b, f)
	}
	return nil
}

func (w *writer) members(m map[string]any, depth int) *DecodeError {
	if depth > maxDepth {
		return tooDeep()
	}
	w.b = append(w.b, '{')
	for _, name := range slices.Sorted(maps.Keys(m)) {
		if w.b[len(w.b)-1] != '{' {
			w.b = append(w.b, ',')
		}
		if !w.text(name) {
			return notUTF8().in(name)
		}
		w.b = append(w.b, ':')
		if err := w.value(m[name], depth); err != nil {
			return err.in(name)
		}
	}
	w.b = append(w.b, '}')
	return nil
}

func (w *writer) items(a []any, depth int) *DecodeError {
	if depth > maxDepth {
		return tooDeep()
	}
	w.b = append(w.b, '[')
	for i, v := range a {
		if i > 0 {
			w.b = append(w.b, ',')
		}
		if err := w.value(v, depth); err != nil {
			return err.item(i)
		}
	}
	w.b = append(w.b, ']')
	return nil
}

func notUTF8() *DecodeError {
	return &DecodeError{Reason: "not valid UTF-8", Mend: "send UTF-8"}
}

// double is the float64 that a number becomes.
func double(v any) (float64, bool) {
	switch v := v.(type) {
	case float64:
		return v, true
	case float32:
		return float64(v), true
	case int:
		return float64(v), true
	case int8:
		return float64(v), true
	case int16:
		return float64(v), true
	case int32:
		return float64(v), true
	case int64:
		return float64(v), true
	case uint:
		return float64(v), true
	case uint8:
		return float64(v), true
	case uint16:
		return float64(v), true
	case uint32:
		return float64(v), true
	case uint64:
		return float64(v), true
	}
	return 0, false
}

// appendFloat writes the shortest text that reads as f, in the form of RFC 8785
// (ECMAScript's): plain from 1e-6 to 1e21, otherwise with an exponent.
func appendFloat(dst []byte, f float64) []byte {
	if f == 0 {
		return append(dst, '0')
	}
	if abs := math.Abs(f); abs >= 1e-6 && abs < 1e21 {
		return strconv.AppendFloat(dst, f, 'f', -1, 64)
	}
	n := len(dst)
	dst = strconv.AppendFloat(dst, f, 'e', -1, 64)
	// e-09 is written e-9.
	if i := len(dst) - 4; i > n && dst[i] == 'e' && dst[i+2] == '0' {
		dst = append(dst[:i+2], dst[i+3])
	}
	return dst
}
