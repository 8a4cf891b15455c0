package rules_test

import (
	"math"
	"strings"
	"testing"

	"github.com/dermai/millrace/rules"
	"github.com/dermai/millrace/schemas"
)

// event has one value of each sort that expressions meet.
func event() *schemas.Event {
	yes := true
	return &schemas.Event{
		Kind: schemas.KindLog, Service: "api", ID: "e1", Instance: "i1", TraceID: "t1", SpanID: "s1",
		Level: "ERROR", Logger: "app", Message: "API request",
		Error: &schemas.Error{Type: "ValueError", Message: "bad", Stack: "x"},
		Value: 7, Success: &yes,
		Attributes: map[string]any{
			"status_code": 503.0, "duration_ms": 12.5, "method": "GET", "path": "/a/7", "healthy": false,
			"n": 3.0, "s": "text", "yes": true, "null": nil, "list": []any{"a", 2.0, true, nil},
			"http": map[string]any{"host": "h", "port": 80.0}, "odd name": 1.0, "digits": "42",
			"size": "large", // well known as a number, and here it is not
		},
		Details: map[string]any{"field": "diagnosis"},
	}
}

// TestConditions: what holds, what does not, and what is neither because
// something is missing or of another type.
func TestConditions(t *testing.T) {
	const holds, fails, neither = "holds", "fails", "neither"
	tests := []struct{ where, want string }{
		{`true`, holds}, {`false`, fails},
		{`kind == "log"`, holds}, {`service != "api"`, fails},
		{`message == "API request" and level == "ERROR"`, holds},
		{`error.type == "ValueError" && error.stack == "x"`, holds},
		{`trace_id + span_id == "t1s1"`, holds},
		{`value > 0`, neither}, // a log has no value
		{`success`, holds}, {`not success`, fails},
		{`details.field == "diagnosis"`, holds},

		{`attributes.status_code >= 500`, holds}, {`attributes.status_code == 503`, holds},
		{`500 <= attributes.status_code`, holds}, {`attributes.status_code < 500`, fails},
		{`attributes.status_code in [500, 503]`, holds}, {`attributes.status_code not in [500, 503]`, fails},
		{`attributes["status_code"] > 1e2`, holds}, {`attributes?.status_code > 1`, holds},
		{`attributes.duration_ms * 2 - 1 == 24`, holds}, {`attributes.duration_ms / 0 > 1`, neither},
		{`-attributes.n == -3`, holds}, {`attributes.n + 1 > 3.5`, holds},
		{`attributes["odd name"] == 1`, holds},
		{`attributes.http.port == 80`, holds}, {`attributes.http["host"] == "h"`, holds},
		{`attributes.http.nothing == 80`, neither}, {`attributes.s.deeper == 80`, neither},
		{`attributes.healthy`, fails}, {`!attributes.healthy`, holds}, {`attributes.yes`, holds},

		// Missing is neither equal nor unequal, and "not" does not make it true.
		{`attributes.gone == 1`, neither}, {`attributes.gone != 1`, neither}, {`attributes.gone > 1`, neither},
		{`not (attributes.gone == 1)`, neither}, {`attributes.gone`, neither},
		{`attributes.gone == 1 or kind == "log"`, holds}, {`kind == "log" or attributes.gone == 1`, holds},
		{`attributes.gone == 1 or kind == "audit"`, neither}, {`kind == "audit" and attributes.gone == 1`, fails},
		{`attributes.gone == 1 and kind == "audit"`, fails}, {`attributes.gone == 1 and kind == "log"`, neither},
		{`attributes.gone == attributes.gone`, neither},
		{`attributes.gone in [1, 2]`, neither}, {`attributes.gone not in [1]`, neither},
		{`(attributes.gone ?? 5) == 5`, holds}, {`(attributes.null ?? 5) == 5`, holds}, {`(attributes.n ?? 5) == 3`, holds},
		{`attributes.gone == nil`, holds}, {`attributes.gone != nil`, fails}, {`nil == attributes.null`, holds},
		{`attributes.n != nil`, holds}, {`"n" in attributes`, holds}, {`"gone" in attributes`, fails},
		{`"field" in details`, holds}, {`attributes.gone ? true : true`, neither},
		{`kind == "log" ? attributes.n == 3 : attributes.gone == 1`, holds},

		// Another type is as good as missing.
		{`attributes.s > 1`, neither}, {`attributes.s == 1`, neither}, {`attributes.s != 1`, neither},
		{`attributes.size == 5`, neither}, {`attributes.size != nil`, fails},
		{`attributes.n contains "3"`, neither}, {`attributes.n and true`, neither}, {`not attributes.n`, neither},
		{`attributes.list == 1`, neither}, {`attributes.http == attributes.http`, neither},
		{`attributes.null == 1`, neither}, {`attributes.n + attributes.s == "3text"`, neither},
		{`"x" in attributes.s`, neither}, {`1 in attributes.http`, neither}, {`attributes.n ? true : false`, neither},

		{`"a" in attributes.list`, holds}, {`2 in attributes.list`, holds}, {`"2" in attributes.list`, fails},
		{`true in attributes.list`, holds}, {`"host" in attributes.http`, holds},
		{`message contains "request"`, holds}, {`message startsWith "API"`, holds}, {`message endsWith "API"`, fails},
		{`message matches "^API [a-z]+$"`, holds}, {`attributes.gone matches "a"`, neither},
		{`"a" < "b" and service < "b"`, holds},

		{`lower(message) == "api request" and upper(service) == "API"`, holds},
		{`trim("  x ") == "x" and trimPrefix(service, "a") == "pi" and trimSuffix(service, "i") == "ap"`, holds},
		{`len(service) == 3 and len(attributes.list) == 4 and len(attributes.http) == 2`, holds},
		{`abs(-2) == 2 and ceil(1.2) == 2 and floor(1.8) == 1 and round(1.5) == 2`, holds},
		{`max(1, attributes.n, 2) == 3 and min(attributes.n, 1) == 1`, holds}, {`max(attributes.n, attributes.s) == 3`, neither},
		{`float(attributes.digits) == 42 and float(attributes.n) == 3`, holds}, {`float(attributes.s) == 1`, neither},
		{`string(attributes.n) == "3" and string(attributes.yes) == "true" and string(service) == "api"`, holds},
		{`len(attributes.n) == 1`, neither}, {`abs(attributes.s) == 1`, neither}, {`string(attributes.list) == ""`, neither},
		{`service | upper() == "API"`, holds}, {`1 < attributes.n < 5`, holds},
	}
	env := rules.NewEnv()
	for _, tt := range tests {
		r := one(t, "alert: A", "on: log", "where: '"+strings.ReplaceAll(tt.where, "'", "''")+"'", "count:", "window: 5m", `fire: "> 1"`)
		env.Set(event())
		_, ok, mismatch := r.Sample(env)
		got := fails
		switch {
		case ok && !mismatch:
			got = holds
		case mismatch && !ok:
			got = neither
		case ok && mismatch:
			got = "both"
		}
		if got != tt.want {
			t.Errorf("%s: %s, want %s", tt.where, got, tt.want)
		}
	}
}

