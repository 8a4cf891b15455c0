package schemas

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// refusal says why a line is refused in which reading came to a fault. That it is
// not JSON at all, if only behind the fault, comes first.
func refusal(line []byte, fault *DecodeError) *DecodeError {
	if !jsontext.Value(line).IsValid() {
		return syntaxFault(line)
	}
	return fault
}

// syntaxFault says why a line is not JSON. It reads the line again, since the
// walker only says no, and it shows names of members but never a byte of a
// value.
func syntaxFault(line []byte) *DecodeError {
	if len(bytes.TrimSpace(line)) == 0 {
		return &DecodeError{Reason: "empty", Mend: "send one JSON object"}
	}
	dec := jsontext.NewDecoder(bytes.NewReader(line))
	err := dec.SkipValue()
	if err == nil {
		return &DecodeError{Reason: "more text after the object, at byte " + strconv.FormatInt(dec.InputOffset(), 10), Mend: "send one object a line"}
	}
	fault := &DecodeError{Reason: "not valid JSON"}
	said := "" // without names from the line
	if syntax := (*jsontext.SyntacticError)(nil); errors.As(err, &syntax) && syntax.Err != nil {
		said = syntax.Err.Error()
		fault.Field = fieldOf(syntax.JSONPointer)
		fault.Reason = "not valid JSON at byte " + strconv.FormatInt(syntax.ByteOffset, 10)
		fault.Mend = mend(line[min(int(syntax.ByteOffset), len(line)):])
	}
	switch {
	case errors.Is(err, jsontext.ErrDuplicateName):
		fault.Reason, fault.Mend = "given twice", "send each name once"
	case errors.Is(err, io.ErrUnexpectedEOF):
		fault.Reason, fault.Mend = "the text ends inside the object", "send the whole object on one line"
	case strings.Contains(said, "UTF-8"):
		fault.Reason, fault.Mend = "not valid UTF-8", "send UTF-8"
	case strings.Contains(said, "depth"):
		return tooDeep()
	}
	return fault
}

// mend guesses from the text at a fault what its writer meant.
func mend(rest []byte) string {
	for _, m := range []struct{ prefix, mend string }{
		{"NaN", "JSON has no NaN: send null or leave it out"},
		{"Infinity", "JSON has no Infinity: send null or leave it out"},
		{"-Infinity", "JSON has no Infinity: send null or leave it out"},
		{"None", "write null"},
		{"True", "write true"},
		{"False", "write false"},
		{"undefined", "write null"},
		{"'", "quote with \""},
		{"\xef\xbb\xbf", "send it without a byte order mark"},
		{"\n", "write a line break inside a string as \\n"},
		{"\t", "write a tab inside a string as \\t"},
	} {
		if bytes.HasPrefix(rest, []byte(m.prefix)) {
			return m.mend
		}
	}
	if next, ok := bytes.CutPrefix(rest, []byte(",")); ok && bytes.IndexAny(bytes.TrimSpace(next), "}]") == 0 {
		return "a comma too many?"
	}
	return ""
}

// fieldOf writes a JSON pointer as paths are written in rules.
func fieldOf(p jsontext.Pointer) string {
	var steps []string
	for step := range p.Tokens() {
		steps = append(steps, step)
	}
	fault := &DecodeError{}
	for _, step := range slices.Backward(steps) {
		if n, err := strconv.Atoi(step); err == nil && n >= 0 {
			fault = fault.item(n)
		} else {
			fault = fault.in(step)
		}
	}
	return fault.Field
}
