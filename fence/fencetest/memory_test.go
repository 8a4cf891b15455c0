package fencetest_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/fence/fencetest"
	"github.com/google/go-cmp/cmp"
)

func TestMemoryConformance(t *testing.T) {
	fencetest.Conformance(t, func(*testing.T) fencetest.Env {
		m := &fencetest.Memory{MaxBytes: 2 << 20}
		var armed fencetest.Fault
		m.Fault = func(fence.Message) fencetest.Fault {
			f := armed
			armed = fencetest.None
			return f
		}
		return fencetest.Env{
			Log:      func() fence.Log { return m },
			Arm:      func(_ fence.Log, f fencetest.Fault) { armed = f },
			Recreate: m.Recreate,
		}
	})
}

// script is a log whose next appends meet the given faults.
func script(faults ...fencetest.Fault) *fencetest.Memory {
	m := &fencetest.Memory{}
	m.Fault = func(fence.Message) fencetest.Fault {
		if len(faults) == 0 {
			return fencetest.None
		}
		f := faults[0]
		faults = faults[1:]
		return f
	}
	return m
}

func stored(t *testing.T, m *fencetest.Memory, stream string) []string {
	t.Helper()
	entries, err := m.Read(t.Context(), stream, 1, 1000)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, string(e.Data))
	}
	return out
}

// An append that arrives after its writer gave up on it and sent it again is
// refused: the fence holds it stored once.
func TestDelayedAppendArrivesLate(t *testing.T) {
	ctx := t.Context()
	m := script(fencetest.None, fencetest.Delay)
	w := fence.NewWriter(m, "control", func() string { return "a" })
	m.Put(fence.Message{Subject: "control", Data: []byte("genesis")})
	if _, err := w.Load(ctx); err != nil {
		t.Fatal(err)
	}
	if err := w.Append(ctx, nil, []byte("claim")); err != nil {
		t.Fatal(err)
	}
	if err := w.Append(ctx, nil, []byte("once")); !errors.Is(err, fence.ErrUnknown) {
		t.Fatalf("delayed append: %v", err)
	}
	if err := w.Settle(ctx); err != nil {
		t.Fatal(err)
	}
	if n := m.Delayed(); n != 1 {
		t.Fatalf("%d appends are delayed, want 1", n)
	}
	if m.Deliver(0) {
		t.Error("the late append was stored a second time")
	}
	if diff := cmp.Diff([]string{"genesis", "claim", "once"}, stored(t, m, "CONTROL")); diff != "" {
		t.Error(diff)
	}
}

// A stale head leads to a refused append or a needless load, never to two
// writers.
func TestStaleHeadIsHarmless(t *testing.T) {
	ctx := t.Context()
	m := &fencetest.Memory{}
	m.Put(fence.Message{Subject: "control", Data: []byte("genesis")})
	load := func(claim string) *fence.Writer {
		w := fence.NewWriter(m, "control", func() string { return claim })
		if _, err := w.Load(ctx); err != nil {
			t.Fatal(err)
		}
		return w
	}
	a := load("a")
	if err := a.Append(ctx, nil, []byte("a1")); err != nil {
		t.Fatal(err)
	}
	lag := 1
	m.Stale = func(string) int { return lag }
	b := load("b") // sees genesis
	if err := b.Append(ctx, nil, []byte("b1")); !errors.Is(err, fence.ErrUnknown) {
		t.Fatalf("append behind a stale head: %v", err)
	}
	// While the head is stale, b cannot know; when it is not, b is fenced.
	if err := b.Settle(ctx); !errors.Is(err, fence.ErrUnknown) {
		t.Errorf("settle by a stale head: %v, want ErrUnknown", err)
	}
	lag = 0
	if err := b.Settle(ctx); !errors.Is(err, fence.ErrFenced) {
		t.Errorf("settle: %v, want ErrFenced", err)
	}
	if err := a.Append(ctx, nil, []byte("a2")); err != nil {
		t.Errorf("the holder's append: %v", err)
	}
	if diff := cmp.Diff([]string{"genesis", "a1", "a2"}, stored(t, m, "CONTROL")); diff != "" {
		t.Error(diff)
	}
}

