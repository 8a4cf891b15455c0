package archive_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"github.com/dermai/millrace/archive"
)

// numbered puts messages that say when they were put.
func (b *bench) numbered(names ...string) {
	for _, n := range names {
		b.put(eventSubject, fmt.Sprintf("{\"n\":%q}\n", n))
	}
}

// trim takes away what the stream has below a sequence.
func (b *bench) trim(tb testing.TB, seq uint64) {
	tb.Helper()
	if err := b.log.Trim(tb.Context(), "EVENTS_0", "", seq); err != nil {
		tb.Fatal(err)
	}
}

// told gives the messages of the archive, as generation or lost tail, sequence and name.
func (b *bench) told(tb testing.TB) []string {
	tb.Helper()
	var out []string
	for _, r := range b.cat(tb, archive.Filter{}) {
		generation := fmt.Sprint(r.Epoch.Generation)
		if r.Epoch.Lost > 0 {
			generation = fmt.Sprint("lost", r.Epoch.Lost)
		}
		out = append(out, fmt.Sprintf("%s/%d %.1s", generation, r.Seq, string(r.Payload[6:])))
	}
	return out
}

func wantTold(tb testing.TB, b *bench, want ...string) {
	tb.Helper()
	if diff := cmp.Diff(want, b.told(tb)); diff != "" {
		tb.Errorf("messages (-want +got):\n%s", diff)
	}
}

func TestArchiverStopsAtRewind(t *testing.T) {
	for _, test := range []struct {
		name  string
		after []string // what the stream gets after it lost everything but a
	}{
		{"shorter", nil},
		{"as long", []string{"x", "y"}},
		{"longer", []string{"x", "y", "z"}},
	} {
		for _, restart := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, restart %v", test.name, restart), func(t *testing.T) {
				b := newBench(t)
				a := b.archiver(t, archive.Config{})
				b.numbered("a", "b", "c")
				mustFlush(t, a)
				before := b.objects(t)
				b.log.Rewind("EVENTS_0", 1)
				b.numbered(test.after...)
				if restart {
					a = b.archiver(t, archive.Config{})
				} else if test.name == "as long" {
					b.numbered("z") // noticed with the next message
				}
				for range 2 { // and stays stopped
					wantIncident(t, drain(t.Context(), a), "rewound")
				}
				b.wantObjects(t, before...)
			})
		}
	}
}

// TestArchiverOpensNextGeneration: each message that the stream ever accepted is
// in the archive once: the lost ones in the old generation, the common ones only
// there, the new ones in the new generation.
func TestArchiverOpensNextGeneration(t *testing.T) {
	b := newBench(t)
	a := b.archiver(t, archive.Config{NextGeneration: true})
	old := b.archiver(t, archive.Config{})
	b.numbered("a", "b", "c")
	mustFlush(t, a)
	b.numbered("d")
	mustDrain(t, a) // d is nowhere but in the stream, which loses it, and in a's memory
	mustDrain(t, old)
	b.log.Rewind("EVENTS_0", 2)
	b.numbered("x", "y", "z")
	wantIncident(t, drain(t.Context(), old), "rewound")
	mustFlush(t, a)
	want := []string{"0/1 a", "0/2 b", "0/3 c", "0/4 d", "1/3 x", "1/4 y", "1/5 z"}
	wantTold(t, b, want...)
	r := b.verify(t)
	if diff := cmp.Diff([]archive.Missing{{From: 1, To: 2, Reason: archive.MissingGeneration}}, r.Chains[1].Missing); diff != "" {
		t.Errorf("missing in generation 1 (-want +got):\n%s", diff)
	}
	// Others, also those that were not told, go on in the generation that is there.
	b.numbered("w")
	mustFlush(t, b.archiver(t, archive.Config{}))
	mustFlush(t, old)
	wantTold(t, b, append(want, "1/6 w")...)

	b.log.Rewind("EVENTS_0", 0)
	b.numbered("1", "2")
	mustFlush(t, b.archiver(t, archive.Config{NextGeneration: true}))
	wantTold(t, b, append(want, "1/6 w", "2/1 1", "2/2 2")...)
	b.verify(t)
}

