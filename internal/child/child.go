// Package child runs programs as processes of a test's or a measurement's own.
//
// The invariant: a process never outlives the one that started it, and no variable
// of that one's environment decides what it does.
package child

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// Packages that Build compiles.
const (
	Programs   = "github.com/dermai/millrace/cmd/..." // the four of ours
	Millrace   = "github.com/dermai/millrace/cmd/millrace"
	NATSServer = "github.com/nats-io/nats-server/v2" // the real one
)

// Build compiles programs into a directory, with these flags and of these packages.
func Build(ctx context.Context, dir string, args ...string) error {
	out, err := exec.CommandContext(ctx, "go", append([]string{"build", "-o", dir + "/"}, args...)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("build %v: %w\n%s", args, err, out)
	}
	return nil
}

// FreeAddr is a port of loopback, host:port, that nobody listened on a moment ago.
func FreeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// Ready asks a daemon at host:port whether work flows.
func Ready(addr string) error {
	client := http.Client{Timeout: 2 * time.Second}
	resp, err := client.Get("http://" + addr + "/readyz")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s is not ready: %s", addr, resp.Status)
	}
	return nil
}

// Program is what to run, and where.
type Program struct {
	Path string
	Args []string
	Dir  string   // where it runs, and its HOME
	Env  []string // besides PATH and HOME
	// NotRoot is for a program that refuses to be root. Where we are root, it runs
	// under root's rights, but sees another user for root.
	NotRoot bool
}

// nobody is a user with a name on every Debian.
const nobody = 65534

// Command is the program before its start.
func (p Program) Command() *exec.Cmd {
	cmd := exec.Command(p.Path, p.Args...)
	cmd.Dir = p.Dir
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + p.Dir}, p.Env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if p.NotRoot && os.Geteuid() == 0 {
		cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWUSER
		root := []syscall.SysProcIDMap{{ContainerID: nobody, HostID: 0, Size: 1}}
		cmd.SysProcAttr.UidMappings, cmd.SysProcAttr.GidMappings = root, root
	}
	return cmd
}

// Start runs the program, which prints to out and logs to log.
func (p Program) Start(out, log io.Writer) (*Process, error) {
	cmd := p.Command()
	cmd.Stdout, cmd.Stderr = out, log
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", p.Path, err)
	}
	run := &Process{cmd: cmd, ended: make(chan struct{})}
	go func() {
		run.err = cmd.Wait()
		close(run.ended)
	}()
	return run, nil
}

// Process is one life of a program. It is safe for concurrent use.
type Process struct {
	cmd   *exec.Cmd
	ended chan struct{}
	err   error // after ended
}

// PID of the process, also after its end.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Signal sends a signal without waiting for anything.
func (p *Process) Signal(s os.Signal) error { return p.cmd.Process.Signal(s) }

// Kill ends the process without a chance to do anything, and waits for its end.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill() // it may have ended
	<-p.ended
}

// Ended is closed when the process has ended.
func (p *Process) Ended() <-chan struct{} { return p.ended }

// Alive tells that the process has not ended.
func (p *Process) Alive() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// Err waits for the end and tells how it was; nil: well.
func (p *Process) Err() error {
	<-p.ended
	return p.err
}

// Output keeps what a program says. It is safe for concurrent use.
type Output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *Output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(b)
}

func (o *Output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}
