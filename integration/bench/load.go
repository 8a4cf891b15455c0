package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"github.com/dermai/millrace/internal/child"
)

// progress is what a load tells of itself: when it begins, now and then, and at
// its end.
type progress struct {
	Events  int64         `json:"events"`
	Frames  int64         `json:"frames,omitempty"`
	Bytes   int64         `json:"bytes"` // as JSON lines, or of frames where raw
	Elapsed time.Duration `json:"elapsed"`
	CPU     time.Duration `json:"cpu"` // since it began
	Done    bool          `json:"done,omitempty"`
}

// tell writes a line for each progress. It is safe for concurrent use.
type teller struct {
	mu    sync.Mutex
	out   *json.Encoder
	begun time.Time
	cpu   time.Duration
}

// newTeller begins: what was used before is not told.
func newTeller(out io.Writer) (*teller, error) {
	t := &teller{out: json.NewEncoder(out), begun: time.Now(), cpu: ownCPU()}
	return t, t.tell(progress{})
}

func (t *teller) tell(p progress) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	p.Elapsed, p.CPU = time.Since(t.begun), ownCPU()-t.cpu
	return t.out.Encode(p)
}

// ownCPU is what this process has used.
func ownCPU() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// load is a process that makes work: this program under another name.
type load struct {
	cmd   *exec.Cmd
	said  child.Output
	begun chan struct{}
	ended chan struct{}

	mu   sync.Mutex
	last progress
	err  error // after ended
}

// startLoad starts this program with other arguments, and returns when it has
// begun.
func startLoad(ctx context.Context, args ...string) (*load, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	l := &load{cmd: exec.Command(self, args...), begun: make(chan struct{}), ended: make(chan struct{})}
	l.cmd.Stderr = &l.said
	l.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := l.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := l.cmd.Start(); err != nil {
		return nil, err
	}
	go l.follow(out)
	select {
	case <-l.begun:
		return l, nil
	case <-l.ended:
		return nil, fmt.Errorf("%s: %w\n%s", args[0], l.err, l.said.String())
	case <-ctx.Done():
		l.kill()
		return nil, ctx.Err()
	}
}

func (l *load) kill() {
	_ = l.cmd.Process.Kill()
	<-l.ended
}

// stop ends the load in order, and returns what it did in all.
func (l *load) stop(ctx context.Context) (progress, error) {
	_ = l.cmd.Process.Signal(syscall.SIGTERM)
	return l.wait(ctx)
}

func (l *load) follow(out io.Reader) {
	defer close(l.ended)
	var begin sync.Once
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		var p progress
		if err := json.Unmarshal(lines.Bytes(), &p); err != nil {
			continue
		}
		l.mu.Lock()
		l.last = p
		l.mu.Unlock()
		begin.Do(func() { close(l.begun) })
	}
	l.err = l.cmd.Wait()
	if l.err == nil && !l.now().Done {
		l.err = fmt.Errorf("ended before its time")
	}
}

// now is the last progress that was told.
func (l *load) now() progress {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last
}

// wait returns what the load did in all.
func (l *load) wait(ctx context.Context) (progress, error) {
	select {
	case <-l.ended:
	case <-ctx.Done():
		l.kill()
		return progress{}, ctx.Err()
	}
	if l.err != nil {
		return progress{}, fmt.Errorf("%s: %w\n%s", l.cmd.Args[1], l.err, l.said.String())
	}
	return l.now(), nil
}
