package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/dermai/millrace/internal/child"
)

// build compiles the programs into dir, with the failpoints in.
func build(ctx context.Context, dir string) error {
	return child.Build(ctx, dir, "-tags", "chaos", child.Programs, child.NATSServer)
}

// process is a program that can be killed, paused and started again. Who makes a
// fault of it holds it meanwhile, so that two faults do not meet in one process.
type process struct {
	child.Program
	name string
	http string   // address of its health; "": it has none
	wrap []string // command in front of it
	log  *os.File // what it said, in all its lives

	held sync.Mutex

	mu    sync.Mutex
	life  *child.Process // the present or last one; nil: none yet
	lives int
	meant bool // we end it, or said where it dies
}

// start begins another life. die, unless "", is where it ends; see internal/chaos.
func (p *process) start(die string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	run := p.Program
	line := append(append(slices.Clone(p.wrap), run.Path), run.Args...)
	run.Path, run.Args = line[0], line[1:]
	run.Env = append([]string{"MILLRACE_CHAOS_DIE=" + die}, run.Env...)
	life, err := run.Start(p.log, p.log)
	if err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	p.life, p.meant = life, die != ""
	p.lives++
	return nil
}

// kill ends the program without a chance to do anything.
func (p *process) kill() error { return p.end(syscall.SIGKILL) }

// stop ends the program in order.
func (p *process) stop() error { return p.end(syscall.SIGTERM) }

// end sends a signal and waits for the end.
func (p *process) end(s syscall.Signal) error {
	p.mu.Lock()
	life := p.life
	p.meant = true
	p.mu.Unlock()
	if life == nil {
		return nil
	}
	_ = life.Signal(s) // it may have ended
	timer := time.NewTimer(40 * time.Second)
	defer timer.Stop()
	select {
	case <-life.Ended():
		return nil
	case <-timer.C:
		life.Kill()
		return fmt.Errorf("%s did not end within 40 s of %v", p.name, s)
	}
}

// signal sends one without waiting for anything.
func (p *process) signal(s syscall.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.life == nil {
		return errors.New("it does not run")
	}
	return p.life.Signal(s)
}

// present is the life that was begun last.
func (p *process) present() *child.Process {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.life
}

// unmeant tells how the program ended, if nobody ended it.
func (p *process) unmeant() (string, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.life == nil || p.meant || p.life.Alive() {
		return "", false
	}
	if err := p.life.Err(); err != nil {
		return err.Error(), true
	}
	return "exit status 0", true
}

// count counts the lives up to the present one.
func (p *process) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lives
}

// ready waits until the program says that work flows.
func (p *process) ready(ctx context.Context) error {
	return until(ctx, startLimit, p.name+" is ready", func() error { return child.Ready(p.http) })
}

// used reads what the program uses of the machine; false: it does not run.
func (p *process) used() (u Used, ok bool) {
	life := p.present()
	if life == nil || !life.Alive() {
		return u, false
	}
	dir := filepath.Join("/proc", strconv.Itoa(life.PID()))
	statm, err := os.ReadFile(filepath.Join(dir, "statm"))
	if err != nil {
		return u, false
	}
	fields := strings.Fields(string(statm)) // proc(5): size, resident, ... in pages
	if len(fields) < 2 {
		return u, false
	}
	pages, err := strconv.ParseInt(fields[1], 10, 64)
	if err != nil {
		return u, false
	}
	files, err := os.ReadDir(filepath.Join(dir, "fd"))
	if err != nil {
		return u, false
	}
	return Used{Program: p.name, At: time.Now(), RSS: pages * int64(os.Getpagesize()), Files: len(files)}, true
}

// until polls a condition, for a time at most. The last error says what was
// missing.
func until(ctx context.Context, limit time.Duration, what string, holds func() error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	poll := time.NewTicker(50 * time.Millisecond)
	defer poll.Stop()
	for {
		err := holds()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not within %s: %s: %w", limit, what, err)
		case <-poll.C:
		}
	}
}
