package testenv

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Build compiles programs of the module, such as "./cmd/millrace", or of those
// that it requires, such as NATSServer, and returns the directory that they are in.
func Build(tb testing.TB, packages ...string) string {
	tb.Helper()
	dir := tb.TempDir()
	cmd := exec.Command("go", append([]string{"build", "-o", dir + "/"}, packages...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		tb.Fatalf("build %v: %v\n%s", packages, err, out)
	}
	return dir
}

// Packages that Build compiles.
const (
	Programs   = "github.com/dermai/millrace/cmd/..." // the four of ours
	Millrace   = "github.com/dermai/millrace/cmd/millrace"
	NATSServer = "github.com/nats-io/nats-server/v2" // the real one
)

// FreeAddr is a port of loopback, host:port, that nobody listened on a moment ago.
func FreeAddr(tb testing.TB) string {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// Program is what to run, and where.
type Program struct {
	Path string
	Args []string
	Dir  string   // where it runs, and its HOME
	Env  []string // besides PATH and HOME: no other variable of ours decides what it does
	// NotRoot is for a program that refuses to be root. Where the test is root, it
	// runs under root's rights, but sees another user for root.
	NotRoot bool
}

// nobody is a user with a name on every Debian.
const nobody = 65534

func (p Program) command() *exec.Cmd {
	cmd := exec.Command(p.Path, p.Args...)
	cmd.Dir = p.Dir
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + p.Dir}, p.Env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // it never outlives us
	if p.NotRoot && os.Geteuid() == 0 {
		cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWUSER
		root := []syscall.SysProcIDMap{{ContainerID: nobody, HostID: 0, Size: 1}}
		cmd.SysProcAttr.UidMappings, cmd.SysProcAttr.GidMappings = root, root
	}
	return cmd
}

// Run runs the program to its end and returns what it printed. The test ends
// where it fails.
func (p Program) Run(tb testing.TB) string {
	tb.Helper()
	var said bytes.Buffer
	cmd := p.command()
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
	cmd      *exec.Cmd // nil: stopped, or killed
	ended    chan struct{}
	err      error // after ended
	out, log output
}

// output keeps what a program says in all its lives.
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

// Stdout is what the program has printed so far.
func (p *Process) Stdout() string { return p.out.String() }

// Stderr is what the program has logged so far.
func (p *Process) Stderr() string { return p.log.String() }

// Restart starts a program again that was stopped or killed.
func (p *Process) Restart() {
	p.tb.Helper()
	cmd := p.command()
	cmd.Stdout, cmd.Stderr = &p.out, &p.log
	if err := cmd.Start(); err != nil {
		p.tb.Fatal(err)
	}
	ended := make(chan struct{})
	p.cmd, p.ended = cmd, ended
	go func() {
		p.err = cmd.Wait()
		close(ended)
	}()
}

// Alive tells that the program runs.
func (p *Process) Alive() bool {
	if p.cmd == nil {
		return false
	}
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// Signal sends a signal to a program that runs.
func (p *Process) Signal(s os.Signal) {
	p.tb.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.tb.Errorf("%s %v: %v", filepath.Base(p.Path), p.Args, err)
	}
}

// Kill ends the program without a chance to do anything.
func (p *Process) Kill() {
	p.tb.Helper()
	p.Signal(syscall.SIGKILL)
	<-p.ended
	p.cmd = nil
}

// Stop ends the program in order, as its user does at a terminal. It must end
// well, and not have ended before. A program that does not run is left alone.
func (p *Process) Stop() {
	p.tb.Helper()
	if p.cmd == nil {
		return
	}
	if p.Alive() {
		p.Signal(os.Interrupt)
	} else if p.err == nil {
		p.tb.Errorf("%s %v has ended by itself", filepath.Base(p.Path), p.Args)
	}
	p.Wait()
}

// Wait waits for the program to end, and to end well.
func (p *Process) Wait() {
	p.tb.Helper()
	late := time.AfterFunc(time.Minute, func() {
		p.tb.Errorf("%s %v does not end", filepath.Base(p.Path), p.Args)
		_ = p.cmd.Process.Kill()
	})
	<-p.ended
	late.Stop()
	if p.cmd = nil; p.err != nil {
		p.tb.Errorf("%s %v: %v", filepath.Base(p.Path), p.Args, p.err)
	}
}

// Ready waits until a daemon says that work flows.
func (p *Process) Ready() {
	p.tb.Helper()
	Eventually(p.tb, filepath.Base(p.Path)+" is ready", func() error {
		if !p.Alive() {
			p.tb.Fatalf("%s has ended: %v", filepath.Base(p.Path), p.err)
		}
		_, err := Get("http://" + p.HTTP + "/readyz")
		return err
	})
}
