package schemas_test

import (
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/dermai/millrace/schemas"
)

// agrees holds Decode against jsontext: what is JSON to one is JSON to the
// other, and attributes have the values that package json gives them. Skim says
// what Decode says.
func agrees(t *testing.T, line []byte) (valid bool) {
	t.Helper()
	valid = jsontext.Value(line).IsValid()
	e, err := schemas.Decode(line, schemas.Origin{})
	skims(t, line, e, err)
	switch {
	case err == nil && !valid:
		t.Fatalf("%q is accepted, but not by jsontext", line)
	case err != nil && valid && strings.Contains(err.Error(), "more text after the object"):
		// Said of a line in which jsontext finds no fault.
		t.Fatalf("%q is valid to jsontext, but not JSON to Decode: %v", line, err)
	}
	if err != nil {
		return valid
	}
	var want struct {
		Attributes map[string]any `json:"attributes"`
	}
	if err := json.Unmarshal(line, &want); err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	for name, v := range want.Attributes {
		if got := e.Attributes[name]; !reflect.DeepEqual(unsigned(v), got) {
			t.Fatalf("%q: the attribute %q is %#v, want %#v", line, name, got, v)
		}
	}
	return valid
}

// skims holds Skim against what Decode gave for a line.
func skims(t *testing.T, line []byte, want schemas.Event, refused error) {
	t.Helper()
	var e schemas.Event
	err := e.Skim(line, schemas.Origin{})
	if refused != nil {
		if err == nil || err.Error() != refused.Error() {
			t.Fatalf("%q is refused with %q, by Skim with %v", line, refused, err)
		}
		return
	}
	want.Attributes, want.Details = nil, nil
	if err != nil || !reflect.DeepEqual(e, want) {
		t.Fatalf("%q skimmed is %+v, %v, want %+v", line, e, err, want)
	}
}

// unsigned makes -0 to +0, as Decode does.
func unsigned(v any) any {
	switch v := v.(type) {
	case float64:
		if v == 0 {
			return 0.0
		}
	case []any:
		for i := range v {
			v[i] = unsigned(v[i])
		}
	case map[string]any:
		for name := range v {
			v[name] = unsigned(v[name])
		}
	}
	return v
}

// pieces of JSON, and of what is nearly JSON.
var pieces = []string{
	`{`, `}`, `[`, `]`, `,`, `:`, `"`, `\`, `/`, ` `, "\t", "\r", "\n", "\v", "\f", "\x00", "\x1f", "\x7f", "\xc2\xa0", "\u2028",
	`0`, `-`, `+`, `.`, `e`, `E`, `1`, `00`, `-0`, `0.0`, `1.`, `.1`, `1e5`, `1E+5`, `1e-`, `1e`, `-1`, `1e999`, `-1e-999`, `12345678901234567890`, `0x1`, `1_0`, `NaN`, `Infinity`,
	`true`, `false`, `null`, `tru`, `nul`, `truex`, `True`, `t`, `f`, `n`, `//`, `/**/`,
	`""`, `"a"`, `"b"`, `"a":1`, `,"a":1`, `,"b":{"a":[]}`, `"\u0061":1`, `"attributes":{}`, `,"level":"INFO"`,
	`\"`, `\\`, `\/`, `\b`, `\f`, `\n`, `\r`, `\t`, `\v`, `\a`, `\'`, `\0`, `\x41`, `\u`, `\u0`, `\u006`, `\u0061`, `\u006G`, `\U0061`,
	`\ud83d`, `\ude00`, `\ud83d\ude00`, `\ude00\ud83d`, `\ud83d\u0061`, `\uD83D\uDE00`, `\ud83d\ud83d`, `\uffff`, `\u0000`, `\ufffd`,
	"é", "ř", "😀", "\xff", "\xc3", "\xa9", "\xc3(", "\xc0\xaf", "\xe2\x82", "\xed\xa0\x80", "\xf0\x9f\x98", "\xf4\x90\x80\x80", "\xef\xbf\xbd", "\xef\xbb\xbf",
	`{}`, `[]`, `[[]]`, `{"a":{}}`, `[1,2]`, `[1 2]`, `[,]`, `{"a"}`, `{"a":}`, `{,}`, `{"a":1,}`, `{"a":1,"a":2}`, `{"a":1,"\u0061":2}`, `{"":0,"":0}`,
	nest(29), nest(30), nest(31),
}

// TestDecodeAgrees goes through lines of events with a few changes, some of which
// are valid still.
func TestDecodeAgrees(t *testing.T) {
	var lines []string
	for _, c := range good {
		lines = append(lines, c.line)
	}
	for _, c := range bad {
		lines = append(lines, c.line)
	}
	for _, p := range pieces {
		lines = append(lines, p, `{"service":"api","attributes":{"x":`+p+`}}`, `{"service":"api","attributes":{"x":"`+p+`"}}`, `{"service":"api",`+p+`:1,"x":[`+p+`,`+p+`]}`)
	}
	var many strings.Builder
	values := []string{`0`, `1E+5`, `true`, `null`, `"a"`, `{}`, `[1,2]`}
	for i := range 26 { // more names than are looked through one by one
		many.WriteString(`,"n` + string(rune('A'+i)) + `":` + values[i%len(values)])
	}
	if !agrees(t, []byte(`{"service":"api"`+many.String()+`}`)) {
		t.Error("the line with many names is not valid: those with one of them twice try nothing")
	}
	lines = append(lines, `{"service":"api"`+many.String()+`}`, `{"service":"api"`+many.String()+`,"nA":1}`, `{"service":"api"`+many.String()+`,"nZ":1}`)
	lines = slices.DeleteFunc(lines, func(line string) bool { return len(line) > 1000 })
	r := rand.New(rand.NewPCG(1, 2))
	valid := 0
	for _, line := range lines {
		agrees(t, []byte(line))
		for range 100 {
			changed := []byte(line)
			for range 1 + r.IntN(3) {
				from := r.IntN(len(changed) + 1)
				to := min(from+r.IntN(3), len(changed))
				piece := pieces[r.IntN(len(pieces))]
				if r.IntN(4) == 0 {
					piece = ""
				}
				changed = slices.Replace(changed, from, to, []byte(piece)...)
			}
			if agrees(t, changed) {
				valid++
			}
		}
	}
	if valid < 5*len(lines) {
		t.Errorf("%d of %d lines were JSON: too few to tell anything", valid, 100*len(lines))
	}
}

func FuzzDecodeAgrees(f *testing.F) {
	for _, p := range pieces {
		f.Add([]byte(`{"service":"api","attributes":{"x":` + p + `,"y":"` + p + `"}}`))
	}
	f.Fuzz(func(t *testing.T, line []byte) { agrees(t, line) })
}
