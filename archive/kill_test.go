package archive_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/dermai/millrace/archive"
	"github.com/dermai/millrace/fence"
)

// endless is a stream of n messages that anybody can work out.
type endless struct {
	fence.Log
	n uint64
}

func (l endless) entry(seq uint64) fence.Entry {
	return fence.Entry{Seq: seq, Time: noon + int64(seq)*int64(time.Minute), Subject: eventSubject,
		Data: []byte(fmt.Sprintf("{\"n\":%d}\n", seq))}
}

func (l endless) Info(context.Context, string) (fence.Info, error) {
	return fence.Info{Created: noon, First: 1, Last: l.n}, nil
}

func (l endless) Read(_ context.Context, _ string, from uint64, most int) (out []fence.Entry, err error) {
	for seq := max(from, 1); seq <= l.n && len(out) < most; seq++ {
		out = append(out, l.entry(seq))
	}
	return out, nil
}

const killDir = "MILLRACE_TEST_KILL_DIR"

// TestMain makes the test binary the process that TestKill kills.
func TestMain(m *testing.M) {
	if dir := os.Getenv(killDir); dir != "" {
		fmt.Fprintln(os.Stderr, archiveUntilKilled(dir))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func archiveUntilKilled(dir string) error {
	s, err := archive.OpenFileStore(dir)
	if err != nil {
		return err
	}
	a, err := archive.NewArchiver(endless{n: 1 << 40}, s, archive.Config{Stream: "EVENTS_0", CutBytes: 20_000})
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
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ends := 0
	var last uint64
	for range 12 {
		var running []*exec.Cmd
		for range 2 {
			cmd := exec.Command(self)
			cmd.Env = append(os.Environ(), killDir+"="+dir)
			cmd.Stderr = os.Stderr
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
				t.Fatalf("the archiver did not come up: %v", err)
			}
			running = append(running, cmd)
		}
		for _, cmd := range running {
			timer := time.NewTimer(time.Duration(rng.Int64N(int64(150 * time.Millisecond))))
			<-timer.C
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			var exit *exec.ExitError
			if err := cmd.Wait(); !errors.As(err, &exit) || exit.Exited() {
				t.Fatalf("the archiver ended by itself: %v", err)
			}
		}
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
			if e := (endless{}).entry(want); r.Seq != want || string(r.Payload) != string(e.Data) || r.Time != e.Time {
				return fmt.Errorf("message %d reads %q; want %d, %q", r.Seq, r.Payload, want, e.Data)
			}
			want++
			return nil
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
	if last < 1000 || ends == 0 {
		t.Errorf("%d messages and %d unfinished objects: nothing was killed in the middle", last, ends)
	}
}
