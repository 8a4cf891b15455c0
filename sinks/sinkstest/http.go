package sinkstest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dermai/millrace/notify"
	"github.com/dermai/millrace/schemas"
)

// secretPath is the part of the URL that nobody may see.
const secretPath = "T0SECRET/B0SECRET/xyzzySECRET"

// verdict is how an error wants to be treated.
type verdict struct {
	OK, Permanent, Ambiguous bool
	After                    time.Duration
}

func verdictOf(err error) verdict {
	v := verdict{OK: err == nil}
	var p interface{ Permanent() bool }
	var a interface{ Ambiguous() bool }
	var r interface{ RetryAfter() time.Duration }
	if errors.As(err, &p) {
		v.Permanent = p.Permanent()
	}
	if errors.As(err, &a) {
		v.Ambiguous = a.Ambiguous()
	}
	if errors.As(err, &r) {
		v.After = r.RetryAfter()
	}
	return v
}

// server records requests before it answers them.
type server struct {
	*httptest.Server
	mu       sync.Mutex
	requests []request
	wrote    int // bytes of the last answer
}

type request struct {
	key, path, body string
}

func newServer(t *testing.T, answer func(s *server, w http.ResponseWriter, r *http.Request)) *server {
	s := &server{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		s.mu.Lock()
		s.requests = append(s.requests, request{r.Header.Get("Idempotency-Key"), r.URL.Path, string(body)})
		s.mu.Unlock()
		answer(s, w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *server) seen() []request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]request(nil), s.requests...)
}

// Build makes a receiver for a URL, of which everything after the host is
// secret, and a time-out for one attempt; now is the time that it reads dates
// by.
type Build func(t *testing.T, url string, timeout time.Duration, now func() time.Time) notify.Receiver

// HTTP runs what every receiver that posts to a URL, or to a path below it, must
// pass if all that it asks of an answer is its status.
func HTTP(t *testing.T, build Build) { Answered(t, "", build) }

