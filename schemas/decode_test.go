package schemas_test

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dermai/millrace/schemas"
)

// at is a time of the day that the tests play on, in Unix ns.
func at(clock string) int64 {
	t, err := time.Parse(time.RFC3339Nano, "2025-11-27T"+clock+"Z")
	if err != nil {
		panic(err)
	}
	return t.UnixNano()
}

func yes() *bool { ok := true; return &ok }

// good are lines that Decode accepts as they are.
var good = []struct {
	name string
	line string
	want schemas.Event
}{
	{"log", `{"timestamp":"2025-11-27T10:30:45.123Z","kind":"log","service":"api","id":"e1","instance":"web-1","trace_id":"t","span_id":"s","level":"ERROR","logger":"app.db","message":"query","error":{"type":"E","message":"m","stack":"s"},"attributes":{"n":1}}`,
		schemas.Event{Time: at("10:30:45.123"), Kind: schemas.KindLog, Service: "api", ID: "e1", Instance: "web-1", TraceID: "t", SpanID: "s", Level: "ERROR", Logger: "app.db", Message: "query", Error: &schemas.Error{Type: "E", Message: "m", Stack: "s"}, Attributes: map[string]any{"n": 1.0}}},
	{"metric", `{"kind":"metric","service":"api","name":"system.cpu","type":"gauge","value":12.5,"unit":"percent"}`,
		schemas.Event{Kind: schemas.KindMetric, Service: "api", Name: "system.cpu", Type: "gauge", Value: 12.5, Unit: "percent"}},
	{"audit", `{"kind":"audit","service":"api","user":"doc_123","action":"UPDATE","resource":"patient_456","details":{"field":"diagnosis"},"success":true}`,
		schemas.Event{Kind: schemas.KindAudit, Service: "api", User: "doc_123", Action: "UPDATE", Resource: "patient_456", Details: map[string]any{"field": "diagnosis"}, Success: yes()}},
	{"audit by its fields", `{"service":"api","timestamp":"2025-11-27T10:30:45.123Z","user":"u","action":"A","resource":"r","message":"m","success":null}`,
		schemas.Event{Time: at("10:30:45.123"), Kind: schemas.KindAudit, Service: "api", User: "u", Action: "A", Resource: "r", Attributes: map[string]any{"message": "m"}}},
	{"metric by its fields", `{"service":"api","value":-0.0,"name":"n"}`,
		schemas.Event{Kind: schemas.KindMetric, Service: "api", Name: "n"}},
	{"log that has a name and a value", `{"service":"api","name":"app","value":1,"message":"m"}`,
		schemas.Event{Kind: schemas.KindLog, Service: "api", Message: "m", Attributes: map[string]any{"name": "app", "value": 1.0}}},
	{"log with fields of an audit event", `{"service":"api","kind":"log","user":"u","action":"A","resource":"r"}`,
		schemas.Event{Kind: schemas.KindLog, Service: "api", Attributes: map[string]any{"user": "u", "action": "A", "resource": "r"}}},
	{"audit but for a null", `{"service":"api","user":"u","action":"A","resource":null}`,
		schemas.Event{Kind: schemas.KindLog, Service: "api", Attributes: map[string]any{"user": "u", "action": "A", "resource": nil}}},
	{"metric with an error", `{"service":"api","kind":"metric","name":"n","value":1,"error":"x","level":7}`,
		schemas.Event{Kind: schemas.KindMetric, Service: "api", Name: "n", Value: 1, Attributes: map[string]any{"error": "x", "level": 7.0}}},
	{"nothing but a service", `{"service":"api"}`, schemas.Event{Kind: schemas.KindLog, Service: "api"}},
	{"nulls and empty strings", `{"service":"api","kind":null,"timestamp":null,"id":null,"level":null,"logger":"","message":null,"error":null,"attributes":null}`,
		schemas.Event{Kind: schemas.KindLog, Service: "api"}},
	{"empty kind, level and timestamp", `{"service":"api","kind":"","timestamp":"","level":"","attributes":{}}`,
		schemas.Event{Kind: schemas.KindLog, Service: "api"}},
	{"error as a string", `{"service":"api","error":"boom"}`,
		schemas.Event{Kind: schemas.KindLog, Service: "api", Error: &schemas.Error{Message: "boom"}}},
	{"error with more", `{"service":"api","error":{"type":"E","code":7,"message":null}}`,
		schemas.Event{Kind: schemas.KindLog, Service: "api", Error: &schemas.Error{Type: "E"}, Attributes: map[string]any{"error": map[string]any{"code": 7.0}}}},
	{"error with more beside an attribute", `{"service":"api","error":{"code":7},"attributes":{"error":1}}`,
		schemas.Event{Kind: schemas.KindLog, Service: "api", Error: &schemas.Error{}, Attributes: map[string]any{"error": 1.0}}},
	{"explicit attribute before", `{"service":"api","attributes":{"a":1},"a":2,"b":3}`,
		schemas.Event{Kind: schemas.KindLog, Service: "api", Attributes: map[string]any{"a": 1.0, "b": 3.0}}},
	{"explicit attribute behind", `{"service":"api","a":2,"b":3,"attributes":{"a":1}}`,
		schemas.Event{Kind: schemas.KindLog, Service: "api", Attributes: map[string]any{"a": 1.0, "b": 3.0}}},
	{"attributes of every type", `{"service":"api","attributes":{"s":"x","n":-1.5e3,"t":true,"f":false,"z":null,"a":[1,[],{}],"o":{"p":{"q":"r"}},"":0}}`,
		schemas.Event{Kind: schemas.KindLog, Service: "api", Attributes: map[string]any{"s": "x", "n": -1500.0, "t": true, "f": false, "z": nil, "a": []any{1.0, []any{}, map[string]any{}}, "o": map[string]any{"p": map[string]any{"q": "r"}}, "": 0.0}}},
	{"well-known attributes of a wrong type", `{"service":"api","message":"API request","status_code":"500","duration_ms":[]}`,
		schemas.Event{Kind: schemas.KindLog, Service: "api", Message: "API request", Attributes: map[string]any{"status_code": "500", "duration_ms": []any{}}}},
	{"attributes that look like fields", `{"service":"api","attributes":{"level":1,"service":"x","attributes":{"a":1}}}`,
		schemas.Event{Kind: schemas.KindLog, Service: "api", Attributes: map[string]any{"level": 1.0, "service": "x", "attributes": map[string]any{"a": 1.0}}}},
	{"escapes", `{"\u0073ervice":"\u0061pi","message":"\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00}{","x":"}"}`,
		schemas.Event{Kind: schemas.KindLog, Service: "api", Message: "\"\\/\b\f\n\r\té😀}{", Attributes: map[string]any{"x": "}"}}},
	{"white space", " \t\r\n{ \"service\" : \"api\" ,\n\"a\" : [ 1 , { } , [ ] ] , \"b\" : { \"c\" : null } } \n",
		schemas.Event{Kind: schemas.KindLog, Service: "api", Attributes: map[string]any{"a": []any{1.0, map[string]any{}, []any{}}, "b": map[string]any{"c": nil}}}},
	{"warn", `{"service":"api","level":"Warn"}`, schemas.Event{Kind: schemas.KindLog, Service: "api", Level: "WARNING"}},
	{"warning", `{"service":"api","level":"warning"}`, schemas.Event{Kind: schemas.KindLog, Service: "api", Level: "WARNING"}},
	{"fatal", `{"service":"api","level":"fatal"}`, schemas.Event{Kind: schemas.KindLog, Service: "api", Level: "CRITICAL"}},
	{"debug", `{"service":"api","level":"debug"}`, schemas.Event{Kind: schemas.KindLog, Service: "api", Level: "DEBUG"}},
	{"python's asctime", `{"service":"api","timestamp":"2025-11-27 10:30:45,123"}`, schemas.Event{Time: at("10:30:45.123"), Kind: schemas.KindLog, Service: "api"}},
	{"zone", `{"service":"api","timestamp":"2025-11-27T12:30:45.123456789+02:00"}`, schemas.Event{Time: at("10:30:45.123456789"), Kind: schemas.KindLog, Service: "api"}},
	{"service of many scripts", `{"service":"přehled služeb"}`, schemas.Event{Kind: schemas.KindLog, Service: "přehled služeb"}},
	{"long texts", `{"service":"api","message":"` + strings.Repeat("m", 9000) + `","a":{"k":"v"}}`,
		schemas.Event{Kind: schemas.KindLog, Service: "api", Message: strings.Repeat("m", 9000), Attributes: map[string]any{"a": map[string]any{"k": "v"}}}},
}

