package schemas

import (
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// maxDepth is how deep objects and arrays may be nested in an event, the event
// itself being the first level. An attribute counts as if it stood in
// "attributes", so that the canonical form of an event is never too deep.
const maxDepth = 32

// walker takes Go values out of JSON text that jsontext has found valid, so it
// checks nothing but what JSON allows and an event does not.
type walker struct {
	s     string // the text
	i     int    // of the next byte
	clone bool   // values are copied, not cut out of s
}

// skipSpace moves to the next byte that means something and returns it.
func (w *walker) skipSpace() byte {
	for {
		switch c := w.s[w.i]; c {
		case ' ', '\t', '\r', '\n':
			w.i++
		default:
			return c
		}
	}
}

// more tells whether another member or item follows in the container that ends
// with end, and moves to it, or behind the end. It is to be called after the
// opening bracket and after each value.
func (w *walker) more(end byte) bool {
	switch w.skipSpace() {
	case end:
		w.i++
		return false
	case ',':
		w.i++
		w.skipSpace()
	}
	return true
}

// name reads a member's name and moves to its value.
func (w *walker) name() string {
	name := w.text()
	w.skipSpace()
	w.i++ // the colon
	w.skipSpace()
	return name
}

// text reads a string.
func (w *walker) text() string {
	start := w.i
	if w.skipText() {
		b, err := jsontext.AppendUnquote(nil, w.s[start:w.i])
		if err != nil {
			panic("schemas: a string changed after it was checked: " + err.Error())
		}
		return string(b)
	}
	if w.clone {
		return strings.Clone(w.s[start+1 : w.i-1])
	}
	return w.s[start+1 : w.i-1]
}

// skipText moves behind a string and tells whether it has escapes.
func (w *walker) skipText() (escaped bool) {
	for w.i++; ; w.i++ {
		switch w.s[w.i] {
		case '"':
			w.i++
			return escaped
		case '\\':
			escaped = true
			w.i++
		}
	}
}

// literal reads to the end of a number, true, false or null.
func (w *walker) literal() string {
	start := w.i
	for ; w.i < len(w.s); w.i++ {
		switch w.s[w.i] {
		case ',', '}', ']', ' ', '\t', '\r', '\n':
			return w.s[start:w.i]
		}
	}
	return w.s[start:]
}

// number reads a number: finite, and never -0.
func (w *walker) number() (float64, *DecodeError) {
	f, err := strconv.ParseFloat(w.literal(), 64)
	if err != nil {
		return 0, &DecodeError{Reason: "number is out of the range of a double", Mend: "send it as a string"}
	}
	if f == 0 {
		return 0, nil
	}
	return f, nil
}

// skip moves behind a value.
func (w *walker) skip() {
	depth := 0
	for {
		switch w.s[w.i] {
		case '"':
			w.skipText()
		case '{', '[':
			depth++
			w.i++
		case '}', ']':
			depth--
			w.i++
		case ',', ':', ' ', '\t', '\r', '\n':
			w.i++
		default:
			w.literal()
		}
		if depth == 0 {
			return
		}
	}
}

// value reads any value that stands at the given depth: nil, bool, float64,
// string, []any or map[string]any.
func (w *walker) value(depth int) (any, *DecodeError) {
	switch w.s[w.i] {
	case '"':
		return w.text(), nil
	case '{':
		return w.object(depth + 1)
	case '[':
		return w.array(depth + 1)
	case 't':
		w.i += len("true")
		return true, nil
	case 'f':
		w.i += len("false")
		return false, nil
	case 'n':
		w.i += len("null")
		return nil, nil
	}
	return w.number()
}

// object reads an object that is itself the given level.
func (w *walker) object(depth int) (map[string]any, *DecodeError) {
	if depth > maxDepth {
		return nil, tooDeep()
	}
	m := map[string]any{}
	w.i++
	for w.more('}') {
		name := w.name()
		v, err := w.value(depth)
		if err != nil {
			return nil, err.in(name)
		}
		m[name] = v
	}
	return m, nil
}

func (w *walker) array(depth int) ([]any, *DecodeError) {
	if depth > maxDepth {
		return nil, tooDeep()
	}
	a := []any{}
	w.i++
	for w.more(']') {
		v, err := w.value(depth)
		if err != nil {
			return nil, err.item(len(a))
		}
		a = append(a, v)
	}
	return a, nil
}

func tooDeep() *DecodeError {
	return &DecodeError{Reason: "nested deeper than " + strconv.Itoa(maxDepth) + " levels", Mend: "send the inner part as a string"}
}

// kindName names the type of the value that begins with c.
func kindName(c byte) string {
	switch c {
	case '"':
		return "a string"
	case '{':
		return "an object"
	case '[':
		return "an array"
	case 't', 'f':
		return "a boolean"
	case 'n':
		return "null"
	}
	return "a number"
}
