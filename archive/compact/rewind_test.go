package compact_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dermai/millrace/archive"
	"github.com/dermai/millrace/archive/archivetest"
	"github.com/dermai/millrace/archive/compact"
)

// TestRewoundBelowRemoved: a stream is restored from a backup that is older than the
// objects which compaction removed. What it gets in the place of what it lost is in the
// archive, and what it kept is there once.
func TestRewoundBelowRemoved(t *testing.T) {
	for _, kept := range []uint64{0, 4, 5, 9} {
		for _, told := range []bool{true, false} {
			t.Run(fmt.Sprintf("kept %d, reads segments: %t", kept, told), func(t *testing.T) {
				b := archivetest.NewBench(t)
				for i := range 10 {
					b.Put("events.0.log.api.l1", fmt.Sprintf("{\"n\":%d}\n", i+1))
					if i%2 == 1 {
						b.Archive(t, "EVENTS_0")
					}
				}
				b.Compact(t)
				b.Now += int64(97 * time.Hour)
				b.Compact(t)
				if left := b.Keys(t, "l0/"); len(left) != 1 {
					t.Fatalf("objects %q are left; want the last", left)
				}
				b.Log.Rewind("EVENTS_0", kept)
				for n := range 4 {
					b.Put("events.0.log.api.l1", fmt.Sprintf("{\"n\":%d}\n", 100+n))
				}
				c := archive.Config{Stream: "EVENTS_0", Now: b.Clock, NextGeneration: true}
				first := uint64(1) // of the next generation
				if told {
					c.Segments = compact.Segments(b.Store)
				}
				if told || kept == 9 { // which is in the object that is left
					first = kept + 1
				}
				a, err := archive.NewArchiver(b.Log, b.Store, c)
				if err != nil {
					t.Fatal(err)
				}
				archivetest.Drain(t, a)
				var want, got []string
				for n := range 10 {
					want = append(want, fmt.Sprintf("%d %d", n+1, n+1))
				}
				for n := first; n <= kept; n++ {
					want = append(want, fmt.Sprintf("%d %d", n, n))
				}
				for n := range 4 {
					want = append(want, fmt.Sprintf("%d %d", int(kept)+n+1, 100+n))
				}
				for _, m := range b.Cat(t, archive.Filter{}) {
					var n int
					if _, err := fmt.Sscanf(m.Payload, `{"n":%d}`, &n); err != nil {
						t.Fatal(err)
					}
					got = append(got, fmt.Sprintf("%d %d", m.Seq, n))
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("sequences and messages (-want +got):\n%s", diff)
				}
				if r := b.Verify(t, archive.Options{Full: true, Segments: compact.Segments(b.Store)}); !r.OK() {
					t.Error(r.Problems)
				}
			})
		}
	}
}