// TestOneArchiverDeclaresGeneration: whoever declares a generation first decides
// where the one before ends; others go on by that, told to or not, and store what
// they alone still hold of the old generation.
func TestOneArchiverDeclaresGeneration(t *testing.T) {
	b := newBench(t)
	first := b.archiver(t, archive.Config{NextGeneration: true})
	second := b.archiver(t, archive.Config{NextGeneration: true})
	third := b.archiver(t, archive.Config{})
	b.numbered("a", "b", "c")
	mustFlush(t, first)
	mustDrain(t, third)
	b.numbered("d")
	mustDrain(t, second) // d is in its memory alone, once the stream has lost it
	b.log.Rewind("EVENTS_0", 2)
	b.numbered("x", "y", "z")
	mustDrain(t, first) // declares, and has not stored anything of the generation yet
	mustFlush(t, second)
	mustFlush(t, third)
	mustFlush(t, first)
	mustFlush(t, b.archiver(t, archive.Config{}))
	wantTold(t, b, "0/1 a", "0/2 b", "0/3 c", "0/4 d", "1/3 x", "1/4 y", "1/5 z")
	b.verify(t)

	// A declaration that hangs on nothing is found.
	for o, err := range b.store.List(t.Context(), "generation/", "") {
		must(t, err)
		must(t, os.WriteFile(filepath.Join(b.dir, filepath.FromSlash(o.Key)), []byte(`{"format":1,"prev":"00"}`), 0o600))
	}
	if got := fmt.Sprint(b.problems(t, archive.Options{})); !strings.Contains(got, "declared") {
		t.Errorf("problems %s; want one with the declaration", got)
	}
}

func TestArchiverBeginsAnotherEpoch(t *testing.T) {
	b := newBench(t)
	var said strings.Builder
	a := b.archiver(t, archive.Config{Log: zerolog.New(&said)})
	b.numbered("a", "b")
	mustFlush(t, a)
	b.numbered("c")
	mustDrain(t, a)
	b.now += int64(time.Second)
	b.log.Recreate("EVENTS_0")
	b.numbered("x")
	mustFlush(t, a)
	wantTold(t, b, "0/1 a", "0/2 b", "0/3 c", "0/1 x")
	if r := b.verify(t); len(r.Chains) != 2 {
		t.Errorf("%d chains, want 2", len(r.Chains))
	}
	if n := strings.Count(said.String(), "made again"); n != 1 {
		t.Errorf("it says %d times that the stream was made again, want once:\n%s", n, said.String())
	}
}

func TestTrim(t *testing.T) {
	b := newBench(t)
	covered, fault := uint64(0), error(nil)
	trim := &archive.Trim{Trimmer: b.log, Covered: func(context.Context) (uint64, error) { return covered, fault }}
	a := b.archiver(t, archive.Config{Trim: trim})
	first := func() uint64 {
		t.Helper()
		b.now += int64(time.Minute)
		mustDrain(t, a)
		info, err := b.log.Info(t.Context(), "EVENTS_0")
		if err != nil {
			t.Fatal(err)
		}
		return info.First
	}
	want := func(what string, seq uint64) {
		t.Helper()
		if got := first(); got != seq {
			t.Errorf("%s: the stream begins at %d, want %d", what, got, seq)
		}
	}
	b.numbered("a", "b", "c")
	mustFlush(t, a)
	b.numbered("d", "e", "f")
	mustFlush(t, a)
	b.numbered("g", "h")
	want("nothing is old", 1)
	covered = 100
	want("nothing is old", 1)
	covered = 0
	b.now += int64(72*time.Hour - 10*time.Minute)
	b.numbered("i", "j")
	mustFlush(t, a) // g to j, of which only g and h are of the old day
	b.now += int64(10 * time.Minute)
	want("nothing is covered", 1)
	covered = 2
	want("the first object is not covered", 1)
	covered = 3
	fault = errors.New("no answer")
	b.now += int64(time.Minute)
	if err := drain(t.Context(), a); !errors.Is(err, fault) {
		t.Errorf("step: %v; want %v", err, fault)
	}
	fault = nil
	want("the first object is covered", 4)
	covered = 100
	a = b.archiver(t, archive.Config{Trim: trim}) // a new one finds out for itself
	want("two objects are covered, and g and h", 9)
	b.numbered("k")
	b.now += int64(73 * time.Hour)
	want("all is old, but k is not stored", 11)
	b.numbered("l")
	b.log.Rewind("EVENTS_0", 9)
	b.numbered("x", "y", "z")
	wantIncident(t, drain(t.Context(), b.archiver(t, archive.Config{Trim: trim})), "rewound")
}

