package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/dermai/millrace/pipeline"
	"github.com/dermai/millrace/pipeline/pipelinetest"
	"github.com/dermai/millrace/schemas"
)

// quarantined lists every item.
func quarantined(t *testing.T, c *pipeline.Conn) []pipeline.QuarantineEntry {
	t.Helper()
	items, err := pipeline.NewQuarantine(c).List(t.Context(), 0, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	return items
}

// redriveAll redrives every item, up to most, and tells how many were new.
func redriveAll(t *testing.T, c *pipeline.Conn, most int) int {
	t.Helper()
	n := 0
	for i, item := range quarantined(t, c) {
		if i == most {
			break
		}
		again, err := pipeline.NewQuarantine(c).Redrive(t.Context(), item, false)
		if err != nil {
			t.Fatal(err)
		}
		if again {
			n++
		}
	}
	return n
}

// once checks that the n numbered messages were handled once each.
func once(t *testing.T, messages []string, n int) {
	t.Helper()
	times := map[string]int{}
	for _, m := range messages {
		times[m]++
	}
	for _, m := range numbered(n) {
		if times[m] != 1 {
			t.Errorf("%s was handled %d times, want once", m, times[m])
		}
	}
	if len(times) != n {
		t.Errorf("%d events were handled, want %d", len(times), n)
	}
}

// TestRedriveToConsumer mends a consumer that refused a thousand events.
func TestRedriveToConsumer(t *testing.T) {
	const n = 1000
	s, c := deploy(t)
	publish(t, c, "shop", numbered(n)...)
	var mended atomic.Bool
	var got, other seen
	consuming(t, all(c, "other"), other.handle)
	stop := consuming(t, all(c, "picky"), func(_ context.Context, d pipeline.Delivery) error {
		if !mended.Load() {
			return refused{}
		}
		got.add(d)
		return nil
	})
	s.Settled(t, "picky")
	if items := quarantined(t, c); len(items) != n {
		t.Fatalf("%d items in quarantine, want %d", len(items), n)
	}
	mended.Store(true)
	if again := redriveAll(t, c, n/2); again != n/2 {
		t.Errorf("%d were redriven, want the first half", again)
	}
	s.Settled(t, "picky")
	stop() // and a new process, in the middle
	consuming(t, all(s.Connect(t), "picky"), got.handle)
	if again := redriveAll(t, c, n); again != n/2 {
		t.Errorf("%d were redriven, want the second half", again)
	}
	s.Settled(t, "picky")
	if again := redriveAll(t, c, n); again != 0 {
		t.Errorf("%d were redriven twice", again)
	}
	s.Settled(t, "picky")
	s.Settled(t, "other")
	once(t, got.messages(), n)
	once(t, other.messages(), n)
	for _, d := range got.list {
		if d.Redriven != 1 || !strings.HasPrefix(d.Position.String(), "EVENTS_") {
			t.Fatalf("%+v: want one redrive of an event at its first position", d)
		}
	}
}

// TestRedriveEvents gives back a thousand events that a stage refused, in the
// middle of which the broker is killed.
func TestRedriveEvents(t *testing.T) {
	const n = 1000
	p := pipelinetest.StartProcess(t)
	c := connectURL(t, p.URL())
	if _, err := pipeline.Apply(t.Context(), c, pipeline.Layout{Partitions: 2}, false); err != nil {
		t.Fatal(err)
	}
	q := pipeline.NewQuarantine(c)
	for i := range n {
		// Refused by an engine that did not know the form; this one does.
		err := q.Put(t.Context(), schemas.Quarantined{
			ID: fmt.Sprintf("EVENTS_1/%d/0", i+1), Stage: schemas.StageReduce, Reason: "unknown form", Stream: "EVENTS_1", Seq: uint64(i + 1),
			Subject: "events.1.log.shop.LANE", Data: fmt.Appendf(nil, `{"level":"INFO","message":"%d"}`, i),
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	items := quarantined(t, c)
	killed := false
	for pass := range 2 {
		again := 0
		for i, item := range items {
			if i == n/2 && !killed {
				killed = true
				go p.Kill(t)
			}
			pipelinetest.Within(t, "redrive in spite of the kill", func() bool {
				stored, err := q.Redrive(t.Context(), item, false)
				if permanent := (*pipeline.NotRedrivenError)(nil); errors.As(err, &permanent) {
					t.Fatal(err)
				}
				if stored {
					again++
				}
				return err == nil
			})
		}
		if pass == 1 && again != 0 {
			t.Errorf("the second pass redrove %d items", again)
		}
	}
	var got seen
	consuming(t, all(c, "check"), got.handle)
	pipelinetest.Within(t, "get the events", func() bool { return got.len() >= n })
	once(t, got.messages(), n)
	for _, d := range got.list {
		if d.Event.Service != "shop" || d.Position.Stream != "EVENTS_1" {
			t.Fatalf("%+v: want an event of shop in its partition", d)
		}
	}
}

func TestRedriveRefuses(t *testing.T) {
	_, c := deploy(t)
	q := pipeline.NewQuarantine(c)
	long := `{"level":"INFO","message":"` + strings.Repeat("x", 100<<10) + `"}`
	for name, it := range map[string]struct {
		item schemas.Quarantined
		want string
	}{
		"malformed":  {schemas.Quarantined{Stage: "reduce", Subject: "ingest.log.shop", Data: []byte("no event")}, "event 0 still cannot be read"},
		"no service": {schemas.Quarantined{Stage: "publish", Data: []byte(`{"level":"INFO","message":"x"}`)}, "event 0 still cannot be read"},
		"loop":       {schemas.Quarantined{Stage: "reduce", Subject: "ingest.log.shop", Data: []byte(`{"level":"INFO","message":"x"}`), Redriven: 3}, "it came back 3 times"},
		"cut":        {schemas.Quarantined{Stage: "publish", Data: []byte(long)[:1000], Size: len(long)}, "only 1000 of its 102429 bytes were kept; publish it anew"},
		"gone":       {schemas.Quarantined{Stage: "reduce", Stream: "EVENTS_0", Seq: 99, Data: []byte(long)[:1000], Size: len(long)}, "message 99 of EVENTS_0 has the others no more"},
		"stage":      {schemas.Quarantined{Stage: "decide", Data: []byte("x")}, "nothing takes items of stage"},
		"consumer":   {schemas.Quarantined{Stage: "consume", Data: []byte("x"), Consumer: "a.>"}, "has no name"},
		"receiver":   {schemas.Quarantined{Stage: "send", Data: []byte(`{"id":"x","receiver":"a.b"}`)}, "has no name"},
	} {
		t.Run(name, func(t *testing.T) {
			it.item.ID, it.item.Size = name, max(it.item.Size, len(it.item.Data))
			again, err := q.Redrive(t.Context(), pipeline.QuarantineEntry{Quarantined: it.item}, false)
			permanent := (*pipeline.NotRedrivenError)(nil)
			if again || !errors.As(err, &permanent) || !strings.Contains(err.Error(), it.want) {
				t.Errorf("%v, %v; want a refusal: %s", again, err, it.want)
			}
		})
	}
	looped := schemas.Quarantined{ID: "l", Stage: "reduce", Subject: "ingest.log.shop", Data: []byte(`{"level":"INFO","message":"x"}`), Redriven: 3}
	if again, err := q.Redrive(t.Context(), pipeline.QuarantineEntry{Quarantined: looped}, true); !again || err != nil {
		t.Errorf("forced: %v, %v", again, err)
	}
}

// TestRedriveCut takes the bytes that were not copied from where they are.
func TestRedriveCut(t *testing.T) {
	s, c := deploy(t)
	text := strings.Repeat("x", 100<<10)
	publish(t, c, "shop", "short", text)
	mended := false
	var got seen
	consuming(t, all(c, "picky"), func(_ context.Context, d pipeline.Delivery) error {
		if !mended && len(d.Event.Message) > 100 {
			mended = true
			return refused{}
		}
		return got.handle(t.Context(), d)
	})
	s.Settled(t, "picky")
	if items := quarantined(t, c); len(items) != 1 || len(items[0].Data) != schemas.QuarantineBytes || items[0].Size < len(text) {
		t.Fatalf("want one item that is cut, got %d", len(items))
	}
	redriveAll(t, c, 1)
	pipelinetest.Within(t, "get it whole", func() bool { return got.len() == 2 })
	if got.messages()[1] != text {
		t.Errorf("got %d bytes", len(got.messages()[1]))
	}
}
