package compact_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/dermai/millrace/archive"
	"github.com/dermai/millrace/archive/archivetest"
	"github.com/dermai/millrace/archive/compact"
	"github.com/dermai/millrace/archive/query"
	"github.com/dermai/millrace/fence"
)

// endless is a stream that anybody can work out. A day has 400 messages.
func endless() archivetest.Endless {
	return archivetest.Endless{N: 1 << 40, Begin: noon, Every: 216 * time.Second}
}

// TestMain makes the test binary the processes that TestKill kills.
func TestMain(m *testing.M) { archivetest.Main(m, workUntilKilled) }

// workUntilKilled archives or compacts. Objects are removed as soon as they are
// compacted, which no configuration of a deployment does: so every race is met.
func workUntilKilled(dir, what string) error {
	s, err := archive.OpenFileStore(dir)
	if err != nil {
		return err
	}
	a, err := archive.NewArchiver(endless(), s, archive.Config{Stream: "EVENTS_0", CutBytes: 8_000})
	if err != nil {
		return err
	}
	c, err := compact.New(s, compact.Config{Bytes: 20_000, Grace: time.Nanosecond, Dir: dir})
	if err != nil {
		return err
	}
	step := a.Step
	if what == "compact" {
		step = c.Step
	}
	fmt.Println("ready")
	for {
		if _, err := step(context.Background()); fence.IsIncident(err) {
			return err
		} else if err != nil {
			fmt.Println(err) // of a race with a removal, mostly: the next step goes on
		}
	}
}

var kills = flag.Int("kills", 48, "of archivers and compactors in TestKill")

// TestKill kills racing archivers and compactors with SIGKILL, over and over. No
// message is missing, and none is there twice.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	rng := rand.New(rand.NewPCG(8, 9))
	store, err := archive.OpenFileStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	var last uint64
	var segments int
	racing := []string{"archive", "archive", "compact", "compact"}
	for done := 0; done < *kills || last < 1000 || segments < 10; done += len(racing) {
		if done > *kills+400 {
			t.Fatalf("%d messages in %d segments: nothing was killed in the middle", last, segments)
		}
		archivetest.Kill(t, rng, 400*time.Millisecond, dir, racing...)
		r, err := archive.Verify(t.Context(), store, archive.Options{Full: true})
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range r.Problems {
			if !strings.Contains(p.What, "a ghost") { // of a late archiver, until the next compactor removes it
				t.Fatal(p)
			}
		}
		want := uint64(1)
		err = query.Messages(t.Context(), store, archive.Filter{}, func(r *archive.Record) error {
			want++
			return endless().Follows(r, want-1)
		})
		if err != nil {
			t.Fatal(err)
		}
		if want < last {
			t.Fatalf("%d messages, and there were %d", want, last)
		}
		last = want
		if len(r.Chains) > 0 {
			segments = r.Chains[0].Segments
		}
	}
	t.Logf("%d messages, %d segments", last, segments)
}
