package sinks_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/dermai/millrace/notify"
	"github.com/dermai/millrace/schemas"
	"github.com/dermai/millrace/sinks"
	"github.com/dermai/millrace/sinks/sinkstest"
)

// pythonStack and goStack are of machines with users.
var pythonStack = strings.ReplaceAll(`Traceback (most recent call last):
  File "/usr/lib/python3.11/site-packages/sqlalchemy/engine/base.py", line 1900, in _execute_context
    self.dialect.do_execute(cursor, statement, {'name': 'Jane Doe'})
psycopg2.OperationalError: could not connect for Jane Doe
  File "/Jane/Doe", line 1, in Jane

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "HOME/app/main.py", line 88, in create_patient
    db.add(Patient(name="Jane Doe", ssn="123-45-6789"))
    ~~~~~~^^^^^^^^^^
  File "HOME/app/db.py", line 12, in add
    raise StorageError(patient)
  File "/usr/lib/python3.11/contextlib.py", line 81, in inner
    return func(*args, **kwds)
app.errors.StorageError: Jane Doe (123-45-6789) cannot be stored
`, "HOME", "/ho"+"me/deploy")

var goStack = strings.ReplaceAll(`goroutine 17 [running]:
runtime/debug.Stack()
	/usr/local/go/src/runtime/debug/stack.go:26 +0x5e
panic({0x6f7a40?, 0x123456789?})
	/usr/local/go/src/runtime/panic.go:785 +0x132
example.com/shop/orders.(*Store).Save(0xc0000b4000, {0xc0001, 0x9})
	HOME/src/shop/orders/store.go:41 +0x1d
example.com/shop/orders.handle[...](...)
	HOME/src/shop/orders/http.go:12
created by main.main in goroutine 1
	HOME/src/shop/main.go:20 +0x9d

goroutine 1 [select]:
main.main()
	HOME/src/shop/main.go:30 +0x9d
`, "HOME", "/Us"+"ers/jane")

func failure(kind, stack string) *schemas.Event {
	return &schemas.Event{
		Kind: schemas.KindLog, Service: "api", Level: "ERROR", Logger: "app.patients", Instance: "jane-laptop", ID: "e-1",
		Message: `patient "Jane Doe" 123-45-6789 cannot be stored`, TraceID: "4BF92F3577B34DA6A3CE929D0E0E4736", SpanID: "00f067aa0ba902b7",
		Error:      &schemas.Error{Type: kind, Message: "Jane Doe (123-45-6789) cannot be stored", Stack: stack},
		Attributes: map[string]any{"patient": "Jane Doe"}, User: "jane", Details: map[string]any{"ssn": "123-45-6789"},
	}
}

func at(seq uint64, e *schemas.Event) sinks.Delivered {
	return sinks.Delivered{Stream: "EVENTS_3", Seq: seq, Index: 2, Time: 1772366400e9, Event: e}
}

func sentryEventsAt(t testing.TB, url, more string, env sinks.Env) sinks.EventSink {
	t.Helper()
	if env.Getenv == nil {
		env.Getenv = func(string) string { return "" }
	}
	if env.Now == nil {
		env.Now = time.Now
	}
	s, err := sinks.BuiltinEvents()["sentry"]("errors", notify.NewOptions(fmt.Appendf(nil, "{dsn: %q%s}", dsnOf(t, url), more)), env)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// writing is a receiver that writes one event in place of a notification.
type writing struct {
	sinks.EventSink
	event sinks.Delivered
	key   string
}

func (w writing) Key() string { return w.key }

func (w writing) Send(ctx context.Context, _ schemas.Notification) (string, error) {
	return "", w.Write(ctx, []sinks.Delivered{w.event})
}

func TestSentryEventsConformance(t *testing.T) {
	d := at(7, failure("ValueError", pythonStack))
	sinkstest.HTTP(t, func(t *testing.T, url string, timeout time.Duration, now func() time.Time) notify.Receiver {
		// The first half of sha256("EVENTS_3/7/2/1772366400000000000").
		return writing{sentryEventsAt(t, url, fmt.Sprintf(", timeout: %v", timeout), sinks.Env{Now: now}), d, "dfb0fa3393235ffce8c08642db57ba8c"}
	})
}

func TestSentryEventsGolden(t *testing.T) {
	plain := failure("", "")
	plain.Error = nil
	for _, c := range []struct {
		name, options string
		event         *schemas.Event
	}{
		{"sentry_error_python.json", "", failure("app.errors.StorageError", pythonStack)},
		{"sentry_error_go.json", ", environment: production, release: shop@1.2.3", failure("*orders.SaveError", goStack)},
		{"sentry_error_none.json", "", failure("Jane Doe cannot", "Jane Doe\n  at Jane.doe (/Jane/Doe.js:1:2)")},
		{"sentry_error_log.json", "", plain},
		{"sentry_error_messages.json", ", messages: true", failure("app.errors.StorageError", "")},
	} {
		r := sinkstest.NewRecorder(t)
		s := sentryEventsAt(t, r.URL, c.options, sinks.Env{})
		if err := s.Write(t.Context(), []sinks.Delivered{at(7, c.event)}); err != nil {
			t.Fatal(err)
		}
		_, event := envelope(t, r.Requests()[0])
		var b bytes.Buffer
		if err := json.Indent(&b, event, "", " "); err != nil {
			t.Fatal(err)
		}
		b.WriteByte('\n')
		golden(t, c.name, b.Bytes())
		for _, word := range []string{"Jane", "jane", "6789", "e-1"} {
			if !strings.Contains(c.options, "messages") && bytes.Contains(event, []byte(word)) {
				t.Errorf("%s: %s leaves the house", c.name, word)
			}
		}
	}
}

// TestSentryEventsPick: errors are sent, in order, one event each; the rest is
// passed over.
func TestSentryEventsPick(t *testing.T) {
	r := sinkstest.NewRecorder(t)
	s := sentryEventsAt(t, r.URL, "", sinks.Env{})
	critical, info, warned := failure("E", ""), failure("E", ""), failure("E", "")
	critical.Error, critical.Level = nil, "CRITICAL"
	info.Error, info.Level = nil, "INFO"
	warned.Level = "WARNING"
	audit := &schemas.Event{Kind: schemas.KindAudit, Service: "api", Action: "read"}
	batch := []sinks.Delivered{at(1, info), at(2, critical), at(3, audit), at(4, warned), at(5, &schemas.Event{Kind: schemas.KindMetric})}
	for range 2 {
		if err := s.Write(t.Context(), batch); err != nil {
			t.Fatal(err)
		}
	}
	var ids []string
	for _, q := range r.Requests() {
		id, _ := envelope(t, q)
		ids = append(ids, id)
	}
	if len(ids) != 4 || ids[0] == ids[1] || ids[0] != ids[2] || ids[1] != ids[3] {
		t.Errorf("ids %q, want two, and the same again", ids)
	}
}

// TestSentryEventsFail: a batch that stops says where, if that is for good.
func TestSentryEventsFail(t *testing.T) {
	n, status := 0, 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if n++; n == 2 {
			w.WriteHeader(status)
		}
	}))
	t.Cleanup(server.Close)
	s := sentryEventsAt(t, server.URL, "", sinks.Env{})
	batch := []sinks.Delivered{at(1, &schemas.Event{}), at(2, failure("E", "")), at(3, failure("E", "")), at(4, failure("E", ""))}
	for _, c := range []struct{ status, failed int }{{413, 2}, {503, -1}} {
		n, status = 0, c.status
		err := s.Write(t.Context(), batch)
		var f interface {
			Failed() int
			Permanent() bool
		}
		failed := -1
		if errors.As(err, &f) && f.Permanent() {
			failed = f.Failed()
		}
		if err == nil || failed != c.failed || n != 2 {
			t.Errorf("%d: %v, failed at %d after %d requests", c.status, err, failed, n)
		}
	}
}

