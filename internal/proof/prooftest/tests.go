package prooftest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dermai/millrace/archive/archivetest"
	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/internal/proof"
)

// NothingMissing proves with everything in its place, in objects, in segments and
// not archived yet, nothing is found, and the sums are right.
func NothingMissing(t *testing.T, on *archivetest.Bench) {
	t.Helper()
	b := New(on)
	for range 4 {
		b.Send("web", "a", 3)
		b.Send("audited", "x", 2)
		b.Send("shop", "b", 2)
		b.ArchiveAll(t)
	}
	b.End("web", "a")
	b.CompactAll(t, true)
	if l0, l1 := len(b.Keys(t, "l0/telemetry/")), len(b.Keys(t, "l1/telemetry/")); l0 != 1 || l1 != 3 {
		t.Errorf("%d objects and %d segments, want 1 and 3", l0, l1)
	}
	b.Send("shop", "b", 5)
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
		{"the archive alone", Alone, []proof.Stream{
			{Stream: "AUDIT", Messages: 8, Archived: 8, Frames: 8, Events: 16},
			{Stream: "EVENTS_0", Messages: 20, Archived: 20, Frames: 20, Events: 40},
		}},
	} {
		r := b.Run(t, c.change)
		if !r.OK() {
			t.Errorf("%s: %q", c.name, Said(r))
		}
		if diff := cmp.Diff(c.want, r.Streams); diff != "" {
			t.Errorf("%s: streams (-want +got):\n%s", c.name, diff)
		}
	}
	r := b.Run(t, nil)
	var open []string
	for _, l := range r.Lanes {
		open = append(open, l.String())
	}
	if r.Complete != 1 || len(open) != 2 {
		t.Errorf("%d complete, open %q", r.Complete, open)
	}
}

// Three is an archive of EVENTS_0 in three objects of six frames, the odd
// sequences of lane web.a and the even ones of shop.b. keys are the objects.
func Three(t *testing.T, on *archivetest.Bench) (b *Bench, keys []string) {
	b = New(on)
	for range 3 {
		for range 3 {
			b.Send("web", "a", 1)
			b.Send("shop", "b", 1)
		}
		b.ArchiveAll(t)
	}
	keys = b.Keys(t, "l0/telemetry/")
	if len(keys) != 3 {
		t.Fatalf("%d objects, want 3", len(keys))
	}
	return b, keys
}

// Damage proves that whatever is done to the archive, its place is named, and the lanes
// say which frames are gone.
func Damage(t *testing.T, empty func(*testing.T) *archivetest.Bench) {
	t.Helper()
	a, s := "events.0.log.web.a", "events.0.log.shop.b"
	for _, c := range []struct {
		name   string
		do     func(t *testing.T, b *Bench, keys []string)
		frames []string // that are named
		also   []string // what the other findings begin with; KEY1 is the first object's key
	}{
		{"nothing", func(*testing.T, *Bench, []string) {}, nil, nil},
		{"an object is removed", func(t *testing.T, b *Bench, keys []string) { b.Remove(t, keys[1]) },
			[]string{s + "#4", s + "#5", s + "#6", a + "#4", a + "#5", a + "#6"},
			[]string{"archive: KEY3: sequence 7: the sequences 7 to 12 before it are in no object"}},
		{"three messages are removed, and the chain forged", func(t *testing.T, b *Bench, keys []string) {
			b.Rewrite(t, keys[2], func(e *fence.Entry) bool { return e.Seq < 14 || e.Seq > 16 })
		}, []string{s + "#7", s + "#8", a + "#8"},
			[]string{"lost: EVENTS_0: sequences 14 to 16 are missing: deleted before archived"}},
		{"an event is removed from a frame, and the chain forged", func(t *testing.T, b *Bench, keys []string) {
			b.Rewrite(t, keys[2], func(e *fence.Entry) bool {
				if e.Seq == 15 {
					e.Data = []byte(Event("web", 1))
				}
				return true
			})
		}, []string{a + "#8"}, nil},
		{"a byte is changed", func(t *testing.T, b *Bench, keys []string) {
			b.Damage(t, keys[1], func(body []byte) []byte { body[len(body)/3] ^= 1; return body })
		}, []string{s + "#5", s + "#6", a + "#5", a + "#6"}, []string{"archive: KEY2: sequence 9: corrupt at byte "}},
		{"two objects are swapped", func(t *testing.T, b *Bench, keys []string) {
			second, third := b.get(t, keys[1]), b.get(t, keys[2])
			b.Damage(t, keys[1], func([]byte) []byte { return third })
			b.Damage(t, keys[2], func([]byte) []byte { return second })
		}, nil, []string{"archive: KEY2: sequence 7: its index", "archive: KEY3: sequence 13: a ghost"}},
		{"an object is there twice", func(t *testing.T, b *Bench, keys []string) {
			b.put(t, again(keys[1]), b.get(t, keys[1]))
		}, nil, []string{"archive: KEY2+1: sequence 8: a ghost"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, keys := Three(t, empty(t))
			c.do(t, b, keys)
			r := b.Run(t, Alone)
			if diff := cmp.Diff(c.frames, Missing(r)); diff != "" {
				t.Errorf("frames (-want +got):\n%s", diff)
			}
			var others []string
			for _, f := range Said(r) {
				if !strings.HasPrefix(f, proof.Frames) {
					for i, key := range keys {
						f = strings.Replace(f, key, fmt.Sprintf("KEY%d", i+1), 1)
					}
					f = strings.Replace(f, again(keys[1]), "KEY2+1", 1)
					others = append(others, f)
				}
			}
			ok := len(others) == len(c.also)
			for i := range min(len(others), len(c.also)) {
				ok = ok && strings.HasPrefix(others[i], c.also[i])
			}
			if !ok {
				t.Errorf("others:\n got %q\nwant %q", others, c.also)
			}
		})
	}
}

// again is the key one sequence behind that of the second object.
func again(key string) string { return strings.Replace(key, "0007.", "0008.", 1) }
