package proof_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dermai/millrace/internal/proof"
)

// TestNothingMissing: with everything in its place, in objects, in segments and
// not archived yet, nothing is found, and the sums are right.
func TestNothingMissing(t *testing.T) {
	b := newBench(t)
	for range 4 {
		b.send("web", "a", 3)
		b.send("audited", "x", 2)
		b.send("shop", "b", 2)
		b.archive(t)
	}
	b.end("web", "a")
	b.compact(t, true)
	if l0, l1 := len(b.objects(t, "l0/telemetry/")), len(b.objects(t, "l1/telemetry/")); l0 != 1 || l1 != 3 {
		t.Errorf("%d objects and %d segments, want 1 and 3", l0, l1)
	}
	b.send("shop", "b", 5)
	for _, c := range []struct {
		name   string
		change func(*proof.Config)
		want   []proof.Stream
	}{
		{"with the broker", nil, []proof.Stream{
			{Stream: "ALERTS"},
			{Stream: "AUDIT", Messages: 8, Archived: 8, Frames: 8, Events: 16},
			{Stream: "CONTROL"},
			{Stream: "EVENTS_0", Messages: 26, Archived: 20, Waiting: 6, Frames: 26, Events: 50},
		}},
		{"the archive alone", alone, []proof.Stream{
			{Stream: "AUDIT", Messages: 8, Archived: 8, Frames: 8, Events: 16},
			{Stream: "EVENTS_0", Messages: 20, Archived: 20, Frames: 20, Events: 40},
		}},
	} {
		r := b.run(t, c.change)
		if !r.OK() {
			t.Errorf("%s: %q", c.name, said(r))
		}
		if diff := cmp.Diff(c.want, r.Streams); diff != "" {
			t.Errorf("%s: streams (-want +got):\n%s", c.name, diff)
		}
	}
	r := b.run(t, nil)
	var open []string
	for _, l := range r.Lanes {
		open = append(open, l.String())
	}
	if r.Complete != 1 || len(open) != 2 {
		t.Errorf("%d complete, open %q", r.Complete, open)
	}
}