// Answered is HTTP for a receiver that reads the answer: yes is one that says
// yes, and a 2xx without it is in doubt.
func Answered(t *testing.T, yes string, build Build) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	status := func(code int, retryAfter string) func(*server, http.ResponseWriter, *http.Request) {
		return func(_ *server, w http.ResponseWriter, r *http.Request) {
			if retryAfter != "" {
				w.Header().Set("Retry-After", retryAfter)
			}
			w.WriteHeader(code)
			if code < 300 && yes != "" {
				_, _ = io.WriteString(w, yes)
				return
			}
			// An answer that repeats the secret.
			fmt.Fprintf(w, "cannot POST %s", r.URL.Path)
		}
	}
	again := verdict{}
	never := verdict{Permanent: true}
	unsure := verdict{Ambiguous: true}
	empty := verdict{OK: true} // a yes without a word
	if yes != "" {
		empty = unsure
	}
	for _, c := range []struct {
		name   string
		answer func(s *server, w http.ResponseWriter, r *http.Request)
		want   verdict
		silent bool // the time-out ends it
	}{
		{"200", status(200, ""), verdict{OK: true}, false},
		{"201", status(201, ""), verdict{OK: true}, false},
		{"204", func(_ *server, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }, empty, false},
		{"400", status(400, ""), never, false},
		{"401", status(401, ""), never, false},
		{"403", status(403, ""), never, false},
		{"404", status(404, ""), never, false},
		{"405", status(405, ""), never, false},
		{"410", status(410, ""), never, false},
		{"413", status(413, ""), never, false},
		{"422", status(422, ""), never, false},
		{"408", status(408, ""), again, false},
		{"425", status(425, ""), again, false},
		{"429", status(429, ""), again, false},
		{"429 at once", status(429, "0"), again, false},
		{"429 in a second", status(429, "1"), verdict{After: time.Second}, false},
		{"429 in an hour", status(429, "3600"), verdict{After: time.Hour}, false},
		{"429 at a date", status(429, now.Add(90*time.Second).Format(http.TimeFormat)), verdict{After: 90 * time.Second}, false},
		{"429 at a date that is past", status(429, now.Add(-time.Hour).Format(http.TimeFormat)), again, false},
		{"429 garbage", status(429, "soon"), again, false},
		{"429 negative", status(429, "-5"), again, false},
		{"429 enormous", status(429, "99999999999999999999"), again, false},
		{"500", status(500, ""), again, false},
		{"502", status(502, ""), again, false},
		{"503 in a second", status(503, "1"), verdict{After: time.Second}, false},
		{"504", status(504, ""), again, false},
		{"301", redirect(301), never, false},
		{"302", redirect(302), never, false},
		{"307", redirect(307), never, false},
		{"308", redirect(308), never, false},
		{"cut before the answer", func(_ *server, w http.ResponseWriter, _ *http.Request) { cut(w, "") }, unsure, false},
		{"cut in the answer", func(_ *server, w http.ResponseWriter, _ *http.Request) {
			cut(w, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
		}, unsure, false},
		{"not HTTP", func(_ *server, w http.ResponseWriter, _ *http.Request) { cut(w, "SSH-2.0-x\r\n") }, unsure, false},
		{"no answer", func(_ *server, _ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, unsure, true},
		{"an answer that does not end", func(s *server, w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(200)
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}, unsure, true},
		{"huge answer", func(s *server, w http.ResponseWriter, _ *http.Request) {
			for range 1 << 10 {
				n, err := w.Write(make([]byte, 64<<10))
				s.mu.Lock()
				s.wrote += n
				s.mu.Unlock()
				if err != nil {
					return
				}
			}
		}, empty, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newServer(t, c.answer)
			timeout := 10 * time.Second
			if c.silent {
				timeout = 500 * time.Millisecond
			}
			r := build(t, s.URL+"/services/"+secretPath, timeout, func() time.Time { return now })
			n := Notification()
			key := n.ID
			if k, ok := r.(interface{ Key() string }); ok { // it sends something else under another id
				key = k.Key()
			}
			for range 2 {
				reference, err := r.Send(t.Context(), n)
				if diff := cmp.Diff(c.want, verdictOf(err)); diff != "" {
					t.Errorf("%v (-want +got):\n%s", err, diff)
				}
				NoSecret(t, secretPath, reference, err, r)
			}
			seen := s.seen()
			if len(seen) != 2 {
				t.Fatalf("%d requests, want one for each call", len(seen))
			}
			for _, q := range seen {
				if q.key != key || !strings.HasPrefix(q.path, "/services/"+secretPath) || q.path != seen[0].path || q.body != seen[0].body || !strings.Contains(q.body, key) {
					t.Errorf("request %+v, want the same body, with the id %s in it and as idempotency key", q, key)
				}
			}
			s.Close()
			if s.wrote > 32<<20 {
				t.Errorf("%d bytes of the answer were taken", s.wrote)
			}
		})
	}
	t.Run("cut after an answer", func(t *testing.T) {
		first := true
		s := newServer(t, func(s *server, w http.ResponseWriter, r *http.Request) {
			if !first {
				cut(w, "")
				return
			}
			first = false
			status(200, "")(s, w, r)
		})
		r := build(t, s.URL+"/services/"+secretPath, 10*time.Second, time.Now)
		for _, want := range []verdict{{OK: true}, unsure} {
			_, err := r.Send(t.Context(), Notification())
			if diff := cmp.Diff(want, verdictOf(err)); diff != "" {
				t.Errorf("%v (-want +got):\n%s", err, diff)
			}
		}
		if n := len(s.seen()); n != 2 {
			t.Errorf("%d requests for two calls: something sends again by itself", n)
		}
	})
	t.Run("refused connection", func(t *testing.T) {
		s := newServer(t, status(200, ""))
		r := build(t, s.URL+"/services/"+secretPath, time.Second, time.Now)
		s.Close()
		_, err := r.Send(t.Context(), Notification())
		if diff := cmp.Diff(again, verdictOf(err)); diff != "" {
			t.Errorf("%v (-want +got):\n%s", err, diff)
		}
		NoSecret(t, secretPath, err, r)
	})
	t.Run("ended context", func(t *testing.T) {
		s := newServer(t, status(200, ""))
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := build(t, s.URL+"/services/"+secretPath, time.Second, time.Now).Send(ctx, Notification())
		if diff := cmp.Diff(again, verdictOf(err)); diff != "" {
			t.Errorf("%v (-want +got):\n%s", err, diff)
		}
		if len(s.seen()) != 0 {
			t.Error("sent all the same")
		}
	})
}

