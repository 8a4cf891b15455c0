package proof_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dermai/millrace/archive"
	"github.com/dermai/millrace/schemas"
)

// sent is a frame as its publisher knows it.
type sent struct {
	lane    string
	counter uint64
	seq     uint64
}

// holder is a file of the archive that holds some sequences.
type holder struct {
	file        string
	first, last uint64
}

// holders are the files that hold telemetry, each sequence once.
func (b *bench) holders(t *testing.T) (out []holder) {
	chains, err := archive.Chains(t.Context(), b.store, "telemetry", "")
	must(t, err)
	m, err := archive.ReadManifest(t.Context(), b.store, chains[0])
	must(t, err)
	for _, s := range m.Segments {
		out = append(out, holder{filepath.Join(b.dir, filepath.FromSlash(s.Key)), s.First, s.Last})
	}
	for o, err := range archive.List(t.Context(), b.store, archive.Filter{Stream: "EVENTS_0"}) {
		must(t, err)
		if o.Index.First > m.Through() {
			out = append(out, holder{filepath.Join(b.dir, filepath.FromSlash(o.Key)), o.Index.First, o.Index.Last})
		}
	}
	return out
}

// TestRandomRemovals: of random lanes, archived in random pieces and compacted or
// not, random messages and files are removed. What is named is exactly the
// difference between what was sent and what is left, as far as a lane can know it:
// up to its last frame that is left.
func TestRandomRemovals(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 48))
			b := newBench(t)
			var all []sent
			for range 3 + random.IntN(4) {
				for range random.IntN(40) {
					name := string(rune('a' + random.IntN(5)))
					b.send("web", name, 1)
					info, err := b.log.Info(t.Context(), "EVENTS_0")
					must(t, err)
					all = append(all, sent{lane("web", name), b.lanes[lane("web", name)], info.Last})
				}
				if random.IntN(3) == 0 && len(all) > 0 { // the stream loses a middle before it is archived
					cut := all[random.IntN(len(all))]
					must(t, b.log.Trim(t.Context(), "EVENTS_0", cut.lane, cut.seq))
				}
				b.archive(t)
				if random.IntN(3) == 0 {
					b.now += day
				}
			}
			gone := map[uint64]bool{}
			for _, f := range all {
				gone[f.seq] = true
			}
			b.left(t, gone)
			if random.IntN(2) == 0 {
				b.compact(t, random.IntN(2) == 0)
			}
			for _, h := range b.holders(t) {
				if random.IntN(4) == 0 {
					must(t, os.Remove(h.file))
					for seq := h.first; seq <= h.last; seq++ {
						gone[seq] = true
					}
				}
			}
			last := map[string]uint64{}
			for _, f := range all {
				if !gone[f.seq] {
					last[f.lane] = f.counter
				}
			}
			var want []string
			for _, f := range all {
				if gone[f.seq] && f.counter < last[f.lane] {
					want = append(want, fmt.Sprintf("%s#%d", f.lane, f.counter))
				}
			}
			slices.Sort(want)
			r := b.run(t, alone)
			if diff := cmp.Diff(want, missing(r)); diff != "" {
				t.Errorf("frames (-want +got):\n%s\n%s", diff, strings.Join(said(r), "\n"))
			}
			open := map[string]uint64{}
			for _, l := range r.Lanes {
				open[l.Lane] = l.Counter
			}
			if diff := cmp.Diff(last, open); diff != "" {
				t.Errorf("unknown after (-want +got):\n%s", diff)
			}
		})
	}
}

// left takes from gone what the archive holds, by what it prints.
func (b *bench) left(t *testing.T, gone map[uint64]bool) {
	for _, h := range b.holders(t) {
		for seq := h.first; seq <= h.last; seq++ {
			delete(gone, seq)
		}
	}
	for o, err := range archive.List(t.Context(), b.store, archive.Filter{Stream: "EVENTS_0"}) {
		must(t, err)
		for _, m := range o.Index.Missing {
			for seq := m.From; seq <= m.To; seq++ {
				gone[seq] = true
			}
		}
	}
}

// TestRacingArchivers: while archivers race, cut where they like and are
// compacted behind, nothing is missing at any time.
func TestRacingArchivers(t *testing.T) {
	b := newBench(t)
	b.send("web", "a", 400)
	var archivers sync.WaitGroup
	for i := range 3 {
		a, err := archive.NewArchiver(b.log, b.store, archive.Config{
			Stream: "EVENTS_0", CutBytes: int64(600 + 300*i), Now: func() time.Time { return time.Unix(0, b.now) },
		})
		must(t, err)
		archivers.Go(func() {
			for busy := true; busy; {
				if busy, err = a.Step(t.Context()); err != nil {
					t.Error(err)
				}
			}
			if err := a.Flush(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	raced := make(chan struct{})
	go func() { archivers.Wait(); close(raced) }()
	for racing := true; racing; {
		select {
		case <-raced:
			racing = false
		default:
		}
		if r := b.run(t, alone); !r.OK() {
			t.Fatalf("found %q", said(r))
		}
	}
	if n := len(b.objects(t, "l0/")); n < 10 {
		t.Errorf("%d objects: they did not race", n)
	}
	r := b.run(t, alone)
	if r.Streams[0].Archived != 400 || r.Streams[0].Stream != schemas.Partition(0).Stream() {
		t.Errorf("%+v", r.Streams)
	}
}