// TestTrimByTheKnownChain: an archiver that has not noticed that the stream lost its tail
// trims it of nothing that others had archived of the tail.
func TestTrimByTheKnownChain(t *testing.T) {
	b := newBench(t)
	c := archive.Config{NextGeneration: true}
	quick := b.archiver(t, c)
	c.Trim = &archive.Trim{Trimmer: b.log, Covered: func(context.Context) (uint64, error) { return 100, nil }, Replay: time.Nanosecond}
	slow := b.archiver(t, c)
	b.numbered("a", "b")
	mustFlush(t, quick)
	if _, err := slow.Step(t.Context()); err != nil { // loads the chain as it is
		t.Fatal(err)
	}
	b.trim(t, 3)
	b.numbered("c", "d")
	mustFlush(t, quick)
	b.numbered("e")
	mustFlush(t, quick)
	b.log.Rewind("EVENTS_0", 2)
	b.now += int64(time.Second)
	b.numbered("x", "y", "z")
	mustDrain(t, slow)
	if info, err := b.log.Info(t.Context(), "EVENTS_0"); err != nil || info.First != 3 {
		t.Errorf("the stream begins at %d, want 3: %v", info.First, err)
	}
	mustFlush(t, slow)
	mustFlush(t, quick)
	wantTold(t, b, "0/1 a", "0/2 b", "0/3 c", "0/4 d", "0/5 e", "1/3 x", "1/4 y", "1/5 z")
}

// TestTrimmedAlike: a stream lost its tail and was trimmed to where it began before, so
// that one archiver has nothing to compare.
func TestTrimmedAlike(t *testing.T) {
	b := newBench(t)
	quick, slow := b.archiver(t, archive.Config{NextGeneration: true}), b.archiver(t, archive.Config{})
	b.numbered("a", "b", "c", "d")
	mustFlush(t, quick)
	b.trim(t, 5)
	mustDrain(t, slow)
	b.log.Rewind("EVENTS_0", 2)
	b.numbered("x", "y", "z")
	mustFlush(t, quick)
	b.trim(t, 5)
	mustFlush(t, slow)
	mustFlush(t, quick)
	wantTold(t, b, "0/1 a", "0/2 b", "0/3 c", "0/4 d", "1/3 x", "1/4 y", "1/5 z")
}

// TestAdopterKeepsTheRest: of two archivers that hold different ends of what a stream
// lost, the one with more keeps the rest when it adopts the other's object.
func TestAdopterKeepsTheRest(t *testing.T) {
	for what, lose := range map[string]func(*bench){
		"lost its tail": func(b *bench) { b.log.Rewind("EVENTS_0", 1) },
		"made again":    func(b *bench) { b.now += int64(time.Second); b.log.Recreate("EVENTS_0") },
	} {
		t.Run(what, func(t *testing.T) {
			b := newBench(t)
			short := b.archiver(t, archive.Config{NextGeneration: true})
			long := b.archiver(t, archive.Config{NextGeneration: true})
			b.numbered("a", "b")
			mustDrain(t, short)
			b.numbered("c")
			b.put(tickSubject, "")
			b.numbered("d")
			mustDrain(t, long)
			lose(b)
			mustFlush(t, short)
			mustFlush(t, long)
			var got []string
			for _, r := range b.cat(t, archive.Filter{}) {
				if len(r.Payload) > 0 {
					got = append(got, fmt.Sprintf("%d %.1s", r.Seq, string(r.Payload[6:])))
				}
			}
			if diff := cmp.Diff([]string{"1 a", "2 b", "3 c", "5 d"}, got); diff != "" {
				t.Errorf("messages (-want +got):\n%s", diff)
			}
			b.verify(t)
		})
	}
}