// nest is n arrays in each other.
func nest(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }

func TestDecode(t *testing.T) {
	for _, c := range good {
		t.Run(c.name, func(t *testing.T) {
			line := []byte(c.line)
			e, err := schemas.Decode(line, schemas.Origin{})
			if err != nil {
				t.Fatal(err)
			}
			clear(line) // the event keeps nothing of it
			if diff := cmp.Diff(c.want, e); diff != "" {
				t.Errorf("event (-want +got):\n%s", diff)
			}
		})
	}
}

// TestDecodeDepth goes to the limit from every place where values may nest; a
// level more is refused in bad_test.go.
func TestDecodeDepth(t *testing.T) {
	const audit = `{"service":"api","kind":"audit","user":"u","action":"A","resource":"r",`
	for _, line := range []string{
		`{"service":"api","attributes":{"a":` + nest(30) + `}}`,
		`{"service":"api","a":` + nest(30) + `}`,
		`{"service":"api","error":{"a":` + nest(29) + `}}`,
		audit + `"details":{"a":` + nest(30) + `}}`,
		audit + `"attributes":{"a":` + strings.ReplaceAll(nest(29), "[]", "[{}]") + `}}`,
	} {
		e, err := schemas.Decode([]byte(line), schemas.Origin{})
		if err != nil {
			t.Errorf("%s: %v", line, err)
			continue
		}
		text, err := schemas.AppendJSON(nil, &e)
		if err != nil {
			t.Errorf("%s: %v", line, err)
		}
		again, err := schemas.Decode(text, schemas.Origin{})
		// Not go-cmp, which needs time exponential in the depth.
		if err != nil || !reflect.DeepEqual(e, again) {
			t.Errorf("%s: again %s, %v", line, text, err)
		}
	}
}

