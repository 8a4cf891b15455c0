package sinks_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/dermai/millrace/notify"
	"github.com/dermai/millrace/schemas"
	"github.com/dermai/millrace/sinks"
	"github.com/dermai/millrace/sinks/sinkstest"
)

// dsnOf makes a DSN whose envelopes go below a URL.
func dsnOf(t testing.TB, at string) string {
	t.Helper()
	u, err := url.Parse(at)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.User("xyzzySECRET")
	return u.JoinPath("42").String()
}

// envelope takes the event out of an envelope, and fails on another.
func envelope(t *testing.T, q sinkstest.Recorded) (id string, event []byte) {
	t.Helper()
	lines := bytes.SplitN(q.Body, []byte("\n"), 3)
	var head struct {
		EventID string `json:"event_id"`
		DSN     any    `json:"dsn"`
	}
	var item struct {
		Type   string `json:"type"`
		Length int    `json:"length"`
	}
	if len(lines) != 3 || json.Unmarshal(lines[0], &head) != nil || json.Unmarshal(lines[1], &item) != nil ||
		item.Type != "event" || len(lines[2]) != item.Length+1 || head.DSN != nil || len(head.EventID) != 32 {
		t.Fatalf("no envelope: %.300q", q.Body)
	}
	return head.EventID, lines[2][:item.Length]
}

func TestSentryConformance(t *testing.T) {
	sinkstest.HTTP(t, func(t *testing.T, url string, timeout time.Duration, now func() time.Time) notify.Receiver {
		return build(t, "sentry", fmt.Sprintf("{dsn: %q, timeout: %v}", dsnOf(t, url), timeout), sinks.Env{Now: now})
	})
}

// TestSentryGolden: what is sent is what the outbox shows, with environment and
// release.
func TestSentryGolden(t *testing.T) {
	r := sinkstest.NewRecorder(t)
	s := build(t, "sentry", fmt.Sprintf("{dsn: %q, resolved: true, environment: production, release: shop@1.2.3}", dsnOf(t, r.URL)), sinks.Env{})
	for i, n := range []schemas.Notification{sinkstest.Notification(), sinkstest.Resolved()} {
		if reference, err := s.Send(t.Context(), n); err != nil || reference != n.ID {
			t.Fatalf("%q, %v", reference, err)
		}
		q := r.Requests()[i]
		id, event := envelope(t, q)
		auth := "Sentry sentry_version=7, sentry_client=millrace/1, sentry_key=xyzzySECRET"
		if q.Path != "/api/42/envelope/" || q.Header.Get("X-Sentry-Auth") != auth || id != n.ID {
			t.Errorf("%s %q %s", q.Path, q.Header, id)
		}
		var sent, shown map[string]any
		if err := json.Unmarshal(event, &sent); err != nil {
			t.Fatal(err)
		}
		if sent["environment"] != "production" || sent["release"] != "shop@1.2.3" || sent["server_name"] != nil || sent["breadcrumbs"] != nil {
			t.Errorf("sent %v", sent)
		}
		delete(sent, "environment")
		delete(sent, "release")
		var b bytes.Buffer
		if err := json.Indent(&b, event, "", " "); err != nil {
			t.Fatal(err)
		}
		outbox := build(t, "outbox", "dir: "+t.TempDir(), sinks.Env{})
		if _, err := outbox.Send(t.Context(), n); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(read(t, "testdata", "sentry_"+n.Status+".json"), &shown); err != nil {
			t.Fatal(err)
		}
		if got, want := fmt.Sprint(sent), fmt.Sprint(shown); got != want {
			t.Errorf("sent  %s\nshown %s", got, want)
		}
	}
	// Unless it is asked for, an end is no event.
	s = build(t, "sentry", fmt.Sprintf("{dsn: %q}", dsnOf(t, r.URL)), sinks.Env{})
	if reference, err := s.Send(t.Context(), sinkstest.Resolved()); err != nil || !strings.HasPrefix(reference, "not sent") || len(r.Requests()) != 2 {
		t.Errorf("%q, %v, %d requests", reference, err, len(r.Requests()))
	}
}

