package fence_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/fence/fencetest"
	"github.com/google/go-cmp/cmp"
)

const (
	laneSubject = "events.0.log.shop.l1"
	limit       = 36 * time.Hour
)

// faulty is a log whose next appends meet the given faults.
func faulty(faults ...fencetest.Fault) *fencetest.Memory {
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

func contents(t *testing.T, m *fencetest.Memory) []string {
	t.Helper()
	entries, err := m.Read(t.Context(), "EVENTS_0", 1, 10000)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, string(e.Data))
	}
	return out
}

func TestLane(t *testing.T) {
	const (
		none, lose, lost    = fencetest.None, fencetest.LoseAppend, fencetest.LoseAnswer
		delay, refuse, nope = fencetest.Delay, fencetest.Refuse, fencetest.Full
		unknown, full       = "unknown", "full"
	)
	for _, tt := range []struct {
		name   string
		faults []fencetest.Fault // of the attempts to store frame 2
		says   []string          // Append, then Settle
	}{
		{"plain", []fencetest.Fault{none}, []string{"stored"}},
		{"append lost", []fencetest.Fault{lose, none}, []string{unknown, "stored"}},
		{"answer lost", []fencetest.Fault{lost, none}, []string{unknown, "stored"}},
		{"answers lost", []fencetest.Fault{lost, lost, lost, none}, []string{unknown, unknown, unknown, "stored"}},
		{"lost, then answer lost", []fencetest.Fault{lose, lost, none}, []string{unknown, unknown, "stored"}},
		{"full", []fencetest.Fault{nope}, []string{full}},
		{"answer lost, then full", []fencetest.Fault{lost, nope, none}, []string{unknown, unknown, "stored"}},
		{"lost, then full", []fencetest.Fault{lose, nope, none}, []string{unknown, unknown, "stored"}},
		{"answer lost, refusal names nothing", []fencetest.Fault{lost, refuse, none}, []string{unknown, unknown, "stored"}},
		{"refusal names nothing", []fencetest.Fault{refuse, none}, []string{unknown, "stored"}},
		{"delayed", []fencetest.Fault{delay, none}, []string{unknown, "stored"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ctx := t.Context()
			m := faulty(append([]fencetest.Fault{none}, tt.faults...)...)
			l := fence.NewLane(m, laneSubject, limit)
			if err := l.Append(ctx, nil, []byte("1"), 1); err != nil {
				t.Fatal(err)
			}
			m.Put(fence.Message{Subject: "events.0.log.shop.other", Data: []byte("foreign")})
			err := l.Append(ctx, fence.Header{"H": "1"}, []byte("2"), 2)
			for i := range tt.says {
				if got := says(err); got != tt.says[i] {
					t.Fatalf("attempt %d: %v, want %s", i+1, err, tt.says[i])
				}
				if l.Unsettled() != (tt.says[i] == unknown) {
					t.Errorf("attempt %d: unsettled %t after %s", i+1, l.Unsettled(), tt.says[i])
				}
				if i+1 < len(tt.says) {
					err = l.Settle(ctx, int64(3+i))
				}
			}
			want := []string{"1", "foreign"}
			if err == nil {
				want = append(want, "2")
			}
			if next := uint64(len(want)); l.Next() != next {
				t.Errorf("next frame is %d, want %d", l.Next(), next)
			}
			// What was on its way arrives now, and changes nothing.
			for m.Delayed() > 0 {
				if m.Deliver(0) {
					t.Error("a late attempt was stored too")
				}
			}
			if err := l.Append(ctx, nil, []byte("3"), 10); err != nil {
				t.Errorf("the next frame: %v", err)
			}
			if diff := cmp.Diff(append(want, "3"), contents(t, m)); diff != "" {
				t.Errorf("stored (-want +got):\n%s", diff)
			}
		})
	}
}

func says(err error) string {
	switch {
	case err == nil:
		return "stored"
	case errors.Is(err, fence.ErrUnknown):
		return "unknown"
	case errors.Is(err, fence.ErrFull):
		return "full"
	}
	return "error"
}

// ended checks that a lane takes nothing more.
func ended(t *testing.T, l *fence.Lane, why error) {
	t.Helper()
	if l.Unsettled() {
		t.Error("a frame is still in flight")
	}
	if err := l.Append(t.Context(), nil, []byte("more"), 1e18); !errors.Is(err, why) {
		t.Errorf("append to a lane that has ended: %v, want %v", err, why)
	}
}

// A lane whose name somebody else has is left, and nothing is taken for ours.
func TestLaneFenced(t *testing.T) {
	ctx := t.Context()
	for _, before := range []int{0, 1} {
		m := faulty()
		l := fence.NewLane(m, laneSubject, limit)
		for range before {
			if err := l.Append(ctx, nil, []byte("ours"), 1); err != nil {
				t.Fatal(err)
			}
		}
		m.Put(fence.Message{Subject: laneSubject, Data: []byte("theirs")})
		if err := l.Append(ctx, nil, []byte("x"), 2); !errors.Is(err, fence.ErrFenced) {
			t.Errorf("after %d frames: %v, want ErrFenced", before, err)
		}
		ended(t, l, fence.ErrFenced)
	}
}

