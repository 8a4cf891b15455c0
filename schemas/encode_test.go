package schemas_test

import (
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dermai/millrace/schemas"
)

func TestAppendJSON(t *testing.T) {
	no := false
	for _, c := range []struct {
		name string
		e    schemas.Event
		want string
	}{
		{"log", schemas.Event{Kind: schemas.KindLog, Service: "api", Time: at("10:30:45.120"), ID: "e1", Instance: "i", TraceID: "t", SpanID: "s", Level: "ERROR", Logger: "app", Message: "a\n\"b\"<&>é\u2028\x01", Error: &schemas.Error{Type: "E", Stack: "s"}, Attributes: map[string]any{"b": nil, "a": true, "c": []any{map[string]any{"y": 1.0, "x": ""}}}},
			`{"timestamp":"2025-11-27T10:30:45.12Z","kind":"log","service":"api","id":"e1","instance":"i","trace_id":"t","span_id":"s","level":"ERROR","logger":"app","message":"a\n\"b\"<&>é` + "\u2028" + `\u0001","error":{"type":"E","stack":"s"},"attributes":{"a":true,"b":null,"c":[{"x":"","y":1}]}}`},
		{"metric", schemas.Event{Kind: schemas.KindMetric, Service: "api", Name: "n", Type: "gauge", Unit: "s"},
			`{"kind":"metric","service":"api","name":"n","type":"gauge","value":0,"unit":"s"}`},
		{"audit", schemas.Event{Kind: schemas.KindAudit, Service: "api", User: "u", Action: "A", Resource: "r", Details: map[string]any{"a": 1.5}, Success: &no},
			`{"kind":"audit","service":"api","user":"u","action":"A","resource":"r","details":{"a":1.5},"success":false}`},
		{"Go's numbers", schemas.Event{Kind: schemas.KindLog, Service: "api", Attributes: map[string]any{"a": 500, "b": int64(-1), "c": uint8(7), "d": float32(0.5), "e": uint64(math.MaxUint64)}},
			`{"kind":"log","service":"api","attributes":{"a":500,"b":-1,"c":7,"d":0.5,"e":18446744073709552000}}`},
		{"numbers", schemas.Event{Kind: schemas.KindLog, Service: "api", Attributes: map[string]any{"n": []any{math.Copysign(0, -1), 1e21, 1e20, 1e-6, 1e-7, 5e-324, math.MaxFloat64, 0.1, -123456789.125}}},
			`{"kind":"log","service":"api","attributes":{"n":[0,1e+21,100000000000000000000,0.000001,1e-7,5e-324,1.7976931348623157e+308,0.1,-123456789.125]}}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := schemas.AppendJSON([]byte("x"), &c.e)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff("x"+c.want, string(got)); diff != "" {
				t.Errorf("text (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAppendJSONRefuses(t *testing.T) {
	log := func(e schemas.Event) schemas.Event {
		e.Kind, e.Service = schemas.KindLog, "api"
		return e
	}
	attribute := func(v any) schemas.Event { return log(schemas.Event{Attributes: map[string]any{"a": v}}) }
	cycle := map[string]any{}
	cycle["a"] = cycle
	for _, c := range []struct {
		name string
		e    schemas.Event
		want string
	}{
		{"zero", schemas.Event{}, "kind: missing or unknown; use log, metric or audit"},
		{"foreign field", log(schemas.Event{User: "u"}), "kind: only an audit event has user, action, resource, details and success; make them attributes"},
		{"level", log(schemas.Event{Level: "warn"}), "level: unknown; use DEBUG, INFO, WARNING, ERROR or CRITICAL"},
		{"time", log(schemas.Event{Time: math.MaxInt64}), "timestamp: out of range: years 1678 to 2261"},
		{"early time", log(schemas.Event{Time: math.MinInt64}), "timestamp: out of range: years 1678 to 2261"},
		{"NaN", schemas.Event{Kind: schemas.KindMetric, Service: "api", Name: "n", Value: math.NaN()}, "value: not a finite number; leave the sample out"},
		{"Inf in an attribute", attribute([]any{math.Inf(1)}), "attributes.a[0]: not a finite number; leave it out"},
		{"message", log(schemas.Event{Message: "\xff"}), "message: not valid UTF-8; send UTF-8"},
		{"text", attribute("\xff"), "attributes.a: not valid UTF-8; send UTF-8"},
		{"name", attribute(map[string]any{"\xff": 1}), `attributes.a."\xff": not valid UTF-8; send UTF-8`},
		{"duration", attribute(time.Second), "attributes.a: cannot send a time.Duration; use nil, bool, a number, string, []any or map[string]any"},
		{"strings", attribute([]string{"x"}), "attributes.a: cannot send a []string; use nil, bool, a number, string, []any or map[string]any"},
		{"cycle", attribute(cycle), "attributes." + strings.Repeat("a.", 30) + "a: nested deeper than 32 levels; send the inner part as a string"},
		{"size", log(schemas.Event{Message: strings.Repeat("\n", schemas.LineBytes/2)}), "event of 262187 bytes, at most 262144; shorten its texts, or send them elsewhere and refer to them"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := schemas.AppendJSON([]byte("x"), &c.e)
			if fault := (*schemas.DecodeError)(nil); !errors.As(err, &fault) || err.Error() != c.want {
				t.Errorf("says %v\nwant %s", err, c.want)
			}
			if string(got) != "x" {
				t.Errorf("left %d bytes behind", len(got))
			}
		})
	}
}

// FuzzDecode: whatever is accepted is valid, and its canonical text means the
// same and is its own canonical text.
func FuzzDecode(f *testing.F) {
	for _, c := range good {
		f.Add([]byte(c.line))
	}
	for _, c := range bad {
		if len(c.line) < 1000 {
			f.Add([]byte(c.line))
		}
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		e, err := schemas.Decode(line, schemas.Origin{})
		if err != nil {
			if fault := (*schemas.DecodeError)(nil); !errors.As(err, &fault) || fault.Reason == "" || len(err.Error()) > 500 {
				t.Fatalf("refused with %#v", err)
			}
			return
		}
		if err := e.Validate(); err != nil {
			t.Fatalf("decoded, but not valid: %v", err)
		}
		text, err := schemas.AppendJSON(nil, &e)
		if err != nil {
			// Escapes and numbers may take more room than in the line.
			if len(line) < schemas.LineBytes/24 || !strings.HasPrefix(err.Error(), "event of ") {
				t.Fatal(err)
			}
			return
		}
		again, err := schemas.Decode(text, schemas.Origin{})
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if !reflect.DeepEqual(e, again) {
			t.Fatalf("%s\ndecodes to %+v\nwant       %+v", text, again, e)
		}
		if twice, err := schemas.AppendJSON(nil, &again); err != nil || string(twice) != string(text) {
			t.Fatalf("canonical text %s, then %s (%v)", text, twice, err)
		}
	})
}

// FuzzAppendJSON goes the other way, from an event a program made.
func FuzzAppendJSON(f *testing.F) {
	f.Add(byte(0), "api", "a", "b", "c", int64(5), 1.5)
	f.Add(byte(1), "api", "n", "gauge", "c", int64(-1e18), math.Copysign(0, -1))
	f.Add(byte(2), "api", "u", "A", "r", int64(0), 1e300)
	f.Fuzz(func(t *testing.T, kind byte, service, a, b, c string, ns int64, x float64) {
		e := schemas.Event{Service: service, Time: ns, ID: c, Attributes: map[string]any{a: []any{b, x}, b: map[string]any{c: x}, "n": nil}}
		switch kind % 3 {
		case 0:
			e.Kind, e.Level, e.Message, e.Error = schemas.KindLog, "INFO", a, &schemas.Error{Type: b, Stack: c}
		case 1:
			e.Kind, e.Name, e.Value, e.Unit = schemas.KindMetric, a, x, c
		case 2:
			e.Kind, e.User, e.Action, e.Resource, e.Details = schemas.KindAudit, a, b, c, map[string]any{b: x}
		}
		text, err := schemas.AppendJSON(nil, &e)
		if err != nil {
			return
		}
		if strings.ContainsAny(string(text), "\n\r") {
			t.Fatalf("more than one line: %q", text)
		}
		again, err := schemas.Decode(text, schemas.Origin{})
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if diff := cmp.Diff(e, again); diff != "" {
			t.Fatalf("%s (-want +got):\n%s", text, diff)
		}
	})
}