func TestDecodeOrigin(t *testing.T) {
	line := `{"kind":"log","service":"liar","timestamp":"2025-11-27T10:30:45","level":3,"user":"u","action":"A","resource":"r"}`
	subject := schemas.Origin{Kind: schemas.KindAudit, Service: "api"}
	fill := schemas.Origin{Kind: schemas.KindLog, Service: "api", Fill: true}
	stored := schemas.Origin{Arrival: at("12:00:00"), Stream: "EVENTS_0", Seq: 12, Index: 3}
	east := schemas.Origin{Zone: time.FixedZone("east", 3600)}
	for _, c := range []struct {
		name   string
		line   string
		origin schemas.Origin
		want   schemas.Event
	}{
		{"the subject wins", line, subject, schemas.Event{Time: at("10:30:45"), Kind: schemas.KindAudit, Service: "api", User: "u", Action: "A", Resource: "r", Attributes: map[string]any{"level": 3.0}}},
		{"the subject gives", `{}`, schemas.Origin{Kind: schemas.KindLog, Service: "api"}, schemas.Event{Kind: schemas.KindLog, Service: "api"}},
		{"fill in", `{"message":"m"}`, fill, schemas.Event{Kind: schemas.KindLog, Service: "api", Message: "m"}},
		{"fill in against its shape", `{"name":"n","value":1}`, fill, schemas.Event{Kind: schemas.KindLog, Service: "api", Attributes: map[string]any{"name": "n", "value": 1.0}}},
		{"nothing to fill in", `{"kind":"metric","service":"web","name":"n","value":1}`, fill, schemas.Event{Kind: schemas.KindMetric, Service: "web", Name: "n", Value: 1}},
		{"filled", `{"service":"api"}`, stored, schemas.Event{Time: at("12:00:00"), Kind: schemas.KindLog, Service: "api", ID: "EVENTS_0/12/3"}},
		{"given", `{"service":"api","id":"x","timestamp":"2025-11-27T10:30:45Z"}`, stored, schemas.Event{Time: at("10:30:45"), Kind: schemas.KindLog, Service: "api", ID: "x"}},
		{"not stored", `{"service":"api"}`, schemas.Origin{Arrival: 5, Stream: "EVENTS_0"}, schemas.Event{Kind: schemas.KindLog, Service: "api"}},
		{"zone", `{"service":"api","timestamp":"2025-11-27 10:30:45"}`, east, schemas.Event{Time: at("09:30:45"), Kind: schemas.KindLog, Service: "api"}},
		{"zone of its own", `{"service":"api","timestamp":"2025-11-27 10:30:45Z"}`, east, schemas.Event{Time: at("10:30:45"), Kind: schemas.KindLog, Service: "api"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			e, err := schemas.Decode([]byte(c.line), c.origin)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, e); diff != "" {
				t.Errorf("event (-want +got):\n%s", diff)
			}
		})
	}
}