// redirect points to a server that must not be asked.
func redirect(code int) func(*server, http.ResponseWriter, *http.Request) {
	return func(s *server, w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, s.URL+"/elsewhere/"+secretPath, code)
	}
}

// cut writes raw bytes and closes the connection.
func cut(w http.ResponseWriter, text string) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, text)
}

// NoSecret checks that no part of a secret is seen in any value, however it is
// printed.
func NoSecret(t *testing.T, secret string, values ...any) {
	t.Helper()
	for _, v := range values {
		for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
			text := fmt.Sprintf(format, v)
			for part := range strings.SplitSeq(secret, "/") {
				if strings.Contains(text, part) {
					t.Errorf("%s of a %T shows the secret: %s", format, v, text)
				}
			}
		}
	}
}

// Notification is one that fires, of the ordinary kind.
func Notification() schemas.Notification {
	value := 0.0712
	return schemas.Notification{
		ID: "0123456789abcdef0123456789abcdef", Receiver: "team", GroupKey: `/{}:{alertname="HighErrorRate",service="api"}`,
		Class: schemas.Telemetry, Tick: 1772366400, Time: 1772366400e9, Status: "firing", Reason: "new", Covers: 7,
		Alerts: []schemas.Alert{{
			Alert: `HighErrorRate{service="api"}`, Rule: "HighErrorRate", Status: "firing", Starts: 1772366400e9, N: 420, Value: &value,
			Labels:      map[string]string{"service": "api", "severity": "critical"},
			Annotations: map[string]string{"summary": "api: 7% of requests fail", "runbook": "restart it"},
			Evidence: []schemas.Evidence{
				{Order: schemas.Order{Time: 1772366398e9, Partition: 2, Seq: 1234, Index: 5}, ID: "e-17", Trace: "4bf92f35", Fields: map[string]string{"path": "/v1/patients", "status_code": "503"}},
				{Order: schemas.Order{Time: 1772366399e9, Partition: schemas.Audit, Seq: 9}},
			},
		}},
	}
}

// Resolved is the same alert when it has ended, as far as anybody knows.
func Resolved() schemas.Notification {
	n := Notification()
	n.ID, n.Status, n.Reason = "fedcba9876543210fedcba9876543210", "resolved", "resolved"
	n.Tick, n.Time = n.Tick+600, n.Time+600e9
	value := 0.001
	a := &n.Alerts[0]
	a.Status, a.Ends, a.Value, a.N, a.Suspect = "resolved", n.Time, &value, 900, true
	return n
}

// Digest stands for four notifications about three alerts, of which it lists two.
func Digest() schemas.Notification {
	n := Notification()
	ended := Resolved().Alerts[0]
	ended.Alert, ended.Labels, ended.Evidence = `HighErrorRate{service="web"}`, map[string]string{"service": "web", "severity": "critical"}, nil
	n.ID, n.GroupKey, n.Reason, n.Covers = "00112233445566778899aabbccddeeff", "digest", "digest", 10
	n.Thread = n.ID
	n.Alerts[0].Evidence = nil
	n.Alerts = append(n.Alerts, ended)
	n.Truncated = 1
	n.Digest = &schemas.Digest{
		Notifications: 4, Firing: 2, Resolved: 1, OtherRules: 2,
		Rules: []schemas.DigestRule{{Rule: "HighErrorRate", Firing: 1, Resolved: 1}},
	}
	return n
}
