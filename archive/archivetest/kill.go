package archivetest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dermai/millrace/archive"
	"github.com/dermai/millrace/fence"
)

// Endless is a stream of N messages that anybody can work out.
type Endless struct {
	fence.Log
	N     uint64
	Begin int64         // Unix ns
	Every time.Duration // between two messages
}

// Entry is one of its messages.
func (l Endless) Entry(seq uint64) fence.Entry {
	return fence.Entry{Seq: seq, Time: l.Begin + int64(seq)*int64(l.Every), Subject: "events.0.log.api.l1",
		Data: []byte(fmt.Sprintf("{\"message\":\"%d\"}\n", seq))}
}

// Info implements fence.Log.
func (l Endless) Info(context.Context, string) (fence.Info, error) {
	return fence.Info{Created: l.Begin, First: 1, Last: l.N}, nil
}

// Read implements fence.Log.
func (l Endless) Read(_ context.Context, _ string, from uint64, most int) (out []fence.Entry, err error) {
	for seq := max(from, 1); seq <= l.N && len(out) < most; seq++ {
		out = append(out, l.Entry(seq))
	}
	return out, nil
}

// Follows fails unless a record is the message of this sequence.
func (l Endless) Follows(r *archive.Record, seq uint64) error {
	if e := l.Entry(seq); r.Seq != seq || string(r.Payload) != string(e.Data) || r.Time != e.Time {
		return fmt.Errorf("message %d reads %q; want %d, %q", r.Seq, r.Payload, seq, e.Data)
	}
	return nil
}

const (
	killDir  = "MILLRACE_TEST_KILL_DIR"
	killWhat = "MILLRACE_TEST_KILL_WHAT"
	killStep = "MILLRACE_TEST_KILL_STEP"
)

// Main is the TestMain of a package whose test binary is also the processes that
// are killed: those do work in a directory. What it prints first is "ready".
func Main(m *testing.M, work func(dir, what string) error) {
	dir := os.Getenv(killDir)
	if dir == "" {
		os.Exit(m.Run())
	}
	if err := work(dir, os.Getenv(killWhat)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func child(t *testing.T, dir, what string, env ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(append(os.Environ(), killDir+"="+dir, killWhat+"="+what), env...)
	cmd.Stderr = os.Stderr
	return cmd
}

// Kill starts a process for each of what, waits until it says that it is ready, and
// kills each with SIGKILL within a time.
func Kill(t *testing.T, rng *rand.Rand, within time.Duration, dir string, what ...string) {
	t.Helper()
	var running []*exec.Cmd
	for _, w := range what {
		cmd := child(t, dir, w)
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
		timer := time.NewTimer(time.Duration(rng.Int64N(int64(within))))
		<-timer.C
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); !killed(err) {
			t.Fatalf("it ended by itself: %v", err)
		}
	}
}

func killed(err error) bool {
	var exit *exec.ExitError
	return errors.As(err, &exit) && !exit.Exited()
}

// KillAtEach runs work again and again, each time in a directory that prepare
// gives, and has it killed with SIGKILL at its first, second, ... step, until it
// comes to its end without. after looks at what each leaves, and the last run's
// step is 0. It returns the number of steps.
func KillAtEach(t *testing.T, what string, prepare func() string, after func(dir string, step int)) int {
	t.Helper()
	for step := 1; ; step++ {
		dir := prepare()
		err := child(t, dir, what, killStep+"="+strconv.Itoa(step)).Run()
		if err == nil {
			after(dir, 0)
			return step - 1
		}
		if !killed(err) {
			t.Fatalf("step %d: it ended by itself: %v", step, err)
		}
		after(dir, step)
	}
}

// Steps counts what a process does that others can see. Where KillAtEach says so it
// kills the process, before what the step does or behind it by turns.
type Steps struct{ n int }

// Step does one.
func (s *Steps) Step(do func() error) error {
	s.n += 2
	at, _ := strconv.Atoi(os.Getenv(killStep)) // 0 in a process that is no child: none
	die := func(now int) {
		if now == at {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}
	die(s.n - 1)
	err := do()
	die(s.n)
	return err
}

// SteppedStore is a store whose changes are steps.
type SteppedStore struct {
	*archive.FileStore
	*Steps
}

// Put implements archive.Store.
func (s SteppedStore) Put(ctx context.Context, key string, body io.Reader, size int64) error {
	return s.Step(func() error { return s.FileStore.Put(ctx, key, body, size) })
}

// Remove implements archive.Remover.
func (s SteppedStore) Remove(ctx context.Context, key string) error {
	return s.Step(func() error { return s.FileStore.Remove(ctx, key) })
}
