package schemas

import (
	"strconv"
	"strings"
)

// DecodeError says why an event is refused. It never holds the value of an
// attribute, so it may be logged and shown.
type DecodeError struct {
	Field  string // where, such as "attributes.items[3]"; "" is the line as a whole
	Reason string
	Mend   string // what to do about it; may be ""
}

func (e *DecodeError) Error() string {
	s := e.Reason
	if e.Field != "" {
		s = e.Field + ": " + s
	}
	if e.Mend != "" {
		s += "; " + e.Mend
	}
	return s
}

// maxField bounds the length of DecodeError.Field, since names are the sender's.
const maxField = 160

// in says that the fault is inside the member of that name.
func (e *DecodeError) in(name string) *DecodeError { return e.at(fieldName(name)) }

// item says that the fault is inside the item of an array.
func (e *DecodeError) item(i int) *DecodeError { return e.at("[" + strconv.Itoa(i) + "]") }

func (e *DecodeError) at(step string) *DecodeError {
	switch {
	case e.Field == "":
		e.Field = step
	case len(step)+len(e.Field) > maxField:
		e.Field = step + "..."
	case e.Field[0] == '[':
		e.Field = step + e.Field
	default:
		e.Field = step + "." + e.Field
	}
	return e
}

// fieldName is a member's name as it is shown: as it is if it is a plain word,
// otherwise quoted and cut.
func fieldName(name string) string {
	for i := range len(name) {
		if c := name[i]; !isWord(c) {
			return strconv.Quote(cut(name, 64))
		}
	}
	if name == "" {
		return `""`
	}
	return cut(name, 64)
}

func isWord(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-'
}

// cut shortens s to at most n bytes of whole runes.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "..."
}