// TestLostTailBesideTheStream: a stream loses what one archiver has read and not stored,
// and another, which had not read it, does not notice and stores what was written in its
// place for the same generation. The stream stays in that generation, and what it lost
// is in a chain of its own, for as long as archivers come that have read of it.
func TestLostTailBesideTheStream(t *testing.T) {
	b := newBench(t)
	c := archive.Config{NextGeneration: true}
	behind, ahead, further := b.archiver(t, c), b.archiver(t, c), b.archiver(t, c)
	b.numbered("a", "b")
	mustDrain(t, behind)
	b.numbered("c")
	mustDrain(t, ahead)
	b.numbered("d")
	mustDrain(t, further)
	b.log.Rewind("EVENTS_0", 2)
	b.numbered("x", "y", "z")
	mustFlush(t, behind)
	mustFlush(t, ahead)
	want := []string{"0/1 a", "0/2 b", "0/3 x", "0/4 y", "0/5 z", "lost1/3 c"}
	wantTold(t, b, want...)
	mustFlush(t, further)
	wantTold(t, b, append(want, "lost1/4 d")...)
	r := b.verify(t)
	if diff := cmp.Diff([]archive.Missing{{From: 1, To: 2, Reason: archive.MissingGeneration}}, r.Chains[1].Missing); diff != "" {
		t.Errorf("missing in the lost tail (-want +got):\n%s", diff)
	}
	// All go on in the generation, those that come anew too.
	b.numbered("w")
	mustFlush(t, further)
	b.numbered("v")
	mustFlush(t, b.archiver(t, archive.Config{}))
	mustFlush(t, behind)
	mustFlush(t, ahead)
	wantTold(t, b, "0/1 a", "0/2 b", "0/3 x", "0/4 y", "0/5 z", "0/6 w", "0/7 v", "lost1/3 c", "lost1/4 d")

	// The next time the stream ends before.
	b.log.Rewind("EVENTS_0", 6)
	b.numbered("1", "2")
	mustFlush(t, ahead)
	wantTold(t, b, "0/1 a", "0/2 b", "0/3 x", "0/4 y", "0/5 z", "0/6 w", "0/7 v", "1/7 1", "1/8 2", "lost1/3 c", "lost1/4 d")
	b.verify(t)
}

// TestArchiverBehindTheRewind: one archiver stores what the stream lost, and another,
// which had not read it, has taken what was written in its place for the same
// generation: it goes on in the next one, which it opens if nobody has.
func TestArchiverBehindTheRewind(t *testing.T) {
	for _, opened := range []bool{false, true} {
		t.Run(fmt.Sprintf("opened %v", opened), func(t *testing.T) {
			b := newBench(t)
			c := archive.Config{NextGeneration: true}
			behind, ahead := b.archiver(t, c), b.archiver(t, c)
			b.numbered("a", "b")
			mustDrain(t, behind)
			b.numbered("c", "d")
			mustFlush(t, ahead)
			b.log.Rewind("EVENTS_0", 2)
			b.numbered("x")
			mustDrain(t, behind)
			if opened {
				b.numbered("y")
				mustDrain(t, ahead)
			}
			mustFlush(t, behind)
			b.numbered("z")
			mustFlush(t, ahead)
			mustFlush(t, behind)
			want := []string{"0/1 a", "0/2 b", "0/3 c", "0/4 d", "1/3 x", "1/4 z"}
			if opened {
				want = append(want[:5], "1/4 y", "1/5 z")
			}
			wantTold(t, b, want...)
			b.verify(t)
		})
	}
}

// TestRewindsInARow: the stream loses its tail again before anything is archived of what
// it got since, to below where it lost it before, and while one archiver has not noticed
// the first time.
func TestRewindsInARow(t *testing.T) {
	b := newBench(t)
	c := archive.Config{NextGeneration: true}
	slow, quick := b.archiver(t, c), b.archiver(t, c)
	b.numbered("a", "b", "c")
	mustFlush(t, quick)
	b.numbered("d")
	mustDrain(t, slow)
	b.log.Rewind("EVENTS_0", 2)
	b.numbered("x", "y")
	mustDrain(t, quick) // opens a generation behind b, and has x and y in hand
	b.log.Rewind("EVENTS_0", 1)
	b.numbered("1", "2", "3", "4")
	mustFlush(t, slow)
	mustFlush(t, quick)
	mustFlush(t, b.archiver(t, c))
	wantTold(t, b, "0/1 a", "0/2 b", "0/3 c", "0/4 d", "1/3 x", "1/4 y", "2/2 1", "2/3 2", "2/4 3", "2/5 4")
	b.verify(t)
}
