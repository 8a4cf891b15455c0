package testenv

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/dermai/millrace/internal/child"
)

// Packages that Build compiles.
const (
	Programs   = child.Programs
	Millrace   = child.Millrace
	NATSServer = child.NATSServer
)

// Build compiles programs of the module, such as "./cmd/millrace", or of those
// that it requires, such as NATSServer, and returns the directory that they are in.
func Build(tb testing.TB, packages ...string) string {
	tb.Helper()
	dir := tb.TempDir()
	if err := child.Build(tb.Context(), dir, packages...); err != nil {
		tb.Fatal(err)
	}
	return dir
}

// FreeAddr is a port of loopback, host:port, that nobody listened on a moment ago.
func FreeAddr(tb testing.TB) string {
	tb.Helper()
	addr, err := child.FreeAddr()
	if err != nil {
		tb.Fatal(err)
	}
	return addr
}

// Program is what to run, and where.
type Program child.Program

// Run runs the program to its end and returns what it printed. The test ends
// where it fails.
func (p Program) Run(tb testing.TB) string {
	tb.Helper()
	var said bytes.Buffer
	cmd := child.Program(p).Command()
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		tb.Fatalf("%s %v: %v\n%s", filepath.Base(p.Path), p.Args, err, said.String())
	}
	return string(out)
}

// Start runs the program beside the test, which stops it at its end.
func (p Program) Start(tb testing.TB) *Process {
	tb.Helper()
	run := &Process{Program: p, tb: tb}
	run.Restart()
	tb.Cleanup(func() {
		run.Stop()
		if tb.Failed() {
			said := run.Stderr()
			tb.Logf("---- %s %v said:\n%s", filepath.Base(p.Path), p.Args, said[max(0, len(said)-4000):])
		}
	})
	return run
}

// Daemon starts a daemon of ours, in a directory that has millrace.yaml, with
// its HTTP server on a free port.
func Daemon(tb testing.TB, path, dir string, env ...string) *Process {
	tb.Helper()
	addr := FreeAddr(tb)
	p := Program{Path: path, Args: []string{"--http-addr", addr}, Dir: dir, Env: env}.Start(tb)
	p.HTTP = addr
	return p
}

// Process is a program that runs, and can be killed and started again. One
// goroutine at a time uses it.
type Process struct {
	Program
	HTTP string // host:port of a daemon

	tb       testing.TB
	life     *child.Process // nil: stopped, or killed
	out, log child.Output   // of all its lives
}

// Stdout is what the program has printed so far.
func (p *Process) Stdout() string { return p.out.String() }

// Stderr is what the program has logged so far.
func (p *Process) Stderr() string { return p.log.String() }

// Restart starts a program again that was stopped or killed.
func (p *Process) Restart() {
	p.tb.Helper()
	var err error
	if p.life, err = child.Program(p.Program).Start(&p.out, &p.log); err != nil {
		p.tb.Fatal(err)
	}
}

// Alive tells that the program runs.
func (p *Process) Alive() bool { return p.life != nil && p.life.Alive() }

// Signal sends a signal to a program that runs.
func (p *Process) Signal(s os.Signal) {
	p.tb.Helper()
	if err := p.life.Signal(s); err != nil {
		p.tb.Errorf("%s %v: %v", filepath.Base(p.Path), p.Args, err)
	}
}

// Kill ends the program without a chance to do anything.
func (p *Process) Kill() {
	p.tb.Helper()
	p.life.Kill()
	p.life = nil
}

// Stop ends the program in order, as its user does at a terminal. It must end
// well, and not have ended before. A program that does not run is left alone.
func (p *Process) Stop() {
	p.tb.Helper()
	if p.life == nil {
		return
	}
	if p.Alive() {
		p.Signal(os.Interrupt)
	} else if p.life.Err() == nil {
		p.tb.Errorf("%s %v has ended by itself", filepath.Base(p.Path), p.Args)
	}
	p.Wait()
}

// Wait waits for the program to end, and to end well.
func (p *Process) Wait() {
	p.tb.Helper()
	life := p.life
	late := time.AfterFunc(time.Minute, func() {
		p.tb.Errorf("%s %v does not end", filepath.Base(p.Path), p.Args)
		life.Kill()
	})
	err := life.Err()
	late.Stop()
	if p.life = nil; err != nil {
		p.tb.Errorf("%s %v: %v", filepath.Base(p.Path), p.Args, err)
	}
}

// Ready waits until a daemon says that work flows.
func (p *Process) Ready() {
	p.tb.Helper()
	Eventually(p.tb, filepath.Base(p.Path)+" is ready", func() error {
		if !p.Alive() {
			p.tb.Fatalf("%s has ended: %v", filepath.Base(p.Path), p.life.Err())
		}
		return child.Ready(p.HTTP)
	})
}
