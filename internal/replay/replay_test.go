package replay_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dermai/millrace/archive"
	"github.com/dermai/millrace/archive/archivetest"
	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/fence/fencetest"
	"github.com/dermai/millrace/internal/replay"
	"github.com/dermai/millrace/schemas"
)

const hour = int64(time.Hour)

// filled is an archive of two streams, of which some is compacted.
func filled(t *testing.T) *archivetest.Bench {
	b := archivetest.NewBench(t)
	for i := range 9 {
		b.Put("events.0.log.api.l1", fmt.Sprintf(`{"message":"%d"}`, i))
		b.Put("events.1.log.api.l1", string(schemas.Pack(nil, fmt.Appendf(nil, "{\"message\":\"%d\"}\n%2000d", i, 0))))
		b.Put("events.0.tick", "")
		b.Log.Put(fence.Message{Subject: "events.1.log.api.l1", Data: []byte("x"), Header: fence.Header{"Nats-Msg-Id": "7", "Archive-Seq": "8", "own": "9"}})
		b.Archive(t, "EVENTS_0")
		b.Archive(t, "EVENTS_1")
		b.Now += 5 * hour
	}
	b.Compact(t)
	return b
}

// entries is what the subject holds, without sequences and times of the stream.
func entries(t *testing.T, log fence.Log) (out []fence.Entry) {
	t.Helper()
	for from := uint64(1); ; from = out[len(out)-1].Seq + 1 {
		part, err := log.Read(t.Context(), schemas.StreamReplay, from, 100)
		if err != nil {
			t.Fatal(err)
		}
		if len(part) == 0 {
			return out
		}
		for _, e := range part {
			e.Time = 0
			out = append(out, e)
		}
	}
}

// TestReplay: everything that is chosen, in order of arrival, with its position,
// times and headers.
func TestReplay(t *testing.T) {
	b := filled(t)
	log := &fencetest.Memory{}
	f := archive.Filter{Class: "telemetry", Since: archivetest.Noon + 4*hour, Until: archivetest.Noon + 40*hour}
	r, err := replay.Run(t.Context(), b.Store, log, replay.Config{Filter: f, Name: "a"})
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, m := range b.Cat(t, f) {
		if m.Payload != "" {
			want = append(want, fmt.Sprintf("%s %d %d %d %s %q %s", m.Stream, m.Seq, m.Time, m.Arrival, m.Subject, m.Payload, m.Header["own"]))
		}
	}
	got := map[string]bool{}
	last := int64(0)
	for _, e := range entries(t, log) {
		payload, err := schemas.Unpack(nil, e.Data, schemas.FrameDecoded)
		if err != nil {
			t.Fatal(err)
		}
		h := e.Header
		got[fmt.Sprintf("%s %s %s %s %s %q %s", h[replay.HeaderStream], h[replay.HeaderSeq], h[replay.HeaderTime], h[replay.HeaderArrival],
			h[replay.HeaderSubject], payload, h["own"])] = true
		arrival, err := strconv.ParseInt(h[replay.HeaderArrival], 10, 64)
		if err != nil || arrival < last {
			t.Errorf("%v comes after an arrival at %d, %v", h, last, err)
		}
		last = arrival
		if h["own"] != "" && (h["Archive-Nats-Msg-Id"] != "7" || h["Archive-Archive-Seq"] != "8" || h["Nats-Msg-Id"] != "") {
			t.Errorf("headers %v", h)
		}
	}
	for _, w := range want {
		if !got[w] {
			t.Errorf("not replayed: %.200s", w)
		}
	}
	if len(got) != len(want) || len(want) < 15 || r.Appended != uint64(len(want)) {
		t.Errorf("%d replayed of %d, %+v", len(got), len(want), r)
	}
}

// TestResume: whatever becomes of appends, running it again until it ends gives
// the same content; and so does running it once more, and compacting in between.
func TestResume(t *testing.T) {
	b := filled(t)
	f := archive.Filter{Class: "telemetry", Until: archivetest.Noon + 47*hour}
	whole := &fencetest.Memory{}
	if _, err := replay.Run(t.Context(), b.Store, whole, replay.Config{Filter: f, Name: "a"}); err != nil {
		t.Fatal(err)
	}
	want := entries(t, whole)
	n := 0
	log := &fencetest.Memory{Fault: func(fence.Message) fencetest.Fault {
		n++
		return []fencetest.Fault{fencetest.None, fencetest.LoseAnswer, fencetest.LoseAppend, fencetest.None, fencetest.Full, fencetest.Refuse}[n%6]
	}}
	runs := 0
	for ; ; runs++ {
		if runs == 10 {
			b.Now += int64(97 * time.Hour)
			b.Compact(t)
		}
		if _, err := replay.Run(t.Context(), b.Store, log, replay.Config{Filter: f, Name: "a"}); err == nil {
			break
		}
	}
	if diff := cmp.Diff(want, entries(t, log)); diff != "" || runs < 12 {
		t.Errorf("after %d runs (-want +got):\n%s", runs, diff)
	}
	log.Fault = nil
	r, err := replay.Run(t.Context(), b.Store, log, replay.Config{Filter: f, Name: "a"})
	if err != nil || r.Appended != 0 || r.Skipped != uint64(len(want)) {
		t.Errorf("once more: %+v, %v", r, err)
	}
	// Another choice under the name is refused.
	f.Until--
	if _, err := replay.Run(t.Context(), b.Store, log, replay.Config{Filter: f, Name: "a"}); err == nil {
		t.Error("another choice under the same name was taken")
	}
}

// TestSpeed: arrivals go by as they did, ten times as fast.
func TestSpeed(t *testing.T) {
	b := filled(t)
	now, waited := time.Unix(0, 0), time.Duration(0)
	f := archive.Filter{Class: "telemetry", Until: archivetest.Noon + 11*hour}
	_, err := replay.Run(t.Context(), b.Store, &fencetest.Memory{}, replay.Config{
		Filter: f, Name: "a", Speed: 10, Now: func() time.Time { return now },
		Wait: func(_ context.Context, d time.Duration) error { now, waited = now.Add(d), waited+d; return nil },
	})
	if want := time.Hour; err != nil || waited.Round(time.Second) != want {
		t.Errorf("ten hours took %s, %v; want %s", waited, err, want)
	}
	stop := errors.New("stop")
	_, err = replay.Run(t.Context(), b.Store, &fencetest.Memory{}, replay.Config{
		Filter: f, Name: "a", Speed: 1, Now: func() time.Time { return now }, Wait: func(context.Context, time.Duration) error { return stop },
	})
	if !errors.Is(err, stop) {
		t.Errorf("a wait that ends: %v", err)
	}
}
