package fencetest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/schemas"
	"github.com/google/go-cmp/cmp"
)

// Env is a log under test: all streams of Millrace, empty, and a way to break
// it. The stream PARTIALS holds at most a few MiB.
type Env struct {
	// Log returns a log of its own, as another process would have.
	Log func() fence.Log
	// Arm makes the next append of the log meet LoseAppend or LoseAnswer.
	Arm func(log fence.Log, f Fault)
	// Recreate loses a stream and makes an empty one of the same name.
	Recreate func(stream string)
}

// subject is the one that the conformance test writes to.
var (
	subject   = schemas.Partition(0).Partials()
	streamOf  = schemas.StreamOf(subject)
	otherSubj = schemas.Partition(1).Partials()
)

// Conformance is the contract of fence.Log and fence.Writer. newEnv is called
// for each case.
func Conformance(t *testing.T, newEnv func(t *testing.T) Env) {
	for _, c := range []struct {
		name string
		run  func(t *testing.T, ctx context.Context, e Env)
	}{
		{"compare and swap", testCompareAndSwap},
		{"missing head", testMissingHead},
		{"round trip", testRoundTrip},
		{"read from anywhere", testRead},
		{"extent and trim", testTrim},
		{"answer lost", testAnswerLost},
		{"append lost", testAppendLost},
		{"zombie", testZombie},
		{"zombie with an answer lost", testZombieUnknown},
		{"genesis", testGenesis},
		{"full stream", testFull},
		{"rewind", testRewind},
		{"ended context", testEndedContext},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			c.run(t, ctx, newEnv(t))
		})
	}
}

// claims gives "a1", "a2", ...
func claims(prefix string) func() string {
	n := 0
	return func() string { n++; return fmt.Sprint(prefix, n) }
}

// attempt appends, again while the stream names no sequence: another append of the
// subject is not through with it.
func attempt(ctx context.Context, l fence.Log, m fence.Message, prev uint64) (uint64, error) {
	for {
		seq, err := l.Append(ctx, m, prev)
		if refused := (*fence.RefusedError)(nil); !errors.As(err, &refused) || !refused.Unnamed || ctx.Err() != nil {
			return seq, err
		}
	}
}

func appendTo(t *testing.T, ctx context.Context, l fence.Log, subject string, prev uint64, data string) uint64 {
	t.Helper()
	seq, err := attempt(ctx, l, fence.Message{Subject: subject, Header: fence.Header{"K": "v"}, Data: []byte(data)}, prev)
	if err != nil {
		t.Fatalf("append %q after %d: %v", data, prev, err)
	}
	return seq
}

// wantData checks everything that the stream holds.
func wantData(t *testing.T, ctx context.Context, l fence.Log, want ...string) {
	t.Helper()
	entries, err := l.Read(ctx, streamOf, 1, 1000)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, string(e.Data))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("stored (-want +got):\n%s", diff)
	}
}

func testCompareAndSwap(t *testing.T, ctx context.Context, e Env) {
	a, b := e.Log(), e.Log()
	first := appendTo(t, ctx, a, subject, 0, "a1")
	second := appendTo(t, ctx, b, subject, first, "b1")
	appendTo(t, ctx, a, otherSubj, 0, "other")
	for _, prev := range []uint64{0, first, second + 1, second + 100} {
		_, err := attempt(ctx, a, fence.Message{Subject: subject, Data: []byte("late")}, prev)
		want := &fence.RefusedError{Subject: subject, Prev: prev, Last: second}
		if got := (*fence.RefusedError)(nil); !errors.As(err, &got) || !cmp.Equal(got, want) {
			t.Errorf("append after %d: got %v, want %v", prev, err, want)
		}
	}
	wantData(t, ctx, b, "a1", "b1", "other")
}

func testMissingHead(t *testing.T, ctx context.Context, e Env) {
	l := e.Log()
	appendTo(t, ctx, l, otherSubj, 0, "x")
	if _, err := l.Head(ctx, subject); !errors.Is(err, fence.ErrNoHead) {
		t.Errorf("head of a subject without messages: %v, want ErrNoHead", err)
	}
	w := fence.NewWriter(l, subject, claims("a"))
	if _, err := w.Load(ctx); !errors.Is(err, fence.ErrNoHead) {
		t.Errorf("load of a subject without messages: %v, want ErrNoHead", err)
	}
	_, err := attempt(ctx, l, fence.Message{Subject: subject}, 7)
	if got := (*fence.RefusedError)(nil); !errors.As(err, &got) || got.Last != 0 || got.Unnamed {
		t.Errorf("append after 7 where nothing is: %v, want a refusal that names 0", err)
	}
}