// TestSentryHostile: whatever is in a notification, Sentry gets an event within
// its limits that can be looked at.
func TestSentryHostile(t *testing.T) {
	r := sinkstest.NewRecorder(t)
	s := build(t, "sentry", fmt.Sprintf("{dsn: %q}", dsnOf(t, r.URL)), sinks.Env{})
	for i, n := range sinkstest.Hostile() {
		if _, err := s.Send(t.Context(), n); err != nil {
			t.Fatal(err)
		}
		q := r.Requests()[i]
		sinkstest.Visible(t, q.Body)
		_, event := envelope(t, q)
		var got struct {
			Message  string
			Tags     map[string]string
			Contexts struct {
				Millrace struct {
					Alerts []string
					More   int
				}
			}
		}
		if err := json.Unmarshal(event, &got); err != nil {
			t.Fatal(err)
		}
		if len([]rune(got.Message)) > 8192 || len(event) > 1<<20 {
			t.Errorf("%d: a message of %d, an event of %d", i, len(got.Message), len(event))
		}
		for k, v := range got.Tags {
			if len([]rune(k)) > 32 || len([]rune(v)) > 200 {
				t.Errorf("%d: tag %.50q: %.250q", i, k, v)
			}
		}
		about := got.Contexts.Millrace
		if len(about.Alerts) == 0 || len(about.Alerts)+about.More != len(n.Alerts)+n.Truncated {
			t.Errorf("%d: %d alerts and %d more, of %d and %d", i, len(about.Alerts), about.More, len(n.Alerts), n.Truncated)
		}
		if long := len(n.Alerts[0].Why) > 8192; long && !strings.Contains(about.Alerts[0], "… (cut)") {
			t.Errorf("%d: cut, and does not say so", i)
		}
	}
}

// TestSentryFingerprint: the same group is one issue, whatever happens to it;
// another is another.
func TestSentryFingerprint(t *testing.T) {
	r := sinkstest.NewRecorder(t)
	s := build(t, "sentry", fmt.Sprintf("{dsn: %q, resolved: true}", dsnOf(t, r.URL)), sinks.Env{})
	repeat := sinkstest.Notification()
	repeat.Reason, repeat.Alerts[0].N = "repeat", 1
	other := sinkstest.Notification()
	other.GroupKey = `/{}:{alertname="HighErrorRate",service="web"}`
	var prints []string
	for i, n := range []schemas.Notification{sinkstest.Notification(), repeat, sinkstest.Resolved(), other} {
		if _, err := s.Send(t.Context(), n); err != nil {
			t.Fatal(err)
		}
		_, event := envelope(t, r.Requests()[i])
		var got struct{ Fingerprint []string }
		if err := json.Unmarshal(event, &got); err != nil {
			t.Fatal(err)
		}
		prints = append(prints, strings.Join(got.Fingerprint, " "))
	}
	if prints[0] != prints[1] || prints[0] != prints[2] || prints[0] == prints[3] {
		t.Errorf("fingerprints %q", prints)
	}
}

// TestSentryLimits: what Sentry asks for is told, and nothing is dropped.
func TestSentryLimits(t *testing.T) {
	for _, c := range []struct {
		limits, retryAfter string
		want               time.Duration
	}{
		{"", "7", 7 * time.Second},
		{"60:error:organization", "7", time.Minute},
		{"60::organization", "", time.Minute},
		{"60", "", time.Minute},
		{"2700:transaction;span:key, 30:default;error:key", "", 30 * time.Second},
		{"2700:transaction", "7", 0},
		{"1.2:error", "", 2 * time.Second},
		{"soon:error, -5:error, NaN:error, 1e99:error", "", 0},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if c.limits != "" {
				w.Header().Set("X-Sentry-Rate-Limits", c.limits)
			}
			w.Header().Set("Retry-After", c.retryAfter)
			w.WriteHeader(http.StatusTooManyRequests)
		}))
		s := build(t, "sentry", fmt.Sprintf("{dsn: %q}", dsnOf(t, server.URL)), sinks.Env{})
		for range 2 {
			_, err := s.Send(t.Context(), sinkstest.Notification())
			var e *sinks.SendError
			if !errors.As(err, &e) || e.Permanent() || e.Ambiguous() || e.RetryAfter() != c.want {
				t.Errorf("%+v: %v, again after %v", c, err, e.RetryAfter())
			}
		}
		server.Close()
	}
}

func TestSentryOptions(t *testing.T) {
	for options, fault := range map[string]string{
		"dsn: xyzzySECRET": "receivers[0].sentry: dsn: not a DSN; copy it from the project's client keys",
		"dsn: https://xyzzySECRET@sentry.example.com/": "dsn: not a DSN",
		"dsn: http://xyzzySECRET@sentry.example.com/1": "dsn: use https",
		`dsn: "https://xyzzy SECRET@a.example/1"`:      "dsn: not a DSN",
		"{dsn: a, dsn_file: b}":                        "dsn and dsn_file: give one of the two",
	} {
		s, err := open("sentry", options, sinks.Env{})
		if err == nil || !strings.Contains(err.Error(), fault) {
			t.Errorf("%s: %v, want %s", options, err, fault)
		}
		sinkstest.NoSecret(t, "xyzzySECRET", err, s)
	}
	s := build(t, "sentry", "", sinks.Env{})
	if _, off := s.Off(); !off {
		t.Error("on without a DSN")
	}
	env := sinks.Env{Getenv: func(name string) string {
		return map[string]string{"SENTRY_DSN": "https://xyzzySECRET@o1.ingest.sentry.io/2"}[name]
	}}
	s = build(t, "sentry", "", env)
	if _, off := s.Off(); off {
		t.Error("off though SENTRY_DSN is set")
	}
	sinkstest.NoSecret(t, "xyzzySECRET", s)
}
