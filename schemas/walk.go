package schemas

import (
	"math/bits"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// maxDepth is how deep objects and arrays may be nested in an event, the event
// itself being the first level. An attribute counts as if it stood in
// "attributes", so that the canonical form of an event is never too deep.
const maxDepth = 32

// walker takes Go values out of JSON text and checks it on the way, so that each
// byte is looked at once. What it takes is what jsontext takes by its defaults,
// which TestDecodeAgrees and FuzzDecodeAgrees hold it to.
//
// At the first fault of syntax it stands still: broken is set, and every loop
// ends. What it gave until then is worth nothing.
type walker struct {
	s      string // a copy of the text, with padding behind it
	i      int    // of the next byte
	clone  bool   // values are copied, not cut out of s
	broken bool
}

// padding is of zero bytes, which are nowhere valid: eight can be looked at
// wherever the text goes on.
const padding = "\x00\x00\x00\x00\x00\x00\x00\x00"

func newWalker(line []byte) walker {
	var b strings.Builder
	b.Grow(len(line) + len(padding))
	b.Write(line)
	b.WriteString(padding)
	return walker{s: b.String(), clone: len(line) > shareBytes}
}

// atEnd tells whether only white space is left.
func (w *walker) atEnd() bool {
	w.skipSpace()
	return w.i == len(w.s)-len(padding)
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

// first enters the container whose bracket is next, and tells whether it has a
// member or an item before end, its other bracket. Then it stands at that.
func (w *walker) first(end byte) bool {
	w.i++
	if w.skipSpace() == end {
		w.i++
		return false
	}
	return !w.broken
}

// next tells, behind a value, whether the container has another member or item.
// Then it stands at that, otherwise behind the container.
func (w *walker) next(end byte) bool {
	switch {
	case w.broken:
		return false
	case w.skipSpace() == ',':
		w.i++
		w.skipSpace()
		return true
	case w.s[w.i] == end:
		w.i++
	default:
		w.broken = true
	}
	return false
}

// name reads a member's name and moves to its value.
func (w *walker) name() string {
	name := w.text()
	if w.skipSpace() != ':' {
		w.broken = true
		return name
	}
	w.i++
	w.skipSpace()
	return name
}

// text reads a string.
func (w *walker) text() string {
	start := w.i
	escaped, beyond := w.skipText()
	if w.broken {
		return ""
	}
	if escaped {
		b, err := jsontext.AppendUnquote(nil, w.s[start:w.i])
		w.broken = err != nil
		return string(b)
	}
	s := w.s[start+1 : w.i-1]
	if beyond && !utf8.ValidString(s) {
		w.broken = true
	}
	if w.clone {
		return strings.Clone(s)
	}
	return s
}

// skipText moves behind a string and tells whether it has escapes, and whether it
// may have bytes that are not ASCII. It looks at neither.
func (w *walker) skipText() (escaped, beyond bool) {
	if w.s[w.i] != '"' {
		w.broken = true
		return false, false
	}
	s, i := w.s, w.i+1
	for high := uint64(0); ; {
		eight := load(s, i)
		high |= eight
		stop := stopsText(eight)
		i += bits.TrailingZeros64(stop) / 8 // 8 without a stop
		if stop == 0 {
			continue
		}
		switch s[i] {
		case '"':
			w.i = i + 1
			return escaped, high&highBits != 0
		case '\\':
			escaped = true
			i++
			if c := s[i]; c == '"' || c == '\\' {
				i++
			}
		default: // a control character
			w.broken = true
			return false, false
		}
	}
}

// load reads eight bytes, the first of them lowest.
func load(s string, i int) uint64 {
	s = s[i : i+8]
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
		uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
}

const (
	lowBits  = 0x0101010101010101
	highBits = lowBits << 7
)

// stopsText marks, by its high bit, the first of eight bytes that is a quote, a
// backslash or a control character; bytes behind that may be marked wrongly
// (S. E. Anderson, "Bit Twiddling Hacks", determine if a word has a byte less than n).
func stopsText(eight uint64) uint64 {
	quote, escape := eight^'"'*lowBits, eight^'\\'*lowBits
	return ((eight-' '*lowBits)&^eight | (quote-lowBits)&^quote | (escape-lowBits)&^escape) & highBits
}

// word moves behind true, false or null.
func (w *walker) word(want string) {
	if !strings.HasPrefix(w.s[w.i:], want) {
		w.broken = true
		return
	}
	w.i += len(want)
}

// digits moves behind at least one digit.
func (w *walker) digits() {
	start := w.i
	for w.s[w.i]-'0' <= 9 {
		w.i++
	}
	w.broken = w.broken || w.i == start
}

// skipNumber moves behind a number.
func (w *walker) skipNumber() {
	if w.s[w.i] == '-' {
		w.i++
	}
	if w.s[w.i] == '0' { // no other digit may follow
		w.i++
	} else {
		w.digits()
	}
	if w.s[w.i] == '.' {
		w.i++
		w.digits()
	}
	if c := w.s[w.i]; c == 'e' || c == 'E' {
		w.i++
		if c := w.s[w.i]; c == '+' || c == '-' {
			w.i++
		}
		w.digits()
	}
}

// number reads a number: finite, and never -0.
func (w *walker) number() (float64, *DecodeError) {
	start := w.i
	w.skipNumber()
	if w.broken {
		return 0, nil
	}
	text := w.s[start:w.i]
	if len(text) <= 15 { // a double holds each such integer
		if n := digits(text); n >= 0 {
			return float64(n), nil
		}
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return 0, &DecodeError{Reason: "number is out of the range of a double", Mend: "send it as a string"}
	}
	if f == 0 {
		return 0, nil
	}
	return f, nil
}

// skip moves behind a value, of which it checks only what it needs to find the
// end.
func (w *walker) skip() {
	for depth := 0; !w.broken; {
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
		case 't':
			w.word("true")
		case 'f':
			w.word("false")
		case 'n':
			w.word("null")
		default:
			w.skipNumber()
		}
		if depth <= 0 {
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
		w.word("true")
		return true, nil
	case 'f':
		w.word("false")
		return false, nil
	case 'n':
		w.word("null")
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
	for more := w.first('}'); more; more = w.next('}') {
		name := w.name()
		v, err := w.value(depth)
		if err != nil {
			return nil, err.in(name)
		}
		n := len(m)
		m[name] = v
		w.broken = w.broken || len(m) == n // given twice
	}
	return m, nil
}

func (w *walker) array(depth int) ([]any, *DecodeError) {
	if depth > maxDepth {
		return nil, tooDeep()
	}
	a := []any{}
	for more := w.first(']'); more; more = w.next(']') {
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