// TestSentryEventsGroup: one kind of error is one issue.
func TestSentryEventsGroup(t *testing.T) {
	edit := func(change func(*schemas.Event)) *schemas.Event {
		e := failure("app.errors.StorageError", pythonStack)
		change(e)
		return e
	}
	bare := func(message string) *schemas.Event {
		return edit(func(e *schemas.Event) { e.Error, e.Message = nil, message })
	}
	for _, c := range []struct {
		name, options string
		a, b          *schemas.Event
		same          bool
	}{
		{"another line and patient", "", failure("app.errors.StorageError", pythonStack),
			edit(func(e *schemas.Event) {
				e.Error.Message = "John"
				e.Error.Stack = strings.ReplaceAll(strings.ReplaceAll(pythonStack, "line 12,", "line 14,"), "Jane", "John")
			}), true},
		{"another type", "", failure("app.errors.StorageError", pythonStack), failure("KeyError", pythonStack), false},
		{"another function", "", failure("E", pythonStack), failure("E", strings.ReplaceAll(pythonStack, "in add", "in put")), false},
		{"another service", "", failure("E", pythonStack), edit(func(e *schemas.Event) { e.Service = "web" }), false},
		{"numbers and quotes", ", messages: true", bare(`order 17 of "Jane" timed out after 3.5s`), bare(`order 9 of "John Doe" timed out after 12s`), true},
		{"another message", ", messages: true", bare("order 17 timed out"), bare("order 17 is lost"), false},
		{"another message that is not told", "", bare("order 17 timed out"), bare("order 17 is lost"), true},
	} {
		r := sinkstest.NewRecorder(t)
		s := sentryEventsAt(t, r.URL, c.options, sinks.Env{})
		if err := s.Write(t.Context(), []sinks.Delivered{at(1, c.a), at(2, c.b)}); err != nil {
			t.Fatal(err)
		}
		var prints [2]struct{ Fingerprint []string }
		for i, q := range r.Requests() {
			_, event := envelope(t, q)
			if err := json.Unmarshal(event, &prints[i]); err != nil {
				t.Fatal(err)
			}
		}
		if same := fmt.Sprint(prints[0]) == fmt.Sprint(prints[1]); same != c.same {
			t.Errorf("%s: %q and %q", c.name, prints[0], prints[1])
		}
	}
}

// FuzzStack: whatever stands where a stack should, an event is made of it that
// holds no line of it that is none of code.
func FuzzStack(f *testing.F) {
	for _, s := range []string{pythonStack, goStack, "", "Traceback (most recent call last):", "goroutine 1 [running]:\nmain.f(\n\t/x:1", "\xff\x00\n\u202e"} {
		f.Add("ValueError", s)
	}
	var last sinkstest.Recorded
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, q *http.Request) {
		last.Body, _ = io.ReadAll(q.Body)
	}))
	f.Cleanup(server.Close)
	s := sentryEventsAt(f, server.URL, "", sinks.Env{})
	f.Fuzz(func(t *testing.T, kind, stack string) {
		if err := s.Write(t.Context(), []sinks.Delivered{at(7, failure(kind, stack+"\nJane Doe 123-45-6789"))}); err != nil {
			t.Fatal(err)
		}
		_, event := envelope(t, last)
		sinkstest.Visible(t, event)
		if !json.Valid(event) || len(event) > 1<<20 {
			t.Errorf("%d bytes: %.200q", len(event), event)
		}
		if bytes.Contains(event, []byte("123-45-6789")) {
			t.Errorf("a line of no code leaves the house: %.300q", event)
		}
	})
}
