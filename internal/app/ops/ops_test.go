package ops_test

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"github.com/dermai/millrace/internal/app/ops"
)

func reasons(h *ops.Health) map[string]string {
	out := map[string]string{}
	for _, c := range h.Report().Checks {
		out[c.Name] = c.Reason
	}
	return out
}

// TestFlow walks a part of the program through its life.
func TestFlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := ops.NewFlow(10 * time.Second)
		steps := []struct {
			name string
			do   func()
			wait time.Duration
			want string
		}{
			{"nothing happened yet", func() {}, time.Minute, "starting"},
			{"first step under way", f.Begin, time.Second, "starting"},
			{"first step done", f.Done, 0, ""},
			{"nothing to do for an hour", func() {}, time.Hour, ""},
			{"step under way", f.Begin, 9 * time.Second, ""},
			{"the step hangs, though it is asked for again", f.Begin, 2 * time.Second, "no progress for 11s, the limit is 10s"},
			{"done at last", f.Done, 0, ""},
			{"blocked", func() { f.Begin(); f.Block("stream EVENTS_0 is full") }, 0, "stream EVENTS_0 is full"},
			{"still blocked", func() {}, time.Hour, "stream EVENTS_0 is full"},
			{"free again", f.Done, 0, ""},
		}
		for _, s := range steps {
			s.do()
			time.Sleep(s.wait) // the bubble's clock
			if got := f.State().Reason; got != s.want {
				t.Errorf("%s: %q, want %q", s.name, got, s.want)
			}
		}
	})
}

func TestReadiness(t *testing.T) {
	var h ops.Health
	mux := http.NewServeMux()
	ops.Routes(mux, &h, ops.NewRegistry())
	get := func(path string) (int, string) {
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		return w.Code, w.Body.String()
	}
	expect := func(path string, code int, body string) {
		t.Helper()
		if c, b := get(path); c != code || b != body {
			t.Errorf("%s: %d %q, want %d %q", path, c, b, code, body)
		}
	}

	expect("/readyz", 200, "ok\n")
	expect("/readyz?verbose", 200, `{"ready":true,"checks":[]}`+"\n")

	now := time.Now()
	state := ops.State{Progress: now}
	h.Register("reduce 0", func() ops.State { return state })
	h.Register("archive AUDIT", func() ops.State { return ops.State{Reason: "starting"} })
	expect("/readyz", 503, "archive AUDIT: starting\n")
	state.Reason = "no progress"
	expect("/readyz", 503, "archive AUDIT: starting\nreduce 0: no progress\n")

	code, body := get("/readyz?verbose")
	var report ops.Report
	if err := json.Unmarshal([]byte(body), &report); err != nil {
		t.Fatal(err)
	}
	age := report.Checks[1].Age
	if age == nil || *age < 0 || *age > time.Since(now).Seconds() {
		t.Errorf("age of the progress: %v", age)
	}
	report.Checks[1].Age = nil
	want := ops.Report{Checks: []ops.CheckReport{{Name: "archive AUDIT", Reason: "starting"}, {Name: "reduce 0", Reason: "no progress"}}}
	if diff := cmp.Diff(want, report); diff != "" || code != 503 {
		t.Errorf("%d, verbose report (-want +got):\n%s", code, diff)
	}

	expect("/livez", 200, "ok\n")
	h.Drain()
	if got := reasons(&h)["process"]; got != "shutting down" {
		t.Errorf("draining: %q", got)
	}
}

func TestMetrics(t *testing.T) {
	mux := http.NewServeMux()
	ops.Routes(mux, &ops.Health{}, ops.NewRegistry())
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for _, want := range []string{"millrace_build_info{goversion=\"go", "go_goroutines ", "process_resident_memory_bytes "} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("no %s in\n%s", want, w.Body)
		}
	}
}

// TestServer runs a server over a real socket: it answers, refuses pages of
// other origins, finishes what is under way, and frees its address.
func TestServer(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	mux := http.NewServeMux()
	ops.Routes(mux, &ops.Health{}, ops.NewRegistry())
	mux.HandleFunc("POST /v1/events", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusAccepted) })
	mux.HandleFunc("GET /slow", func(w http.ResponseWriter, _ *http.Request) {
		close(entered)
		<-leave
		_, _ = io.WriteString(w, "finished")
	})
	s, err := ops.Listen(t.Context(), "127.0.0.1:0", mux, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- s.Run(ctx) }()

	if _, err := ops.Listen(t.Context(), s.Addr(), mux, zerolog.Nop()); err == nil || !strings.Contains(err.Error(), "http.addr") {
		t.Errorf("the address is taken twice, or the error says no mend: %v", err)
	}

	for origin, want := range map[string]int{"": 202, "http://" + s.Addr(): 202, "https://evil.example.com": 403} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+s.Addr()+"/v1/events", strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		if origin != "" {
			req.Header.Set("Origin", origin)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("origin %q: %d, want %d", origin, resp.StatusCode, want)
		}
	}

	answer := make(chan string, 1)
	go func() {
		resp, err := http.Get("http://" + s.Addr() + "/slow")
		if err != nil {
			answer <- err.Error()
			return
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		answer <- string(b)
	}()
	<-entered
	cancel()
	for { // until nobody is let in any more
		conn, err := net.Dial("tcp", s.Addr())
		if err != nil {
			break
		}
		conn.Close()
	}
	select {
	case err := <-ran:
		t.Fatalf("ended with a request under way: %v", err)
	default:
	}
	close(leave)
	if got := <-answer; got != "finished" {
		t.Errorf("the request under way got %q", got)
	}
	if err := <-ran; err != nil {
		t.Errorf("run: %v", err)
	}
	again, err := ops.Listen(t.Context(), s.Addr(), mux, zerolog.Nop())
	if err != nil {
		t.Fatalf("the address is still taken: %v", err)
	}
	done, stop := context.WithCancel(t.Context())
	stop()
	if err := again.Run(done); err != nil {
		t.Errorf("run with a context that has ended: %v", err)
	}
}
