package proof_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dermai/millrace/archive"
	"github.com/dermai/millrace/archive/archivetest"
	"github.com/dermai/millrace/internal/proof/prooftest"
	"github.com/dermai/millrace/schemas"
)

// sent is a frame as its publisher knows it.
type sent struct {
	lane    string
	counter uint64
	seq     uint64
}

// holder is an object or a segment that holds some sequences.
type holder struct {
	key         string
	first, last uint64
}

// holders are those that hold telemetry, each sequence once.
func holders(t *testing.T, b *prooftest.Bench) (out []holder) {
	chains, err := archive.Chains(t.Context(), b.Store, "telemetry", "")
	must(t, err)
	m, err := archive.ReadManifest(t.Context(), b.Store, chains[0])
	must(t, err)
	for _, s := range m.Segments {
		out = append(out, holder{s.Key, s.First, s.Last})
	}
	for o, err := range archive.List(t.Context(), b.Store, archive.Filter{Stream: "EVENTS_0"}) {
		must(t, err)
		if o.Index.First > m.Through() {
			out = append(out, holder{o.Key, o.Index.First, o.Index.Last})
		}
	}
	return out
}

// TestRandomRemovals: of random lanes, archived in random pieces and compacted or
// not, random messages and objects are removed. What is named is exactly the
// difference between what was sent and what is left, as far as a lane can know it:
// up to its last frame that is left.
func TestRandomRemovals(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 48))
			b := prooftest.New(archivetest.NewBench(t))
			var all []sent
			for range 3 + random.IntN(4) {
				for range random.IntN(40) {
					name := string(rune('a' + random.IntN(5)))
					b.Send("web", name, 1)
					info, err := b.Log.Info(t.Context(), "EVENTS_0")
					must(t, err)
					all = append(all, sent{lane("web", name), b.Lanes[lane("web", name)], info.Last})
				}
				if random.IntN(3) == 0 && len(all) > 0 { // the stream loses a middle before it is archived
					cut := all[random.IntN(len(all))]
					must(t, b.Log.Trim(t.Context(), "EVENTS_0", cut.lane, cut.seq))
				}
				b.ArchiveAll(t)
				if random.IntN(3) == 0 {
					b.Now += day
				}
			}
			gone := map[uint64]bool{}
			for _, f := range all {
				gone[f.seq] = true
			}
			left(t, b, gone)
			if random.IntN(2) == 0 {
				b.CompactAll(t, random.IntN(2) == 0)
			}
			for _, h := range holders(t, b) {
				if random.IntN(4) == 0 {
					b.Remove(t, h.key)
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
			r := b.Run(t, alone)
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
func left(t *testing.T, b *prooftest.Bench, gone map[uint64]bool) {
	for _, h := range holders(t, b) {
		for seq := h.first; seq <= h.last; seq++ {
			delete(gone, seq)
		}
	}
	for o, err := range archive.List(t.Context(), b.Store, archive.Filter{Stream: "EVENTS_0"}) {
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
	b := prooftest.New(archivetest.NewBench(t))
	b.Send("web", "a", 400)
	var archivers sync.WaitGroup
	for i := range 3 {
		a, err := archive.NewArchiver(b.Log, b.Store, archive.Config{
			Stream: "EVENTS_0", CutBytes: int64(600 + 300*i), Now: b.Clock,
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
		if r := b.Run(t, alone); !r.OK() {
			t.Fatalf("found %q", said(r))
		}
	}
	if n := len(b.Keys(t, "l0/")); n < 10 {
		t.Errorf("%d objects: they did not race", n)
	}
	r := b.Run(t, alone)
	if r.Streams[0].Archived != 400 || r.Streams[0].Stream != schemas.Partition(0).Stream() {
		t.Errorf("%+v", r.Streams)
	}
}
