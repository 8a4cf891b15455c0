package sources_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/dermai/millrace/schemas"
	"github.com/dermai/millrace/sources"
	"github.com/google/go-cmp/cmp"
)

func TestNormalize(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name     string
		line     string
		defaults sources.Defaults
		want     string
	}{{
		name:     "the guide's audit record",
		line:     `{"timestamp": "2025-11-27T10:30:45.123Z", "user": "doc_123", "action": "UPDATE", "resource": "patient_456", "details": {"field": "diagnosis"}, "success": true}`,
		defaults: sources.Defaults{Service: "derm"},
		want:     `{"timestamp":"2025-11-27T10:30:45.123Z","kind":"audit","service":"derm","user":"doc_123","action":"UPDATE","resource":"patient_456","details":{"field":"diagnosis"},"success":true}`,
	}, {
		name:     "python-json-logger's own names",
		line:     `{"asctime": "2025-11-27 10:30:45,123", "levelname": "WARNING", "name": "app.db", "message": "Slow database query", "taskName": null, "query": "SELECT 1", "duration_ms": 1500.5}`,
		defaults: sources.Defaults{Service: "derm"},
		want:     `{"timestamp":"2025-11-27T10:30:45.123Z","kind":"log","service":"derm","level":"WARNING","logger":"app.db","message":"Slow database query","attributes":{"duration_ms":1500.5,"query":"SELECT 1"}}`,
	}, {
		name:     "a time without a zone, in summer and in Berlin",
		line:     `{"asctime": "2025-07-01 10:30:45,123", "levelname": "INFO", "message": "m"}`,
		defaults: sources.Defaults{Service: "derm", Zone: berlin},
		want:     `{"timestamp":"2025-07-01T08:30:45.123Z","kind":"log","service":"derm","level":"INFO","message":"m"}`,
	}, {
		name:     "a timestamp without a zone, in Berlin",
		line:     `{"timestamp": "2025-11-27T10:30:45", "level": "info", "logger": "app", "message": "m"}`,
		defaults: sources.Defaults{Service: "derm", Zone: berlin},
		want:     `{"timestamp":"2025-11-27T09:30:45Z","kind":"log","service":"derm","level":"INFO","logger":"app","message":"m"}`,
	}, {
		name:     "a traceback",
		line:     `{"asctime": "2025-11-27 10:30:45,123", "levelname": "ERROR", "name": "app", "message": "Failed", "exc_info": "Traceback (most recent call last):\n  File \"a.py\", line 1, in <module>\npsycopg2.OperationalError: server closed the connection"}`,
		defaults: sources.Defaults{Service: "derm"},
		want:     `{"timestamp":"2025-11-27T10:30:45.123Z","kind":"log","service":"derm","level":"ERROR","logger":"app","message":"Failed","error":{"type":"psycopg2.OperationalError","message":"server closed the connection","stack":"Traceback (most recent call last):\n  File \"a.py\", line 1, in <module>\npsycopg2.OperationalError: server closed the connection"}}`,
	}, {
		name:     "a traceback as a list, with an error of its own",
		line:     `{"levelname": "ERROR", "message": "Failed", "error": "no connection", "exc_info": ["Traceback (most recent call last):", "KeyError"]}`,
		defaults: sources.Defaults{Service: "derm"},
		want:     `{"kind":"log","service":"derm","level":"ERROR","message":"Failed","error":{"type":"KeyError","message":"no connection","stack":"Traceback (most recent call last):\nKeyError"}}`,
	}, {
		name:     "an exception whose message has several lines",
		line:     `{"levelname": "ERROR", "message": "Failed", "exc_info": "Traceback (most recent call last):\n  File \"a.py\", line 1, in f\npsycopg2.errors.CheckViolation: no code\nDETAIL:  Row\n\nThe above exception was the direct cause of the following exception:\n\nTraceback (most recent call last):\n  File \"b.py\", line 2, in g\n    h()\nsqlalchemy.exc.IntegrityError: (psycopg2.errors.CheckViolation) no code\nDETAIL:  Row\n\n[SQL: INSERT]"}`,
		defaults: sources.Defaults{Service: "derm"},
		want:     `{"kind":"log","service":"derm","level":"ERROR","message":"Failed","error":{"type":"sqlalchemy.exc.IntegrityError","message":"(psycopg2.errors.CheckViolation) no code\nDETAIL:  Row\n\n[SQL: INSERT]","stack":"Traceback (most recent call last):\n  File \"a.py\", line 1, in f\npsycopg2.errors.CheckViolation: no code\nDETAIL:  Row\n\nThe above exception was the direct cause of the following exception:\n\nTraceback (most recent call last):\n  File \"b.py\", line 2, in g\n    h()\nsqlalchemy.exc.IntegrityError: (psycopg2.errors.CheckViolation) no code\nDETAIL:  Row\n\n[SQL: INSERT]"}}`,
	}, {
		name:     "a traceback that was asked for where there is no exception",
		line:     `{"levelname": "ERROR", "message": "m", "exc_info": "NoneType: None"}`,
		defaults: sources.Defaults{Service: "derm"},
		want:     `{"kind":"log","service":"derm","level":"ERROR","message":"m"}`,
	}, {
		name:     "no traceback",
		line:     `{"levelname": "INFO", "message": "m", "exc_info": null, "stack_info": null}`,
		defaults: sources.Defaults{Service: "derm"},
		want:     `{"kind":"log","service":"derm","level":"INFO","message":"m"}`,
	}, {
		name:     "renamed fields, the rest of the record kept",
		line:     `{"timestamp": "2025-11-27T10:30:45+0100", "level": "CRITICAL", "name": "app", "message": "m", "process": 17, "threadName": "MainThread", "module": "main", "lineno": 12}`,
		defaults: sources.Defaults{Service: "derm"},
		want:     `{"timestamp":"2025-11-27T09:30:45Z","kind":"log","service":"derm","level":"CRITICAL","logger":"app","message":"m","attributes":{"lineno":12,"module":"main","process":17,"threadName":"MainThread"}}`,
	}, {
		name:     "created, as seconds, and a level as a number",
		line:     `{"created": 1764239445.123456, "levelno": 30, "message": "m"}`,
		defaults: sources.Defaults{Service: "derm"},
		want:     `{"timestamp":"2025-11-27T10:30:45.123456Z","kind":"log","service":"derm","level":"WARNING","message":"m"}`,
	}, {
		name:     "created and levelno renamed",
		line:     `{"timestamp": 1764239445.5, "level": 45, "message": "m"}`,
		defaults: sources.Defaults{Service: "derm"},
		want:     `{"timestamp":"2025-11-27T10:30:45.5Z","kind":"log","service":"derm","level":"ERROR","message":"m"}`,
	}, {
		name:     "levels that others know",
		line:     `{"timestamp": "2025-11-27 10:30:45", "level": "Level 25", "message": "m"}`,
		defaults: sources.Defaults{Service: "derm"},
		want:     `{"timestamp":"2025-11-27T10:30:45Z","kind":"log","service":"derm","level":"INFO","message":"m"}`,
	}, {
		name:     "what was given already stays",
		line:     `{"timestamp":"2025-11-27T10:30:45Z","level":"INFO","logger":"l","message":"m","asctime":"2020-01-01 00:00:00","levelname":"ERROR","name":"n"}`,
		defaults: sources.Defaults{Service: "derm"},
		want:     `{"timestamp":"2025-11-27T10:30:45Z","kind":"log","service":"derm","level":"INFO","logger":"l","message":"m","attributes":{"asctime":"2020-01-01 00:00:00","levelname":"ERROR","name":"n"}}`,
	}, {
		name:     "name is an attribute where nothing says it is a record",
		line:     `{"level":"INFO","message":"m","name":"n"}`,
		defaults: sources.Defaults{Service: "derm"},
		want:     `{"kind":"log","service":"derm","level":"INFO","message":"m","attributes":{"name":"n"}}`,
	}, {
		name:     "the event's own service, kind and instance",
		line:     `{"kind":"metric","service":"web","instance":"b","name":"system.cpu","value":3}`,
		defaults: sources.Defaults{Service: "derm", Kind: schemas.KindLog, Instance: "a"},
		want:     `{"kind":"metric","service":"web","instance":"b","name":"system.cpu","value":3}`,
	}, {
		name:     "service, kind and instance of the defaults",
		line:     `{"name":"system.cpu","value":3,"attributes":{"service":"inner","kind":"inner"}}`,
		defaults: sources.Defaults{Service: "derm", Kind: schemas.KindLog, Instance: "a"},
		want:     `{"kind":"log","service":"derm","instance":"a","attributes":{"kind":"inner","name":"system.cpu","service":"inner","value":3}}`,
	}, {
		name:     "secrets",
		line:     `{"levelname":"INFO","message":"login with password=hunter22","api_key":"0123456789abcdef","user_id":"7"}`,
		defaults: sources.Defaults{Service: "derm"},
		want:     `{"kind":"log","service":"derm","level":"INFO","message":"login with password=[redacted]","attributes":{"api_key":"[redacted]","user_id":"7"}}`,
	}, {
		name:     "secrets in a traceback",
		line:     `{"levelname":"ERROR","message":"m","exc_info":"Traceback:\nE: postgres://app:hunter22@db/x"}`,
		defaults: sources.Defaults{Service: "derm"},
		want:     `{"kind":"log","service":"derm","level":"ERROR","message":"m","error":{"type":"E","message":"postgres://app:[redacted]@db/x","stack":"Traceback:\nE: postgres://app:[redacted]@db/x"}}`,
	}} {
		t.Run(test.name, func(t *testing.T) {
			e, err := sources.Normalize([]byte(test.line), test.defaults)
			if err != nil {
				t.Fatal(err)
			}
			got, err := schemas.AppendJSON(nil, &e)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, string(got)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// badLines are lines that no door takes, and why.
var badLines = []struct{ name, line, field, reason string }{
	{"no JSON", `Traceback (most recent call last):`, "", "not valid JSON at byte 0"},
	{"cut off", `{"message":"a`, "message", "the text ends inside the object"},
	{"two objects", `{"message":"a"}{"message":"b"}`, "", "more text after the object, at byte 15"},
	{"array", `[[1]]`, "", "want a JSON object, got an array"},
	{"string", `"message"`, "", "want a JSON object, got a string"},
	{"number", `1`, "", "want a JSON object, got a number"},
	{"null", `null`, "", "want a JSON object, got null"},
	{"a name twice", `{"message":"a","message":"b"}`, "message", "given twice"},
	{"an attribute twice", `{"message":"a","attributes":{"x":1,"x":2}}`, "attributes.x", "given twice"},
	{"a name twice, once escaped", `{"service":"a","\u0073ervice":"b"}`, "service", "given twice"},
	{"invalid UTF-8", "{\"message\":\"\xff\"}", "message", "not valid UTF-8"},
	{"half a surrogate", `{"message":"\ud800"}`, "message", "not valid JSON at byte 12"},
	{"NaN", `{"message":"a","duration_ms":NaN}`, "duration_ms", "not valid JSON at byte 29"},
	{"Python's None", `{"message":"a","x":None}`, "x", "not valid JSON at byte 19"},
	{"single quotes", `{'message':'a'}`, "", "not valid JSON at byte 1"},
	{"a comma too many", `{"message":"a",}`, "", "not valid JSON at byte 14"},
	{"a control character", "{\"message\":\"a\x01\"}", "message", "not valid JSON at byte 13"},
	{"depth", `{"x":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + `}`, "x" + strings.Repeat("[0]", 30), "nested deeper than 32 levels"},
	{"depth beyond reason", `{"x":` + strings.Repeat("[", 20000) + strings.Repeat("]", 20000) + `}`, "", "nested deeper than 32 levels"},
	{"a number beyond doubles", `{"message":"a","x":1e999}`, "x", "number is out of the range of a double"},
	{"unknown kind", `{"kind":"trace","message":"a"}`, "kind", `unknown kind "trace"`},
	{"kind of a wrong type", `{"kind":7,"message":"a"}`, "kind", "want a string, got a number"},
	{"service of a wrong type", `{"service":{},"message":"a"}`, "service", "want a string, got an object"},
	{"a service too long", `{"service":"` + strings.Repeat("s", 64) + `"}`, "service", "takes 64 bytes in a subject, at most 63"},
	{"a service that is long as a subject", `{"service":"` + strings.Repeat(".", 22) + `"}`, "service", "takes 66 bytes in a subject, at most 63"},
	{"unknown level", `{"level":"LOUD","message":"a"}`, "level", `unknown level "LOUD"`},
	{"level of a wrong type", `{"level":[],"message":"a"}`, "level", "want a string, got an array"},
	{"unknown levelname", `{"levelname":"LOUD","message":"a"}`, "levelname", "unknown level"},
	{"levelname of a wrong type", `{"levelname":{},"message":"a"}`, "levelname", "unknown level"},
	{"no time", `{"timestamp":"yesterday","message":"a"}`, "timestamp", `"yesterday": not an RFC 3339 timestamp`},
	{"no such day", `{"timestamp":"2025-02-30T00:00:00Z","message":"a"}`, "timestamp", `"2025-02-30T00:00:00Z": no such date or time of day`},
	{"time of a wrong type", `{"timestamp":true,"message":"a"}`, "timestamp", "want a string, got a boolean"},
	{"seconds far away", `{"timestamp":1e30,"message":"a"}`, "timestamp", "want a string, got a number"},
	{"no asctime", `{"asctime":"soon","message":"a"}`, "asctime", "not a time"},
	{"asctime of a wrong type", `{"asctime":{},"message":"a"}`, "asctime", "not a time"},
	{"created before the epoch", `{"created":-1e300,"message":"a"}`, "created", "not a time"},
	{"message of a wrong type", `{"message":{"a":1}}`, "message", "want a string, got an object"},
	{"error of a wrong type", `{"error":5,"message":"a"}`, "error", "want a string, or an object with type, message and stack, got a number"},
	{"attributes of a wrong type", `{"attributes":"a"}`, "attributes", "want an object, got a string"},
	{"a metric without a value", `{"kind":"metric","name":"a"}`, "value", "missing"},
	{"a metric without a name", `{"kind":"metric","value":1}`, "name", "missing"},
	{"a metric whose value is text", `{"kind":"metric","name":"a","value":"1"}`, "value", "want a number, got a string"},
	{"unknown type of a metric", `{"kind":"metric","name":"a","value":1,"type":"timer"}`, "type", "unknown"},
	{"an audit event without a user", `{"kind":"audit","action":"READ","resource":"a"}`, "user", "missing"},
	{"an audit event whose success is text", `{"kind":"audit","user":"a","action":"b","resource":"c","success":"yes"}`, "success", "want true or false, got a string"},
	{"details of a wrong type", `{"kind":"audit","user":"a","action":"b","resource":"c","details":[]}`, "details", "want an object, got an array"},
}

func TestNormalizeRefuses(t *testing.T) {
	for _, bad := range badLines {
		t.Run(bad.name, func(t *testing.T) {
			_, err := sources.Normalize([]byte(bad.line), sources.Defaults{Service: "api"})
			var fault *schemas.DecodeError
			if !errors.As(err, &fault) {
				t.Fatalf("got %v", err)
			}
			if fault.Field != bad.field || fault.Reason != bad.reason {
				t.Errorf("got %q: %q, want %q: %q", fault.Field, fault.Reason, bad.field, bad.reason)
			}
		})
	}
	t.Run("no service", func(t *testing.T) {
		_, err := sources.Normalize([]byte(`{"message":"a"}`), sources.Defaults{})
		if err == nil || err.Error() != "service: missing; give it a name" {
			t.Errorf("got %v", err)
		}
	})
	t.Run("another service than the only one", func(t *testing.T) {
		d := sources.Defaults{Service: "api", Only: true}
		_, err := sources.Normalize([]byte(`{"message":"a","service":"web"}`), d)
		if err == nil || !strings.Contains(err.Error(), "not the one that the token is for") {
			t.Errorf("got %v", err)
		}
		if _, err := sources.Normalize([]byte(`{"message":"a","service":"api"}`), d); err != nil {
			t.Error(err)
		}
	})
}

func TestDefaultsValidate(t *testing.T) {
	d := sources.Defaults{Kind: "trace", Only: true}
	const want = "kind: \"trace\" is unknown; use log, metric or audit\nservice: missing, and no other is allowed"
	if err := d.Validate(); err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// FuzzNormalize checks that whatever is accepted is canonical: its text decodes
// to the same event, is one line, and is accepted again as it is.
func FuzzNormalize(f *testing.F) {
	for _, bad := range badLines {
		f.Add([]byte(bad.line))
	}
	f.Add([]byte(`{"asctime":"2025-11-27 10:30:45,123","levelname":"ERROR","name":"app","message":"m","exc_info":"Traceback:\nE: m","taskName":null}`))
	f.Add([]byte(`{"timestamp":1764239445.5,"level":45,"message":"password=a"}`))
	f.Add([]byte(`{"user":"u","action":"a","resource":"r","details":{"token":"0123456789abcdef"}}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		before := bytes.Clone(line)
		d := sources.Defaults{Service: "api"}
		e, err := sources.Normalize(line, d)
		if !bytes.Equal(line, before) {
			t.Fatal("the line was changed")
		}
		if err != nil {
			return
		}
		text, err := schemas.AppendJSON(nil, &e)
		if err != nil {
			return // it would be refused
		}
		if !json.Valid(text) || bytes.ContainsAny(text, "\n\r") {
			t.Fatalf("not one line of JSON: %q", text)
		}
		again, err := schemas.Decode(text, schemas.Origin{})
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if diff := cmp.Diff(e, again); diff != "" {
			t.Fatalf("%s: %s", text, diff)
		}
	})
}