// A head that is gone, or older than what was acknowledged, is an incident.
func TestLaneIncident(t *testing.T) {
	ctx := t.Context()
	for name, lose := range map[string]func(*fencetest.Memory){
		"the head is gone": func(m *fencetest.Memory) { m.Recreate("EVENTS_0") },
		"the tail is gone": func(m *fencetest.Memory) { m.Rewind("EVENTS_0", 1) },
		"it was trimmed":   func(m *fencetest.Memory) { m.Trim(ctx, "EVENTS_0", "", 3) },
	} {
		for _, f := range []fencetest.Fault{fencetest.None, fencetest.LoseAppend} {
			m := faulty(fencetest.None, fencetest.None, f)
			l := fence.NewLane(m, laneSubject, limit)
			for i := range int64(2) {
				if err := l.Append(ctx, nil, []byte("x"), i); err != nil {
					t.Fatal(err)
				}
			}
			lose(m)
			err := l.Append(ctx, nil, []byte("y"), 3)
			if errors.Is(err, fence.ErrUnknown) {
				err = l.Settle(ctx, 4)
			}
			if !fence.IsIncident(err) || !strings.Contains(err.Error(), laneSubject) {
				t.Errorf("%s, fault %d: %v, want an incident that names the subject", name, f, err)
			}
			if open := f != fencetest.None; errors.Is(err, fence.ErrGivenUp) != open {
				t.Errorf("%s, fault %d: %v: says that the outcome is open: %t, want %t", name, f, err, !open, open)
			}
		}
	}
}

// Nothing is sent again once it is older than the limit: the head that would
// refuse it may have been removed.
func TestLaneGivesUp(t *testing.T) {
	ctx := t.Context()
	m := faulty(fencetest.LoseAnswer, fencetest.LoseAppend)
	l := fence.NewLane(m, laneSubject, limit)
	if err := l.Append(ctx, nil, []byte("x"), 0); !errors.Is(err, fence.ErrUnknown) {
		t.Fatal(err)
	}
	if err := l.Settle(ctx, int64(limit)); !errors.Is(err, fence.ErrUnknown) || errors.Is(err, fence.ErrGivenUp) {
		t.Fatalf("at the limit: %v", err)
	}
	if err := m.Trim(ctx, "EVENTS_0", "", 2); err != nil { // the archiver took it
		t.Fatal(err)
	}
	if err := l.Settle(ctx, int64(limit)+1); !errors.Is(err, fence.ErrGivenUp) {
		t.Errorf("beyond the limit: %v, want ErrGivenUp", err)
	}
	if got := contents(t, m); got != nil {
		t.Errorf("stored again after the limit: %q", got)
	}
	ended(t, l, fence.ErrGivenUp)

	// A frame that was certainly not stored leaves the lane in order.
	m = faulty(fencetest.Refuse)
	l = fence.NewLane(m, laneSubject, limit)
	if err := l.Append(ctx, nil, []byte("x"), 0); !errors.Is(err, fence.ErrUnknown) {
		t.Fatal(err)
	}
	if err := l.Settle(ctx, int64(limit)+1); err == nil || errors.Is(err, fence.ErrGivenUp) || l.Unsettled() {
		t.Errorf("a frame that was never taken: %v", err)
	}
	if err := l.Append(ctx, nil, []byte("y"), int64(limit)+2); err != nil {
		t.Error(err)
	}
}

// final refuses everything for good.
type final struct{}

func (final) Append(context.Context, fence.Message, uint64) (uint64, error) {
	return 0, errors.New("too large")
}

func TestLaneFinalError(t *testing.T) {
	l := fence.NewLane(final{}, laneSubject, limit)
	if err := l.Append(t.Context(), nil, nil, 1); err == nil || l.Unsettled() || l.Next() != 1 {
		t.Errorf("%v, unsettled %t, next %d: want the error, and the lane as before", err, l.Unsettled(), l.Next())
	}
}

// However appends and answers are lost, late and refused, every frame that a
// lane reports as stored is there once, in order, and none that it does not
// report.
func TestLaneRandom(t *testing.T) {
	ctx := t.Context()
	settled := 0
	for seed := range uint64(2000) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		m := &fencetest.Memory{Fault: func(fence.Message) fencetest.Fault {
			if rnd.IntN(2) == 0 {
				return fencetest.None
			}
			return fencetest.Fault(rnd.IntN(int(fencetest.Full) + 1))
		}}
		l := fence.NewLane(m, laneSubject, limit)
		var want []string
		for i := range 20 {
			data := fmt.Sprint(i)
			err := l.Append(ctx, nil, []byte(data), int64(i))
			for errors.Is(err, fence.ErrUnknown) {
				settled++
				if n := m.Delayed(); n > 0 && rnd.IntN(2) == 0 {
					m.Deliver(rnd.IntN(n))
				}
				err = l.Settle(ctx, int64(i))
			}
			switch {
			case err == nil:
				want = append(want, data)
			case !errors.Is(err, fence.ErrFull):
				t.Fatalf("seed %d: %v", seed, err)
			}
		}
		for m.Delayed() > 0 {
			if m.Deliver(0) {
				t.Fatalf("seed %d: a late attempt was stored", seed)
			}
		}
		if diff := cmp.Diff(want, contents(t, m)); diff != "" {
			t.Fatalf("seed %d: stored (-reported +there):\n%s", seed, diff)
		}
		if l.Next() != uint64(len(want))+1 {
			t.Fatalf("seed %d: next is %d after %d frames", seed, l.Next(), len(want))
		}
	}
	if settled < 1000 {
		t.Errorf("only %d unknown outcomes were met", settled)
	}
}
