package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/dermai/millrace/internal/child"
)

// process is a running program.
type process struct {
	*child.Process
	name string
	http string // address of its health and metrics; "": none
	said child.Output
}

// launch starts a program.
func launch(dir, name, path string, args ...string) (*process, error) {
	p := &process{name: name}
	var err error
	if p.Process, err = (child.Program{Path: path, Args: args, Dir: dir}).Start(&p.said, &p.said); err != nil {
		return nil, err
	}
	return p, nil
}

// wait waits until the program ends by itself.
func (p *process) wait(ctx context.Context) error {
	select {
	case <-p.Ended():
	case <-ctx.Done():
		p.Kill()
		return ctx.Err()
	}
	if err := p.Err(); err != nil {
		return fmt.Errorf("%s: %w\n%s", p.name, err, p.said.String())
	}
	return nil
}

// stop ends the program in order.
func (p *process) stop(ctx context.Context) error {
	_ = p.Signal(syscall.SIGTERM)
	return p.wait(ctx)
}

// ready waits until the program says that work flows.
func (p *process) ready(ctx context.Context) error {
	return until(ctx, p.name+" is ready", func() (bool, error) {
		if !p.Alive() {
			return false, fmt.Errorf("%s ended: %w\n%s", p.name, p.Err(), p.said.String())
		}
		return child.Ready(p.http) == nil, nil
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
	dir := filepath.Join("/proc", strconv.Itoa(p.PID()))
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
	return os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", p.PID()), []byte("5"), 0) // proc(5)
}