func testRoundTrip(t *testing.T, ctx context.Context, e Env) {
	l := e.Log()
	before, err := l.Info(ctx, streamOf)
	if err != nil {
		t.Fatal(err)
	}
	h := fence.Header{"Millrace-A": "1", "Millrace-B": "a b: c", "X-lower": "é"}
	data := []byte("\x00\xff\r\n{\"x\":1}\n")
	seq, err := attempt(ctx, l, fence.Message{Subject: subject, Header: h, Data: data}, 0)
	if err != nil {
		t.Fatal(err)
	}
	head, err := l.Head(ctx, subject)
	if err != nil {
		t.Fatal(err)
	}
	if head.Time < before.Created {
		t.Errorf("message at %d, before its stream was created at %d", head.Time, before.Created)
	}
	want := fence.Entry{Seq: seq, Time: head.Time, Subject: subject, Header: h, Data: data}
	if diff := cmp.Diff(want, head); diff != "" {
		t.Errorf("head (-want +got):\n%s", diff)
	}
	entries, err := l.Read(ctx, streamOf, seq, 1)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]fence.Entry{want}, entries); diff != "" {
		t.Errorf("read (-want +got):\n%s", diff)
	}
}

func testRead(t *testing.T, ctx context.Context, e Env) {
	l := e.Log()
	if got, err := l.Read(ctx, streamOf, 1, 10); len(got) != 0 || err != nil {
		t.Errorf("read of an empty stream: %d entries, %v", len(got), err)
	}
	prev := uint64(0)
	for i := range 20 {
		prev = appendTo(t, ctx, l, subject, prev, fmt.Sprint(i+1))
	}
	// Forwards in steps, back, into the middle, at the end, and once more.
	for _, step := range []struct {
		from  uint64
		most  int
		first uint64
		n     int
	}{{1, 5, 1, 5}, {6, 5, 6, 5}, {6, 5, 6, 5}, {2, 3, 2, 3}, {0, 1, 1, 1}, {15, 100, 15, 6}, {18, 100, 18, 3}, {21, 100, 0, 0}, {20, 100, 20, 1}} {
		got, err := l.Read(ctx, streamOf, step.from, step.most)
		for more := got; err == nil && len(more) > 0 && len(got) < step.n; got = append(got, more...) {
			more, err = l.Read(ctx, streamOf, step.from+uint64(len(got)), step.most-len(got))
		}
		if err != nil {
			t.Fatal(err)
		}
		if len(got) != step.n || step.n > 0 && (got[0].Seq != step.first || got[step.n-1].Seq != step.first+uint64(step.n)-1) {
			t.Errorf("read from %d, at most %d: got %d entries %v", step.from, step.most, len(got), got)
		}
	}
	// What comes later is seen from where the last read ended.
	if got, err := l.Read(ctx, streamOf, 21, 10); len(got) != 0 || err != nil {
		t.Errorf("read at the end: %d entries, %v", len(got), err)
	}
	appendTo(t, ctx, l, subject, prev, "21")
	var got []fence.Entry
	for len(got) == 0 {
		var err error
		if got, err = l.Read(ctx, streamOf, 21, 10); err != nil {
			t.Fatal(err)
		}
	}
	if got[0].Seq != 21 {
		t.Errorf("read at the end gave %d, want 21", got[0].Seq)
	}
}

func testTrim(t *testing.T, ctx context.Context, e Env) {
	l := e.Log()
	trimmer, ok := l.(fence.Trimmer)
	if !ok {
		t.Fatalf("%T is no fence.Trimmer", l)
	}
	info := func(first, last uint64) {
		t.Helper()
		got, err := l.Info(ctx, streamOf)
		if err != nil {
			t.Fatal(err)
		}
		if got.Created == 0 || got.First != first || got.Last != last {
			t.Errorf("extent %+v, want %d to %d", got, first, last)
		}
	}
	trim := func(subject string, seq uint64) {
		t.Helper()
		for range 2 { // twice does no harm
			if err := trimmer.Trim(ctx, streamOf, subject, seq); err != nil {
				t.Fatal(err)
			}
		}
	}
	info(1, 0)
	one := appendTo(t, ctx, l, subject, 0, "1")
	two := appendTo(t, ctx, l, otherSubj, 0, "2")
	one = appendTo(t, ctx, l, subject, one, "3")
	appendTo(t, ctx, l, otherSubj, two, "4")
	appendTo(t, ctx, l, subject, one, "5")
	info(1, 5)
	trim("", 0)
	trim(otherSubj, 0)
	info(1, 5)
	trim(otherSubj, 4)
	wantData(t, ctx, e.Log(), "1", "3", "4", "5")
	trim("", 4)
	info(4, 5)
	wantData(t, ctx, e.Log(), "4", "5")
	trim("", 6)
	info(6, 5)
	// The head is gone, so the fence knows nothing: that is why callers never
	// trim a subject's last message.
	if _, err := l.Head(ctx, subject); !errors.Is(err, fence.ErrNoHead) {
		t.Errorf("head after everything was trimmed: %v, want ErrNoHead", err)
	}
	if seq := appendTo(t, ctx, l, subject, 0, "6"); seq != 6 {
		t.Errorf("sequence %d was given after 5", seq)
	}
}

