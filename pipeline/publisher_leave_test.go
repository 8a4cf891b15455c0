package pipeline_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/pipeline"
	"github.com/dermai/millrace/pipeline/pipelinetest"
	"github.com/dermai/millrace/schemas"
	"github.com/google/go-cmp/cmp"
)

// A caller that leaves while its lines wait takes them with it; one whose lines
// are on their way is told that nobody knows.
func TestLeave(t *testing.T) {
	s, c := deployed(t)
	proxy := pipelinetest.StartProxy(t, s.Address())
	p := newPublisher(t, s.ConnectURL(t, proxy.URL()), pipeline.PublisherConfig{Service: "shop", Partitions: 2})
	if err := p.Publish(t.Context(), logEvent("before")); err != nil {
		t.Fatal(err)
	}
	proxy.Pause(true)
	first := make(chan error)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { first <- p.Publish(ctx, logEvent("first")) }()
	pipelinetest.Within(t, "the first is in flight", func() bool { return metric(t, s, "millrace_appends_total", "unknown") > 0 })
	short, done := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer done()
	line := []byte(`{"kind":"log","service":"shop","level":"INFO","message":"second"}`)
	retryable(t, p.PublishEncoded(short, "log", "shop", [][]byte{line}, ""), "still on its way")
	copy(line, strings.Repeat("x", len(line))) // the lines are the caller's again
	cancel()
	err := <-first
	var r interface{ RetryAfter() time.Duration }
	if !errors.Is(err, fence.ErrUnknown) || errors.As(err, &r) {
		t.Errorf("leaving with a frame in flight: %v, want ErrUnknown", err)
	}
	proxy.Pause(false)
	if err := p.Publish(t.Context(), logEvent("third")); err != nil {
		t.Fatal(err)
	}
	want := map[string][]string{"shop": {"before", "first", "third"}}
	if diff := cmp.Diff(want, messages(frames(t, newLog(t, c), telemetry...))); diff != "" {
		t.Errorf("stored (-want +got):\n%s", diff)
	}
}

// A publisher that must end while the broker is away says what it leaves.
func TestCloseGivesUp(t *testing.T) {
	s, _ := deployed(t)
	proxy := pipelinetest.StartProxy(t, s.Address())
	p := newPublisher(t, s.ConnectURL(t, proxy.URL()), pipeline.PublisherConfig{Service: "shop", Partitions: 2})
	if err := p.Publish(t.Context(), logEvent("before")); err != nil {
		t.Fatal(err)
	}
	proxy.Pause(true)
	published := make(chan error)
	go func() { published <- p.Publish(t.Context(), logEvent("x")) }()
	pipelinetest.Within(t, "it is in flight", func() bool { return metric(t, s, "millrace_appends_total", "unknown") > 0 })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := p.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("close: %v", err)
	}
	if err := <-published; !errors.Is(err, fence.ErrUnknown) {
		t.Errorf("the caller is told %v", err)
	}
	if err := p.Close(t.Context()); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("close, once more: %v", err)
	}
}

// A call that is refused in one lane and open in another is open: who repeated it
// would store the other's events twice.
func TestRefusedAndOpen(t *testing.T) {
	s, c := deployed(t)
	proxy := pipelinetest.StartProxy(t, s.Address())
	p := newPublisher(t, s.ConnectURL(t, proxy.URL()), pipeline.PublisherConfig{Service: "shop", Partitions: 2, MaxBytes: 100})
	if err := p.Publish(t.Context(), logEvent("before")); err != nil {
		t.Fatal(err)
	}
	proxy.Pause(true)
	audit := schemas.Event{Kind: schemas.KindAudit, User: "ann", Action: "READ", Resource: "doc"}
	ctx, cancel := context.WithCancel(t.Context())
	published := make(chan error)
	go func() { published <- p.Publish(ctx, logEvent("open"), audit) }()
	pipelinetest.Within(t, "the first is in flight", func() bool { return metric(t, s, "millrace_appends_total", "unknown") > 0 })
	cancel() // while the second waits for room
	err := <-published
	var r interface{ RetryAfter() time.Duration }
	if !errors.Is(err, fence.ErrUnknown) || errors.As(err, &r) {
		t.Errorf("got %v, want ErrUnknown without RetryAfter", err)
	}
	proxy.Pause(false)
	closePublisher(t, p)
	want := map[string][]string{"shop": {"before", "open"}}
	if diff := cmp.Diff(want, messages(frames(t, newLog(t, c), telemetry...))); diff != "" {
		t.Errorf("stored (-want +got):\n%s", diff)
	}
}

// A call whose context has ended is told so, and nothing of it is stored.
func TestPublishAfterTheEnd(t *testing.T) {
	s, c := deployed(t)
	p := newPublisher(t, s.Connect(t), pipeline.PublisherConfig{Service: "shop", Partitions: 2})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	retryable(t, p.Publish(ctx, logEvent("x")), "nothing was sent: context canceled")
	closePublisher(t, p)
	if got := frames(t, newLog(t, c), telemetry...); len(got) > 0 {
		t.Errorf("%d frames are stored", len(got))
	}
}
