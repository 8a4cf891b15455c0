package sources_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dermai/millrace/schemas"
	"github.com/dermai/millrace/sources"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// answer is what a door says.
type answer struct {
	Accepted int             `json:"accepted"`
	Error    string          `json:"error"`
	Stored   int             `json:"stored"`
	Events   []sources.Fault `json:"events"`

	status int
	header http.Header
}

// post sends a request through a handler. Headers are "Name: value".
func post(t *testing.T, door http.Handler, target, body string, headers ...string) answer {
	t.Helper()
	r := httptest.NewRequest("POST", target, strings.NewReader(body))
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Add(name, value)
	}
	return send(t, door, r)
}

func send(t *testing.T, door http.Handler, r *http.Request) answer {
	t.Helper()
	w := httptest.NewRecorder()
	door.ServeHTTP(w, r)
	a := answer{status: w.Code, header: w.Header()}
	if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil {
		t.Fatalf("%q: %v", w.Body, err)
	}
	if a.header.Get("Content-Type") != "application/json" || a.header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("header %v", a.header)
	}
	return a
}

func zip(text string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	io.WriteString(w, text)
	w.Close()
	return b.String()
}

const ndjson = "Content-Type: application/x-ndjson"

func TestDoorAccepts(t *testing.T) {
	for _, test := range []struct {
		name    string
		target  string
		body    string
		headers []string
		want    []string // <kind> <service> <message or name>
	}{
		{"an object", "/", `{"message":"0"}`, nil, []string{"log api 0"}},
		{"an object over several lines", "/", "\n{\n \"message\":\n \"0\"\n}\n", []string{"Content-Type: application/json; charset=UTF-8"}, []string{"log api 0"}},
		{"an array", "/", ` [{"message":"0"}, {"message":"1"}] `, nil, []string{"log api 0", "log api 1"}},
		{"NDJSON", "/", "\xef\xbb\xbf" + `{"message":"0"}` + "\r\n\n" + `{"message":"1"}`, []string{ndjson}, []string{"log api 0", "log api 1"}},
		{"NDJSON that does not say so", "/", events(0, 3), nil, []string{"log api 0", "log api 1", "log api 2"}},
		{"what curl -d makes of a file", "/", strings.ReplaceAll(events(0, 2), "\n", ""), []string{"Content-Type: application/x-www-form-urlencoded"}, []string{"log api 0", "log api 1"}},
		{"gzip", "/", zip(events(0, 2)), []string{"Content-Encoding: gzip", ndjson}, []string{"log api 0", "log api 1"}},
		{"gzip in two members", "/", zip(events(0, 2)) + zip(events(2, 3)), []string{"Content-Encoding: gzip"}, []string{"log api 0", "log api 1", "log api 2"}},
		{"a service in the query", "/?service=web", `{"message":"0"}`, nil, []string{"log web 0"}},
		{"a service in the header", "/", `{"message":"0"}`, []string{"X-Millrace-Service: web"}, []string{"log web 0"}},
		{"the event's own service", "/?service=web", `{"message":"0","service":"job"}`, nil, []string{"log job 0"}},
		{"a kind in the query", "/?kind=metric", `{"name":"m","value":1,"message":"0"}`, nil, []string{"metric api m"}},
		{"several kinds and services", "/", `[{"message":"0"},{"message":"1","service":"web"},{"user":"u","action":"a","resource":"r"},{"message":"2"}]`, nil,
			[]string{"log api 0", "log api 2", "log web 1", "audit api u"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := &store{}
			door := sources.NewDoor(s, sources.DoorConfig{Defaults: sources.Defaults{Service: "api"}})
			a := post(t, door, test.target, test.body, test.headers...)
			if a.status != http.StatusAccepted || a.Accepted != len(test.want) {
				t.Fatalf("%d %+v", a.status, a)
			}
			var got []string
			for _, f := range s.frames {
				if f.source != "http" {
					t.Errorf("source %q", f.source)
				}
				for _, l := range f.lines {
					e, err := schemas.Decode([]byte(l), schemas.Origin{})
					if err != nil {
						t.Fatal(err)
					}
					if e.Kind != f.kind || e.Service != f.service {
						t.Errorf("%s is in a frame of %s %s", l, f.kind, f.service)
					}
					got = append(got, fmt.Sprintf("%s %s %s%s%s", e.Kind, e.Service, e.Message, e.Name, e.User))
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestDoorKeepsIDsAndHidesSecrets(t *testing.T) {
	s := &store{}
	r := prometheus.NewRegistry()
	door := sources.NewDoor(s, sources.DoorConfig{Metrics: sources.NewMetrics(r)})
	for range 2 { // a repeated request is stored again
		if a := post(t, door, "/?service=api", `{"id":"e1","message":"m","password":"hunter22"}`); a.status != http.StatusAccepted {
			t.Fatalf("%+v", a)
		}
	}
	want := []string{`{"kind":"log","service":"api","id":"e1","message":"m","attributes":{"password":"[redacted]"}}`}
	if diff := cmp.Diff([][]string{want, want}, [][]string{s.frames[0].lines, s.frames[1].lines}); diff != "" {
		t.Error(diff)
	}
	const metrics = `
# HELP millrace_source_events_total Events that came in by a door and are stored.
# TYPE millrace_source_events_total counter
millrace_source_events_total{door="http",kind="log"} 2
# HELP millrace_source_redacted_total Values that were redacted from events before they were stored.
# TYPE millrace_source_redacted_total counter
millrace_source_redacted_total{door="http"} 2
`
	if err := testutil.GatherAndCompare(r, strings.NewReader(metrics), "millrace_source_events_total", "millrace_source_redacted_total"); err != nil {
		t.Error(err)
	}
}

func TestDoorSplitsLargeRequests(t *testing.T) {
	s := &store{}
	door := sources.NewDoor(s, sources.DoorConfig{Defaults: sources.Defaults{Service: "api"}})
	a := post(t, door, "/", zip(events(0, 20000)), "Content-Encoding: gzip")
	if a.status != http.StatusAccepted || a.Accepted != 20000 {
		t.Fatalf("%+v", a)
	}
	if diff := cmp.Diff(numbers(0, 20000), s.messages()); diff != "" {
		t.Error(diff)
	}
	for _, f := range s.frames {
		if n := len(strings.Join(f.lines, "\n")); n > schemas.FrameWire || len(f.lines) > schemas.FrameEvents {
			t.Errorf("frame of %d events in %d bytes", len(f.lines), n)
		}
	}
}

func TestDoorTokens(t *testing.T) {
	const api, any = "0123456789abcdef-api", "0123456789abcdef-any"
	path := filepath.Join(t.TempDir(), "tokens")
	write(t, path, "# who may send\napi  "+api+"\n\n* "+any+"\n")
	tokens, err := sources.LoadTokens(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, target, authorization, body string
		status                            int
	}{
		{"none", "/", "", `{"message":"m"}`, 401},
		{"a wrong one", "/", "Bearer 0123456789abcdef-xyz", `{"message":"m"}`, 401},
		{"the beginning of one", "/", "Bearer 0123456789abcdef", `{"message":"m"}`, 401},
		{"another scheme", "/", "Basic " + api, `{"message":"m"}`, 401},
		{"the service's", "/", "Bearer " + api, `{"message":"m"}`, 202},
		{"the service's, in another case", "/", "bearer " + api, `{"message":"m"}`, 202},
		{"the service's, and the event says so", "/", "Bearer " + api, `{"message":"m","service":"api"}`, 202},
		{"another service's event", "/", "Bearer " + api, `{"message":"m","service":"web"}`, 400},
		{"another service's event, escaped", "/", "Bearer " + api, `{"message":"m","\u0073ervice":"web"}`, 400},
		{"another service's request", "/?service=web", "Bearer " + api, `{"message":"m"}`, 403},
		{"any service's", "/?service=web", "Bearer " + any, `{"message":"m"}`, 202},
		{"any service's, without a service", "/", "Bearer " + any, `{"message":"m"}`, 400},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := &store{}
			door := sources.NewDoor(s, sources.DoorConfig{Tokens: tokens})
			a := post(t, door, test.target, test.body, "Authorization: "+test.authorization)
			if a.status != test.status || (s.calls > 0) != (test.status == 202) {
				t.Errorf("%d %+v", a.status, a)
			}
			if a.status == 401 && a.header.Get("WWW-Authenticate") == "" {
				t.Error("nothing says how to authenticate")
			}
		})
	}
}

func TestLoadTokensRefuses(t *testing.T) {
	const secret = "0123456789abcdef-secret"
	for _, test := range []struct{ name, text, want string }{
		{"no token", "# none\n", "holds none"},
		{"a token alone", "\n" + secret + "\n", ":2: want a service and a token, found 1 words"},
		{"a short one", "api short-secret\n", ":1: token of 12 bytes, want at least 16"},
		{"the same twice", "api " + secret + "\nweb " + secret + "\n", ":2: the same token stands further up"},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "tokens")
			write(t, path, test.text)
			_, err := sources.LoadTokens(path)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %s", err, test.want)
			}
			if err != nil && strings.Contains(err.Error(), "secret") {
				t.Errorf("the error holds a token: %v", err)
			}
		})
	}
	if _, err := sources.LoadTokens(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func TestDoorWhenTheBrokerRefuses(t *testing.T) {
	away := errors.New("no answer from nats://user:hunter22@broker")
	three := `[{"message":"0","service":"a"},{"message":"1","service":"b"},{"message":"2","service":"c"}]`
	for _, test := range []struct {
		name   string
		body   string
		config sources.DoorConfig
		answer func(n int) (bool, error)
		want   answer
		retry  string
	}{
		{"back-pressure", three, sources.DoorConfig{}, func(int) (bool, error) { return false, later{} },
			answer{status: 429, Error: "the broker takes no more at the moment"}, "10"},
		{"away", three, sources.DoorConfig{}, func(int) (bool, error) { return false, away },
			answer{status: 503, Error: "the broker did not confirm that it stored the events"}, "5"},
		{"away in the middle", three, sources.DoorConfig{}, func(n int) (bool, error) {
			if n == 1 {
				return true, nil
			}
			return false, away
		}, answer{status: 503, Error: "the broker did not confirm that it stored the events", Stored: 1}, "5"},
		{"full", three, sources.DoorConfig{Headroom: func(schemas.Kind) float64 { return 0.05 }}, nil,
			answer{status: 429, Error: "the stream is almost full"}, "30"},
		{"not full", three, sources.DoorConfig{Headroom: func(schemas.Kind) float64 { return 0.06 }}, nil,
			answer{status: 202, Accepted: 3}, ""},
		{"no memory", three, sources.DoorConfig{Memory: 100}, nil,
			answer{status: 429, Error: "too much is being received at once"}, "1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := &store{answer: test.answer}
			door := sources.NewDoor(s, test.config)
			a := post(t, door, "/", test.body)
			if retry := a.header.Get("Retry-After"); retry != test.retry {
				t.Errorf("Retry-After: %q, want %q", retry, test.retry)
			}
			a.header = nil
			if diff := cmp.Diff(test.want, a, cmp.AllowUnexported(answer{})); diff != "" {
				t.Error(diff)
			}
			// What was kept in memory is given back.
			s.answer = nil
			if a := post(t, sources.NewDoor(s, sources.DoorConfig{Memory: 100}), "/", `{"message":"m","service":"a"}`); a.status != 202 {
				t.Errorf("afterwards: %+v", a)
			}
		})
	}
}

func TestDoorGivesMemoryBack(t *testing.T) {
	s := &store{}
	door := sources.NewDoor(s, sources.DoorConfig{Memory: 200, Defaults: sources.Defaults{Service: "api"}})
	for i := range 20 {
		if a := post(t, door, "/", events(0, 100)); a.status != 429 {
			t.Fatalf("%d: %+v", i, a)
		}
		if a := post(t, door, "/", event("m")); a.status != 202 {
			t.Fatalf("%d: %+v", i, a)
		}
	}
}

// TestDoorRetriesWhatItBegan: once a part of a request is stored, the rest is
// worth waiting for.
func TestDoorRetriesWhatItBegan(t *testing.T) {
	s := &store{answer: func(n int) (bool, error) {
		if n == 2 || n == 3 {
			return false, soon{}
		}
		return true, nil
	}}
	door := sources.NewDoor(s, sources.DoorConfig{})
	a := post(t, door, "/", `[{"message":"0","service":"a"},{"message":"1","service":"b"}]`)
	if a.status != 202 || !slices.Equal(s.messages(), numbers(0, 2)) {
		t.Errorf("%+v, stored %q", a, s.messages())
	}
}

type soon struct{}

func (soon) Error() string             { return "busy" }
func (soon) RetryAfter() time.Duration { return 0 }

// TestDoorSlowBody talks to a real server, byte by byte.
func TestDoorSlowBody(t *testing.T) {
	s := &store{}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	door := sources.NewDoor(s, sources.DoorConfig{BodyTimeout: 50 * time.Millisecond, Defaults: sources.Defaults{Service: "api"}})
	server := sources.NewServer("", door)
	done := make(chan error)
	go func() { done <- server.Serve(listener) }()
	conn, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n{\"message\":")
	said, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.HasPrefix(said, []byte("HTTP/1.1 408 ")) || s.calls != 0 {
		t.Errorf("got %s", said)
	}
	// And a client that goes away in the middle.
	conn, err = net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n%s", event("m"))
	conn.(*net.TCPConn).CloseWrite()
	said, err = io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	if !bytes.HasPrefix(said, []byte("HTTP/1.1 400 ")) || s.calls != 0 {
		t.Errorf("got %s", said)
	}
	response, err := http.Post("http://"+listener.Addr().String(), "application/json", strings.NewReader(event("m")))
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != 202 {
		t.Errorf("afterwards: %s", response.Status)
	}
	if err := server.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
	if err := <-done; err != http.ErrServerClosed {
		t.Error(err)
	}
}

// FuzzDoor checks that whatever is sent gets one of the documented answers, and
// that nothing is stored but what was accepted.
func FuzzDoor(f *testing.F) {
	for _, bad := range badLines {
		if len(bad.line) < 1000 {
			f.Add([]byte(bad.line), uint8(0))
		}
	}
	f.Add([]byte(`[{"message":"m"},{"user":"u","action":"a","resource":"r"}]`), uint8(0))
	f.Add([]byte(events(0, 3)), uint8(1))
	f.Add([]byte(zip(events(0, 3))), uint8(2))
	f.Fuzz(func(t *testing.T, data []byte, how uint8) {
		s := &store{}
		door := sources.NewDoor(s, sources.DoorConfig{Defaults: sources.Defaults{Service: "api"}})
		r := httptest.NewRequest("POST", "/", bytes.NewReader(data))
		if how&1 != 0 {
			r.Header.Set("Content-Type", "application/x-ndjson")
		}
		if how&2 != 0 {
			r.Header.Set("Content-Encoding", "gzip")
		}
		a := send(t, door, r)
		stored := 0
		for _, f := range s.frames {
			for _, l := range f.lines {
				if _, err := schemas.Decode([]byte(l), schemas.Origin{}); err != nil {
					t.Fatalf("stored %q: %v", l, err)
				}
				stored++
			}
		}
		switch a.status {
		case 202, 400, 413:
		default:
			t.Fatalf("%d %s", a.status, a.Error)
		}
		if a.Accepted != stored || (a.status == 202) != (stored > 0) {
			t.Fatalf("%d: accepted %d, stored %d", a.status, a.Accepted, stored)
		}
	})
}