// TestDecodeZero: -0 is +0, which comparing does not see.
func TestDecodeZero(t *testing.T) {
	for _, zero := range []string{"-0", "-0.0", "-0e5", "-1e-999"} {
		e, err := schemas.Decode([]byte(`{"service":"api","name":"n","value":`+zero+`,"a":`+zero+`}`), schemas.Origin{})
		if err != nil {
			t.Fatal(err)
		}
		if a := e.Attributes["a"].(float64); math.Signbit(e.Value) || math.Signbit(a) {
			t.Errorf("%s: %v and %v", zero, e.Value, a)
		}
	}
}

func TestDecodeConcurrently(t *testing.T) {
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 200 {
				service := fmt.Sprintf("s%d-%d", g, i)
				e, err := schemas.Decode([]byte(`{"service":"`+service+`","a":{"b":"`+service+`"}}`), schemas.Origin{})
				if err != nil || e.Service != service || e.Attributes["a"].(map[string]any)["b"] != service {
					t.Errorf("decode of %s: %+v, %v", service, e, err)
				}
			}
		})
	}
	wg.Wait()
}

func TestValidateJoinsFaults(t *testing.T) {
	e := schemas.Event{Kind: schemas.KindAudit, User: "u", Level: "ERROR", Name: "n"}
	want := `service: missing; give it a name
action: missing; an audit event needs user, action and resource
resource: missing; an audit event needs user, action and resource
kind: only a log event has level, logger, message and error; make them attributes
kind: only a metric has name, type, value and unit; make them attributes`
	err := e.Validate()
	if err == nil || err.Error() != want {
		t.Errorf("faults:\n%v\nwant:\n%s", err, want)
	}
	if fault := (*schemas.DecodeError)(nil); !errors.As(err, &fault) || fault.Field != "service" {
		t.Errorf("the faults are no DecodeErrors: %#v", fault)
	}
}

const line300 = `{"timestamp":"2025-11-27T10:30:45.123456Z","service":"api","id":"0f8fad5bd9cb469fa165","instance":"web-1","trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","level":"INFO","logger":"app.middleware","message":"API request","attributes":{"method":"GET","path":"/api/v1/appointments/42","status_code":200,"duration_ms":17.25,"client":"10.1.2.3"}}`

// TestDecodeAllocates guards the hot path: the line's copy, the map and its
// memory, and a box for each attribute.
func TestDecodeAllocates(t *testing.T) {
	line := []byte(line300)
	origin := schemas.Origin{Kind: schemas.KindLog, Service: "api", Seq: 1, Stream: "EVENTS_0"}
	n := testing.AllocsPerRun(100, func() {
		if _, err := schemas.Decode(line, origin); err != nil {
			t.Fatal(err)
		}
	})
	if n > 12 {
		t.Errorf("%v allocations an event, want 12 at most", n)
	}
}

func BenchmarkDecode(b *testing.B) {
	line := []byte(line300)
	origin := schemas.Origin{Kind: schemas.KindLog, Service: "api", Seq: 1, Stream: "EVENTS_0"}
	b.SetBytes(int64(len(line)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := schemas.Decode(line, origin); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSkim(b *testing.B) {
	line := []byte(line300)
	origin := schemas.Origin{Kind: schemas.KindLog, Service: "api", Seq: 1, Stream: "EVENTS_0"}
	b.SetBytes(int64(len(line)))
	b.ReportAllocs()
	for b.Loop() {
		var e schemas.Event
		if err := e.Skim(line, origin); err != nil {
			b.Fatal(err)
		}
	}
}
