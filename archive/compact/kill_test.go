package compact_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/dermai/millrace/archive"
	"github.com/dermai/millrace/archive/compact"
	"github.com/dermai/millrace/fence"
)

// endless is a stream of n messages that anybody can work out. A day has 400.
type endless struct {
	fence.Log
	n uint64
}

func (l endless) entry(seq uint64) fence.Entry {
	return fence.Entry{Seq: seq, Time: noon + int64(seq)*int64(216*time.Second), Subject: "events.0.log.api.l1",
		Data: []byte(fmt.Sprintf("{\"message\":\"%d\"}\n", seq))}
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

const (
	killDir  = "MILLRACE_TEST_KILL_DIR"
	killWhat = "MILLRACE_TEST_KILL_WHAT"
)

// TestMain makes the test binary the processes that TestKill kills.
func TestMain(m *testing.M) {
	if dir := os.Getenv(killDir); dir != "" {
		fmt.Fprintln(os.Stderr, workUntilKilled(dir, os.Getenv(killWhat)))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// workUntilKilled archives or compacts. Objects are removed as soon as they are
// compacted, which no configuration of a deployment does: so every race is met.
func workUntilKilled(dir, what string) error {
	s, err := archive.OpenFileStore(dir)
	if err != nil {
		return err
	}
	a, err := archive.NewArchiver(endless{n: 1 << 40}, s, archive.Config{Stream: "EVENTS_0", CutBytes: 8_000})
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

// TestKill kills racing archivers and compactors with SIGKILL, over and over. No
// message is missing, and none is there twice.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	rng := rand.New(rand.NewPCG(8, 9))
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	store, err := archive.OpenFileStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	var last uint64
	var segments int
	for range 12 {
		var running []*exec.Cmd
		for _, what := range []string{"archive", "archive", "compact", "compact"} {
			cmd := exec.Command(self)
			cmd.Env = append(os.Environ(), killDir+"="+dir, killWhat+"="+what)
			cmd.Stderr = os.Stderr
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			lines := bufio.NewReader(out)
			if _, err := lines.ReadString('\n'); err != nil {
				t.Fatalf("the process did not come up: %v", err)
			}
			go func() { _, _ = lines.WriteTo(new(strings.Builder)) }()
			running = append(running, cmd)
		}
		for _, cmd := range running {
			timer := time.NewTimer(time.Duration(rng.Int64N(int64(400 * time.Millisecond))))
			<-timer.C
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			var exit *exec.ExitError
			if err := cmd.Wait(); !errors.As(err, &exit) || exit.Exited() {
				t.Fatalf("it ended by itself: %v", err)
			}
		}
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
		err = compact.Cat(t.Context(), store, archive.Filter{}, func(r *archive.Record) error {
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
		if len(r.Chains) > 0 {
			segments = r.Chains[0].Segments
		}
	}
	t.Logf("%d messages, %d segments", last, segments)
	if last < 1000 || segments < 10 {
		t.Errorf("%d messages in %d segments: nothing was killed in the middle", last, segments)
	}
}
