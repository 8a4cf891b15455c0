package main

import (
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

// programs are built once a call, with the failpoints in.
var programs = map[string]string{
	"nats-server": "github.com/nats-io/nats-server/v2",
	"millrace":    "github.com/dermai/millrace/cmd/millrace",
	"publisher":   "github.com/dermai/millrace/cmd/publisher",
	"processor":   "github.com/dermai/millrace/cmd/processor",
	"archiver":    "github.com/dermai/millrace/cmd/archiver",
}

// build compiles the programs into dir.
func build(ctx context.Context, dir string) error {
	for name, pkg := range programs {
		out, err := exec.CommandContext(ctx, "go", "build", "-tags", "chaos", "-o", filepath.Join(dir, name), pkg).CombinedOutput()
		if err != nil {
			return fmt.Errorf("build %s: %w\n%s", pkg, err, out)
		}
	}
	return nil
}

// process is a program that can be killed, paused and started again. Who makes a
// fault of it holds it meanwhile, so that two faults do not meet in one process.
type process struct {
	name string
	path string
	args []string
	env  []string
	dir  string
	http string   // address of its health; "": it has none
	wrap []string // command in front of it
	log  *os.File // what it said, in all its lives

	held sync.Mutex

	mu    sync.Mutex
	cmd   *exec.Cmd
	ended chan struct{}
	lives int
	meant bool // we end it, or said where it dies
}

// start begins another life. die, unless "", is where it ends; see internal/chaos.
func (p *process) start(die string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	line := append(append([]string{}, p.wrap...), append([]string{p.path}, p.args...)...)
	cmd := exec.Command(line[0], line[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = p.dir, p.log, p.log
	// No environment of ours decides what the programs do.
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + p.dir, "MILLRACE_CHAOS_DIE=" + die}, p.env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", p.name, err)
	}
	p.cmd, p.ended, p.meant = cmd, make(chan struct{}), die != ""
	p.lives++
	ended := p.ended
	go func() {
		_ = cmd.Wait() // how it ended is in cmd.ProcessState
		close(ended)
	}()
	return nil
}

// kill ends the program without a chance to do anything.
func (p *process) kill() error { return p.end(syscall.SIGKILL) }

// stop ends the program in order.
func (p *process) stop() error { return p.end(syscall.SIGTERM) }

// end sends a signal and waits for the end.
func (p *process) end(s syscall.Signal) error {
	p.mu.Lock()
	if p.cmd == nil {
		p.mu.Unlock()
		return nil
	}
	cmd, ended := p.cmd, p.ended
	p.meant = true
	p.mu.Unlock()
	_ = cmd.Process.Signal(s)
	timer := time.NewTimer(40 * time.Second)
	defer timer.Stop()
	select {
	case <-ended:
		return nil
	case <-timer.C:
		_ = cmd.Process.Kill()
		<-ended
		return fmt.Errorf("%s did not end within 40 s of %v", p.name, s)
	}
}

// signal sends one without waiting for anything.
func (p *process) signal(s syscall.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return errors.New("it does not run")
	}
	return p.cmd.Process.Signal(s)
}

// done is closed when the present life ends.
func (p *process) done() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ended
}

// alive tells that the program runs.
func (p *process) alive() bool {
	select {
	case <-p.done():
		return false
	default:
		return true
	}
}

// unmeant tells how the program ended, if nobody ended it.
func (p *process) unmeant() (string, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil || p.meant {
		return "", false
	}
	select {
	case <-p.ended:
		return p.cmd.ProcessState.String(), true
	default:
		return "", false
	}
}

// life counts the lives up to the present one.
func (p *process) life() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lives
}

// pid of the present life.
func (p *process) pid() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cmd.Process.Pid
}

// ready waits until the program says that work flows.
func (p *process) ready(ctx context.Context) error {
	client := http.Client{Timeout: 2 * time.Second}
	return until(ctx, startLimit, p.name+" is ready", func() error {
		resp, err := client.Get("http://" + p.http + "/readyz")
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return errors.New(resp.Status)
		}
		return nil
	})
}

// used reads what the program uses of the machine; false: it does not run.
func (p *process) used() (u Used, ok bool) {
	if !p.alive() {
		return u, false
	}
	dir := filepath.Join("/proc", strconv.Itoa(p.pid()))
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
