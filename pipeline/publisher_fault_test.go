package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/pipeline"
	"github.com/dermai/millrace/pipeline/pipelinetest"
	"github.com/dermai/millrace/schemas"
	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"
)

// retryable checks that an error says that nothing was stored.
func retryable(t *testing.T, err error, want string) {
	t.Helper()
	var r interface{ RetryAfter() time.Duration }
	if !errors.As(err, &r) || r.RetryAfter() <= 0 || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want an error with RetryAfter that says %q", err, want)
	}
}

// canonical makes lines of a size that do not compress.
func canonical(t *testing.T, n, size int) [][]byte {
	t.Helper()
	rnd := rand.New(rand.NewPCG(uint64(n), uint64(size)))
	lines := make([][]byte, n)
	for i := range lines {
		message := make([]byte, size)
		for j := range message {
			message[j] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"[rnd.IntN(64)]
		}
		e := logEvent(string(message))
		e.Service = "shop"
		line, err := schemas.AppendJSON(nil, &e)
		if err != nil {
			t.Fatal(err)
		}
		lines[i] = line
	}
	return lines
}

// However large or small the calls are, frames keep their limits, and a call
// that fits a frame is in one.
func TestFrameLimits(t *testing.T) {
	_, c := deployed(t)
	p := newPublisher(t, c, pipeline.PublisherConfig{Partitions: 2})
	calls := []struct{ n, size int }{{1, 10}, {1, 250 << 10}, {12, 250 << 10}, {4000, 100}, {12000, 10}, {3000, 2000}, {1, 10}}
	want := 0
	for i, call := range calls {
		if err := p.PublishEncoded(t.Context(), "log", "shop", canonical(t, call.n, call.size), fmt.Sprint("file:", i)); err != nil {
			t.Fatal(err)
		}
		want += call.n
	}
	got, whole := 0, 0
	for _, f := range frames(t, newLog(t, c), telemetry...) {
		got += len(f.Events)
		if f.Source == "file:3" && len(f.Events) == 4000 {
			whole++
		}
		if len(f.Events) > schemas.FrameEvents {
			t.Errorf("a frame has %d events", len(f.Events))
		}
	}
	if got != want || whole != 1 {
		t.Errorf("%d events are stored, %d were published; %d frames hold the call that fits one", got, want, whole)
	}
}

// While one frame is on its way the next one fills: many callers share few
// frames, and sources do not mix.
func TestGroupCommit(t *testing.T) {
	_, c := deployed(t)
	p := newPublisher(t, c, pipeline.PublisherConfig{Partitions: 2, Linger: 20 * time.Millisecond})
	const callers = 200
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			line := []byte(fmt.Sprintf(`{"kind":"log","service":"shop","level":"INFO","message":"%d"}`, i))
			if err := p.PublishEncoded(t.Context(), "log", "shop", [][]byte{line}, fmt.Sprint("s", i/190)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	got := frames(t, newLog(t, c), telemetry...)
	seen := map[string]bool{}
	for _, f := range got {
		for _, e := range f.Events {
			if seen[e.Message] {
				t.Errorf("event %s is there twice", e.Message)
			}
			seen[e.Message] = true
			var n int
			if _, err := fmt.Sscan(e.Message, &n); err != nil || fmt.Sprint("s", n/190) != f.Source {
				t.Errorf("event %s is in a frame of source %q", e.Message, f.Source)
			}
		}
	}
	if len(seen) != callers || len(got) > callers/2 {
		t.Errorf("%d of %d events are stored, in %d frames", len(seen), callers, len(got))
	}
}

// A stream without room refuses, with a time to come again, and takes events
// when there is room.
func TestFullStream(t *testing.T) {
	s, _ := deployed(t)
	js := admin(t, s)
	info, err := js.Stream(t.Context(), "AUDIT")
	if err != nil {
		t.Fatal(err)
	}
	config := info.CachedInfo().Config
	config.MaxBytes = 1 << 20
	if _, err := js.UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	p := newPublisher(t, s.Connect(t), pipeline.PublisherConfig{Patience: 100 * time.Millisecond})
	lines := canonical(t, 4, 100<<10)
	stored := 0
	for err == nil && stored < 100 {
		if err = p.PublishEncoded(t.Context(), "audit", "shop", lines, ""); err == nil {
			stored++
		}
	}
	retryable(t, err, "stream is full")
	if !errors.Is(err, fence.ErrFull) {
		t.Errorf("%v is not ErrFull", err)
	}
	if got := metric(t, s, "millrace_publisher_buffered_bytes"); got != 0 {
		t.Errorf("%v bytes still wait", got)
	}
	config.MaxBytes = 8 << 20
	if _, err := js.UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	if err := p.PublishEncoded(t.Context(), "audit", "shop", lines, ""); err != nil {
		t.Errorf("publish when there is room: %v", err)
	}
	closePublisher(t, p)
	l, got := newLog(t, s.Connect(t)), 0
	for next := uint64(1); got < (stored+1)*4; {
		entries, err := l.Read(t.Context(), "AUDIT", next, 10)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			h, err := schemas.ParseFrameHeader(e.Header)
			if err != nil {
				t.Fatal(err)
			}
			got, next = got+h.Events, e.Seq+1
		}
	}
	if got != (stored+1)*4 {
		t.Errorf("%d events are stored, %d were reported", got, (stored+1)*4)
	}
}

