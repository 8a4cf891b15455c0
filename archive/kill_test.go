package archive_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"github.com/dermai/millrace/archive"
	"github.com/dermai/millrace/archive/archivetest"
)

// endless is a stream of n messages that anybody can work out.
func endless(n uint64) archivetest.Endless {
	return archivetest.Endless{N: n, Begin: noon, Every: time.Minute}
}

// TestMain makes the test binary the process that TestKill kills.
func TestMain(m *testing.M) { archivetest.Main(m, archiveUntilKilled) }

func archiveUntilKilled(dir, _ string) error {
	s, err := archive.OpenFileStore(dir)
	if err != nil {
		return err
	}
	a, err := archive.NewArchiver(endless(1<<40), s, archive.Config{Stream: "EVENTS_0", CutBytes: 20_000})
	if err != nil {
		return err
	}
	fmt.Println("ready")
	for {
		if _, err := a.Step(context.Background()); err != nil {
			return err
		}
	}
}

// TestKill kills two archivers of the same stream with SIGKILL, over and over,
// while they put objects as fast as they can.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	rng := rand.New(rand.NewPCG(8, 9))
	ends := 0
	var last uint64
	for round := 1; round <= 12 || last < 1000 || ends == 0; round++ {
		if round > 100 {
			t.Fatalf("%d messages and %d unfinished objects: nothing was killed in the middle", last, ends)
		}
		within := time.Duration(1+round/12) * 150 * time.Millisecond // the disk may be slow
		archivetest.Kill(t, rng, within, dir, "archive", "archive")
		left, err := filepath.Glob(filepath.Join(dir, ".tmp", "*"))
		if err != nil {
			t.Fatal(err)
		}
		ends += len(left)

		s := openStore(t, dir)
		if left, _ := filepath.Glob(filepath.Join(dir, ".tmp", "*")); len(left) > 0 {
			t.Errorf("leftovers after opening the store: %q", left)
		}
		r, err := archive.Verify(t.Context(), s, archive.Options{Full: true})
		if err != nil || !r.OK() {
			t.Fatalf("verify: %v, %v", err, r.Problems)
		}
		want := uint64(1)
		err = archive.Cat(t.Context(), s, archive.Filter{}, func(r *archive.Record) error {
			want++
			return endless(0).Follows(r, want-1)
		})
		if err != nil {
			t.Fatal(err)
		}
		if want < last {
			t.Fatalf("%d messages, and there were %d", want, last)
		}
		last = want
	}
	t.Logf("%d messages, %d unfinished objects", last, ends)
}
