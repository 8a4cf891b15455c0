package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// build compiles the programs, the real nats-server among
// them.
func build(ctx context.Context, dir string) error {
	for pkg, name := range map[string]string{
		"github.com/nats-io/nats-server/v2":        "nats-server",
		"github.com/dermai/millrace/cmd/millrace":  "millrace",
		"github.com/dermai/millrace/cmd/publisher": "publisher",
		"github.com/dermai/millrace/cmd/processor": "processor",
		"github.com/dermai/millrace/cmd/archiver":  "archiver",
	} {
		out, err := exec.CommandContext(ctx, "go", "build", "-o", filepath.Join(dir, name), pkg).CombinedOutput()
		if err != nil {
			return fmt.Errorf("build %s: %w\n%s", pkg, err, out)
		}
	}
	return nil
}

// process is a running program.
type process struct {
	name  string
	http  string // address of its health and metrics; "": none
	cmd   *exec.Cmd
	said  output
	ended chan struct{}
	err   error // after ended
}

// output keeps what a program says.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// launch starts a program. It dies with us.
func launch(dir, name, path string, args ...string) (*process, error) {
	p := &process{name: name, cmd: exec.Command(path, args...), ended: make(chan struct{})}
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = dir, &p.said, &p.said
	p.cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	return p, nil
}

// wait waits until the program ends by itself.
func (p *process) wait(ctx context.Context) error {
	select {
	case <-p.ended:
	case <-ctx.Done():
		p.kill()
		return ctx.Err()
	}
	if p.err != nil {
		return fmt.Errorf("%s: %w\n%s", p.name, p.err, p.said.String())
	}
	return nil
}

// stop ends the program in order.
func (p *process) stop(ctx context.Context) error {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	return p.wait(ctx)
}

func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.ended
}

// ready waits until the program says that work flows.
func (p *process) ready(ctx context.Context) error {
	return until(ctx, p.name+" is ready", func() (bool, error) {
		select {
		case <-p.ended:
			return false, fmt.Errorf("%s ended: %w\n%s", p.name, p.err, p.said.String())
		default:
		}
		resp, err := http.Get("http://" + p.http + "/readyz")
		if err != nil {
			return false, nil //nolint:nilerr // not yet
		}
		return resp.StatusCode == http.StatusOK, resp.Body.Close()
	})
}

// patience is the longest that anything is waited for.
const patience = 2 * time.Minute

// until polls a condition.
func until(ctx context.Context, what string, holds func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	poll := time.NewTicker(50 * time.Millisecond)
	defer poll.Stop()
	for {
		if ok, err := holds(); ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", what, ctx.Err())
		case <-poll.C:
		}
	}
}

// usage is what a process has used of the machine.
type usage struct {
	CPU  time.Duration // since its start, in steps of 10 ms
	Peak int64         // resident memory, bytes
}

// used reads the usage of a process that runs.
func (p *process) used() (usage, error) {
	dir := filepath.Join("/proc", strconv.Itoa(p.cmd.Process.Pid))
	stat, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return usage{}, err
	}
	// proc(5): the name in parentheses may hold anything; utime and stime are the
	// 12th and 13th field behind it.
	_, rest, _ := strings.Cut(string(stat), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return usage{}, errors.New("/proc/PID/stat: too short")
	}
	var u usage
	for _, f := range fields[11:13] {
		ticks, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return usage{}, fmt.Errorf("/proc/PID/stat: %w", err)
		}
		u.CPU += time.Duration(ticks) * 10 * time.Millisecond
	}
	status, err := os.ReadFile(filepath.Join(dir, "status"))
	if err != nil {
		return usage{}, err
	}
	for line := range strings.Lines(string(status)) {
		if kib, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(kib), "kB")), 10, 64)
			if err != nil {
				return usage{}, fmt.Errorf("/proc/PID/status: %w", err)
			}
			u.Peak = n << 10
		}
	}
	return u, nil
}

// forgetPeak makes the peak what is resident now.
func (p *process) forgetPeak() error {
	return os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", p.cmd.Process.Pid), []byte("5"), 0) // proc(5)
}