// While the broker is away the publisher takes what it has room for, and what
// it takes it stores when the broker is back.
func TestBackPressure(t *testing.T) {
	s, c := deployed(t)
	proxy := pipelinetest.StartProxy(t, s.Address())
	p := newPublisher(t, s.ConnectURL(t, proxy.URL()), pipeline.PublisherConfig{Service: "shop", Partitions: 2, MaxBytes: 1000})
	if err := p.Publish(t.Context(), logEvent("before")); err != nil {
		t.Fatal(err)
	}
	proxy.Pause(true)
	taken := []string{"before"}
	for i := 0; ; i++ {
		if !p.Enqueue(logEvent(fmt.Sprint(i))) {
			break
		}
		taken = append(taken, fmt.Sprint(i))
	}
	if len(taken) < 4 || len(taken) > 12 {
		t.Errorf("%d events were taken with 1000 bytes", len(taken))
	}
	p.Enqueue(schemas.Event{Kind: "no"})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	retryable(t, p.Publish(ctx, logEvent("blocked")), "bytes of events wait already")
	if got := metric(t, s, "millrace_publisher_shed_total"); got != 2 {
		t.Errorf("%v events are counted as shed, want 2", got)
	}
	if got := metric(t, s, "millrace_publisher_buffered_bytes"); got < 800 || got > 1000 {
		t.Errorf("%v bytes wait", got)
	}
	proxy.Pause(false)
	closePublisher(t, p)
	if diff := cmp.Diff(map[string][]string{"shop": taken}, messages(frames(t, newLog(t, c), telemetry...))); diff != "" {
		t.Errorf("stored (-taken +there):\n%s", diff)
	}
}

// A lane that is idle ends with a final frame, and its name is not used again.
func TestIdleLane(t *testing.T) {
	_, c := deployed(t)
	p := newPublisher(t, c, pipeline.PublisherConfig{Service: "shop", Partitions: 2, Idle: 50 * time.Millisecond})
	lanes := map[string]bool{}
	l := newLog(t, c)
	for i := range 3 {
		if err := p.Publish(t.Context(), logEvent("x")); err != nil {
			t.Fatal(err)
		}
		finals := 0
		pipelinetest.Within(t, "the lane ends", func() bool {
			finals = 0
			for _, f := range frames(t, l, telemetry...) {
				lanes[f.Lane] = true
				if f.Final {
					finals++
				}
			}
			return finals > i
		})
		if finals != i+1 || len(lanes) != i+1 {
			t.Errorf("%d lanes, %d ended, want %d", len(lanes), finals, i+1)
		}
	}
}