func testFull(t *testing.T, ctx context.Context, e Env) {
	l := e.Log()
	data := make([]byte, 128<<10)
	prev, n := uint64(0), 0
	var err error
	for ; n < 1000; n++ {
		var seq uint64
		if seq, err = attempt(ctx, l, fence.Message{Subject: subject, Data: data}, prev); err != nil {
			break
		}
		prev = seq
	}
	if !errors.Is(err, fence.ErrFull) || errors.Is(err, fence.ErrUnknown) {
		t.Fatalf("after %d appends of 128 KiB: %v, want ErrFull", n, err)
	}
	if head, err := l.Head(ctx, subject); err != nil || head.Seq != prev {
		t.Errorf("head of the full stream is %d, %v; want %d", head.Seq, err, prev)
	}
	w := fence.NewWriter(l, subject, claims("a"))
	if _, err := w.Load(ctx); err != nil {
		t.Fatal(err)
	}
	if err := w.Append(ctx, nil, data); !errors.Is(err, fence.ErrFull) {
		t.Errorf("append of a writer: %v, want ErrFull", err)
	}
	if err := w.Settle(ctx); !errors.Is(err, fence.ErrFull) {
		t.Errorf("settle while it is full: %v, want ErrFull", err)
	}
	if err := l.(fence.Trimmer).Trim(ctx, streamOf, "", prev); err != nil {
		t.Fatal(err)
	}
	if err := settle(t, ctx, w); err != nil {
		t.Errorf("settle when there is room: %v", err)
	}
}

func testRewind(t *testing.T, ctx context.Context, e Env) {
	l := e.Log()
	prev := uint64(0)
	for i := range 5 {
		prev = appendTo(t, ctx, l, subject, prev, fmt.Sprint(i))
	}
	before, err := l.Info(ctx, streamOf)
	if err != nil {
		t.Fatal(err)
	}
	w := fence.NewWriter(l, subject, claims("a"))
	if _, err := w.Load(ctx); err != nil {
		t.Fatal(err)
	}
	e.Recreate(streamOf)

	fresh := e.Log()
	after, err := fresh.Info(ctx, streamOf)
	if err != nil {
		t.Fatal(err)
	}
	if after.Created <= before.Created || after.Last != 0 {
		t.Errorf("extent after the stream was lost: %+v, before %+v", after, before)
	}
	if got, err := fresh.Read(ctx, streamOf, 4, 10); !errors.Is(err, fence.ErrRewound) {
		t.Errorf("read beyond the end: %d entries, %v; want ErrRewound", len(got), err)
	}
	err = w.Append(ctx, nil, []byte("x"))
	for errors.Is(err, fence.ErrUnknown) && ctx.Err() == nil {
		err = w.Settle(ctx)
	}
	if !errors.Is(err, fence.ErrNoHead) {
		t.Errorf("a writer whose subject was lost ends with %v, want ErrNoHead", err)
	}
}

func testEndedContext(t *testing.T, ctx context.Context, e Env) {
	l := e.Log()
	appendTo(t, ctx, l, subject, 0, "genesis")
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := l.Append(ended, fence.Message{Subject: subject}, 1); !errors.Is(err, fence.ErrUnknown) {
		t.Errorf("append: %v, want ErrUnknown", err)
	}
	if _, err := l.Head(ended, subject); err == nil || errors.Is(err, fence.ErrNoHead) {
		t.Errorf("head: %v, want the end of the context", err)
	}
	if _, err := l.Read(ended, streamOf, 1, 1); err == nil {
		t.Error("read said nothing of the end of the context")
	}
	if _, err := l.Info(ended, streamOf); err == nil {
		t.Error("info said nothing of the end of the context")
	}
}