// TestSample: what an event adds, by aggregate.
func TestSample(t *testing.T) {
	tests := []struct {
		aggregate string
		event     func(*schemas.Event)
		want      rules.Sample
		ok        bool
		mismatch  bool
	}{
		{aggregate: "count:", want: rules.Sample{Value: 1}, ok: true},
		{aggregate: "rate: true", want: rules.Sample{Value: 1}, ok: true},
		{aggregate: "ratio: attributes.status_code >= 500", want: rules.Sample{Hit: true}, ok: true},
		{aggregate: "ratio: attributes.status_code < 500", want: rules.Sample{}, ok: true},
		{aggregate: "ratio: attributes.gone < 500", want: rules.Sample{}, ok: true, mismatch: true},
		{aggregate: "sum: attributes.duration_ms", want: rules.Sample{Value: 12.5}, ok: true},
		{aggregate: "avg: 'kind == \"metric\" ? value : attributes.n'", want: rules.Sample{Value: 3}, ok: true},
		{aggregate: "avg: 'kind == \"metric\" ? value : attributes.n'", event: func(e *schemas.Event) { e.Kind = schemas.KindMetric }, want: rules.Sample{Value: 7}, ok: true},
		{aggregate: "min: value ?? attributes.n", want: rules.Sample{Value: 3}, ok: true},
		{aggregate: "max: attributes.gone", mismatch: true},
		{aggregate: "max: attributes.s", mismatch: true},
		{aggregate: "max: attributes.yes", mismatch: true},
		{aggregate: "p95: attributes.n * 1e308", mismatch: true},
		{aggregate: "p95: attributes.n", event: func(e *schemas.Event) { e.Attributes["n"] = math.Ldexp(1, 63) }, mismatch: true},
		{aggregate: "p95: attributes.n", event: func(e *schemas.Event) { e.Attributes["n"] = -math.Ldexp(1, 63) }, mismatch: true},
		{aggregate: "p95: attributes.n", event: func(e *schemas.Event) { e.Attributes["n"] = math.Nextafter(math.Ldexp(1, 63), 0) }, want: rules.Sample{Value: math.Nextafter(math.Ldexp(1, 63), 0)}, ok: true},
		{aggregate: "last: attributes.n > 2", want: rules.Sample{Value: 1}, ok: true},
		{aggregate: "last: attributes.yes", want: rules.Sample{Value: 1}, ok: true},
		{aggregate: "last: attributes.n", want: rules.Sample{Value: 3}, ok: true},
		{aggregate: "last: attributes.gone > 2", mismatch: true},
		{aggregate: "count:", event: func(e *schemas.Event) { e.Kind = schemas.KindAudit }},
		{aggregate: "count:", event: func(e *schemas.Event) { e.Service = "other" }},
	}
	env := rules.NewEnv()
	for _, tt := range tests {
		r := one(t, "alert: A", "on: [log, metric]", `where: service == "api"`, tt.aggregate, "window: 5m", `fire: "> 0.5"`)
		e := event()
		if tt.event != nil {
			tt.event(e)
		}
		env.Set(e)
		got, ok, mismatch := r.Sample(env)
		if got != tt.want || ok != tt.ok || mismatch != tt.mismatch {
			t.Errorf("%s: %+v ok %v mismatch %v, want %+v ok %v mismatch %v", tt.aggregate, got, ok, mismatch, tt.want, tt.ok, tt.mismatch)
		}
	}
}

// TestGroup: a group is made of the values that by names, in its order, without
// what people put into paths.
func TestGroup(t *testing.T) {
	tests := []struct{ by, want string }{
		{"service", "service=api"},
		{"[instance, service]", "instance=i1,service=api"},
		{"[attributes.n, attributes.yes, attributes.gone]", "n=3,yes=true,gone="},
		{"attributes.list", "list="},
		{"attributes.http.host", "host=h"},
		{`['attributes["odd name"]']`, "odd_name=1"},
		{"error.type", "error_type=ValueError"},
		{"attributes.path", "path=/a/:id"},
		{"attributes.size", "size="},
	}
	env := rules.NewEnv()
	env.Set(event())
	for _, tt := range tests {
		r := one(t, "alert: A", "on: log", "by: "+tt.by, "count:", "window: 5m", `fire: "> 1"`)
		s, ok, _ := r.Sample(env)
		if !ok || s.Group != tt.want {
			t.Errorf("by %s: %q, %v, want %q", tt.by, s.Group, ok, tt.want)
		}
	}
}