// A lane that somebody else wrote to, or that the broker lost, is left; what was
// in it is stored in another.
func TestLostLane(t *testing.T) {
	for name, damage := range map[string]func(t *testing.T, js jetstream.JetStream, l *pipeline.Log, subject string) error{
		"foreign": func(t *testing.T, js jetstream.JetStream, _ *pipeline.Log, subject string) error {
			_, err := js.Publish(t.Context(), subject, []byte(`{"level":"INFO","message":"foreign"}`))
			return err
		},
		"lost": func(t *testing.T, _ jetstream.JetStream, l *pipeline.Log, subject string) error {
			return l.Trim(t.Context(), schemas.StreamOf(subject), "", 1000)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, c := deployed(t)
			p := newPublisher(t, c, pipeline.PublisherConfig{Service: "shop", Partitions: 1})
			if err := p.Publish(t.Context(), logEvent("1")); err != nil {
				t.Fatal(err)
			}
			l := newLog(t, c)
			f := frames(t, l, 0)[0]
			subject, err := schemas.FrameSubject(0, f.Kind, f.Service, f.Lane)
			if err != nil {
				t.Fatal(err)
			}
			if err := damage(t, admin(t, s), l, subject); err != nil {
				t.Fatal(err)
			}
			for _, m := range []string{"2", "3"} {
				if err := p.Publish(t.Context(), logEvent(m)); err != nil {
					t.Fatal(err)
				}
			}
			entries, err := newLog(t, c).Read(t.Context(), "EVENTS_0", 1, 100)
			if err != nil {
				t.Fatal(err)
			}
			want := []schemas.FrameHeader{{Counter: 1, Events: 1}, {Counter: 2, Events: 1, Acked: 1}}
			if name == "lost" {
				want[0].After = schemas.LaneEnd{Lane: subject, Batch: 1}
			}
			var got []schemas.FrameHeader
			for _, e := range entries {
				if e.Subject != subject {
					h, err := schemas.ParseFrameHeader(e.Header)
					if err != nil {
						t.Fatal(err)
					}
					got = append(got, h)
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("frames of the new lane (-want +got):\n%s", diff)
			}
			if n := metric(t, s, "millrace_publisher_lane_faults_total"); n != 1 {
				t.Errorf("%v lane faults are counted, want 1", n)
			}
		})
	}
}

// Where no stream takes the events, who waits is told so.
func TestNoStream(t *testing.T) {
	s := pipelinetest.Start(t)
	p := newPublisher(t, s.Connect(t), pipeline.PublisherConfig{Service: "shop"})
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	err := p.Publish(ctx, logEvent("x"))
	if !errors.Is(err, fence.ErrUnknown) || !strings.Contains(err.Error(), "millrace apply") {
		t.Errorf("got %v, want ErrUnknown and the mend", err)
	}
	ended, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	p.Close(ended)
}

func TestTooManyLanes(t *testing.T) {
	_, c := deployed(t)
	p := newPublisher(t, c, pipeline.PublisherConfig{Partitions: 2, Lanes: 2})
	for i := range 3 {
		e := logEvent("x")
		e.Service = fmt.Sprint("s", i)
		err := p.Publish(t.Context(), e)
		if i < 2 && err != nil {
			t.Fatal(err)
		}
		if i == 2 {
			retryable(t, err, "2 pairs of kind and service are in use")
		}
	}
}

// Killing or restarting the broker loses nothing and repeats nothing.
func TestPublishOverRestart(t *testing.T) {
	for name, start := range map[string]func(t *testing.T) (url string, restart func()){
		"restart": func(t *testing.T) (string, func()) {
			s := pipelinetest.Start(t)
			return s.URL(), func() { s.Restart(t) }
		},
		"kill -9": func(t *testing.T) (string, func()) {
			p := pipelinetest.StartProcess(t)
			return p.URL(), func() { p.Kill(t) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			url, restart := start(t)
			c := connectURL(t, url)
			apply(t, c, small, false)
			p := newPublisher(t, c, pipeline.PublisherConfig{Service: "shop", Partitions: 1})
			var published atomic.Int64
			stop := make(chan struct{})
			var wg sync.WaitGroup
			wg.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					if err := p.Publish(t.Context(), logEvent(fmt.Sprint(published.Load()))); err != nil {
						t.Errorf("event %d: %v", published.Load(), err)
						return
					}
					published.Add(1)
				}
			})
			for range 3 {
				restart()
				before := published.Load()
				pipelinetest.Within(t, "it goes on", func() bool { return published.Load() > before+10 })
			}
			close(stop)
			wg.Wait()
			var want []string
			for i := range published.Load() {
				want = append(want, fmt.Sprint(i))
			}
			if diff := cmp.Diff(want, messages(frames(t, newLog(t, c), 0))["shop"]); diff != "" {
				t.Errorf("stored (-published +there):\n%s", diff)
			}
		})
	}
}