// A writer that was fenced and loads behind a stale head claims the epoch that it
// had before. Its old claim, which it meets then, is not the new one.
func TestClaimIsOfItsLoad(t *testing.T) {
	ctx := t.Context()
	lag, claims := 0, 0
	m := &fencetest.Memory{Stale: func(string) int { return lag }}
	m.Put(fence.Message{Subject: "control", Data: []byte("genesis")})
	writer := func() *fence.Writer {
		return fence.NewWriter(m, "control", func() string { claims++; return fmt.Sprint("c", claims) })
	}
	a, b := writer(), writer()
	for _, w := range []*fence.Writer{a, b} {
		if _, err := w.Load(ctx); err != nil {
			t.Fatal(err)
		}
		if err := w.Append(ctx, nil, []byte("claim")); err != nil {
			t.Fatal(err)
		}
	}
	lag = 2
	if head, err := a.Load(ctx); err != nil || string(head.Data) != "genesis" {
		t.Fatalf("a stale load: %s, %v", head.Data, err)
	}
	if err := a.Append(ctx, nil, []byte("claim")); !errors.Is(err, fence.ErrUnknown) {
		t.Fatalf("append behind a stale head: %v", err)
	}
	lag = 1 // its own claim of before
	if err := a.Settle(ctx); !errors.Is(err, fence.ErrFenced) {
		t.Errorf("settle: %v, want ErrFenced", err)
	}
}

func TestRewindGivesSequencesAgain(t *testing.T) {
	ctx := t.Context()
	m := &fencetest.Memory{Clock: func() int64 { return 42 }}
	for _, s := range []string{"1", "2", "3"} {
		m.Put(fence.Message{Subject: "control", Data: []byte(s)})
	}
	m.Rewind("CONTROL", 1)
	if _, err := m.Read(ctx, "CONTROL", 4, 1); !errors.Is(err, fence.ErrRewound) {
		t.Errorf("read beyond the end: %v, want ErrRewound", err)
	}
	if seq := m.Put(fence.Message{Subject: "control", Data: []byte("again")}); seq != 2 {
		t.Errorf("after the rewind to 1 sequence %d was given", seq)
	}
	if diff := cmp.Diff([]string{"1", "again"}, stored(t, m, "CONTROL")); diff != "" {
		t.Error(diff)
	}
	head, err := m.Head(ctx, "control")
	if err != nil || head.Time != 42 {
		t.Errorf("head %+v, %v: want the clock's time", head, err)
	}
}

func TestReadLimitHidesTheEnd(t *testing.T) {
	m := &fencetest.Memory{}
	for _, s := range []string{"1", "2", "3"} {
		m.Put(fence.Message{Subject: "control", Data: []byte(s)})
	}
	m.ReadLimit = func(string) uint64 { return 3 }
	if diff := cmp.Diff([]string{"1", "2"}, stored(t, m, "CONTROL")); diff != "" {
		t.Error(diff)
	}
}

// What the caller does with its bytes afterwards does not reach the log.
func TestMemoryKeepsItsOwnBytes(t *testing.T) {
	m := script(fencetest.Delay)
	data := []byte("kept")
	if _, err := m.Append(context.Background(), fence.Message{Subject: "control", Data: data}, 0); !errors.Is(err, fence.ErrUnknown) {
		t.Fatal(err)
	}
	copy(data, "lost")
	if !m.Deliver(0) {
		t.Fatal("the delayed append was not stored")
	}
	if diff := cmp.Diff([]string{"kept"}, stored(t, m, "CONTROL")); diff != "" {
		t.Error(diff)
	}
}
