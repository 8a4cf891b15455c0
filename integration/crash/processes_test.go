package crash_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// build compiles the programs once, the real nats-server among them.
var build = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "millrace-crash-")
	if err != nil {
		return "", err
	}
	for _, pkg := range []string{
		"github.com/nats-io/nats-server/v2",
		"github.com/dermai/millrace/cmd/millrace",
		"github.com/dermai/millrace/cmd/publisher",
		"github.com/dermai/millrace/cmd/processor",
		"github.com/dermai/millrace/cmd/archiver",
	} {
		name := filepath.Base(pkg)
		if name == "v2" {
			name = "nats-server"
		}
		out, err := exec.Command("go", "build", "-o", filepath.Join(dir, name), pkg).CombinedOutput()
		if err != nil {
			return "", fmt.Errorf("build %s: %w\n%s", pkg, err, out)
		}
	}
	return dir, nil
})

// process is a program that can be killed and started again.
type process struct {
	t    *testing.T
	name string
	path string
	args []string
	dir  string
	http string // address of its health; "": it has none

	mu    sync.Mutex
	cmd   *exec.Cmd
	ended chan struct{}
	log   bytes.Buffer // of all its lives; guarded by logMu
	logMu sync.Mutex
}

// Write keeps what the program says.
func (p *process) Write(b []byte) (int, error) {
	p.logMu.Lock()
	defer p.logMu.Unlock()
	return p.log.Write(b)
}

func (p *process) said() string {
	p.logMu.Lock()
	defer p.logMu.Unlock()
	return p.log.String()
}

func (p *process) start() {
	p.mu.Lock()
	defer p.mu.Unlock()
	cmd := exec.Command(p.path, p.args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = p.dir, p, p
	// No environment of ours decides what the programs do.
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + p.dir}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		p.t.Errorf("start %s: %v", p.name, err)
		return
	}
	p.cmd, p.ended = cmd, make(chan struct{})
	ended := p.ended
	go func() {
		_ = cmd.Wait() // killed, mostly
		close(ended)
	}()
}

// kill ends the program without a chance to do anything.
func (p *process) kill() { p.signal(syscall.SIGKILL) }

// stop ends the program in order.
func (p *process) stop() { p.signal(syscall.SIGTERM) }

func (p *process) signal(s os.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Signal(s)
	select {
	case <-p.ended:
	case <-time.After(40 * time.Second):
		p.t.Errorf("%s did not end after %v", p.name, s)
		_ = p.cmd.Process.Kill()
		<-p.ended
	}
	p.cmd = nil
}

// alive tells that the program runs.
func (p *process) alive() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
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

// ready waits until the program says that work flows.
func (p *process) ready(ctx context.Context) {
	p.t.Helper()
	var last string
	eventually(ctx, p.t, p.name+" is ready", func() bool {
		resp, err := http.Get("http://" + p.http + "/readyz")
		if err != nil {
			last = err.Error()
			return false
		}
		defer resp.Body.Close()
		var b bytes.Buffer
		_, _ = b.ReadFrom(resp.Body)
		last = b.String()
		return resp.StatusCode == http.StatusOK
	}, &last)
}

// eventually polls a condition.
func eventually(ctx context.Context, t *testing.T, what string, ok func() bool, last *string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	poll := time.NewTicker(50 * time.Millisecond)
	defer poll.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			t.Fatalf("not within three minutes: %s: %s", what, *last)
		case <-poll.C:
		}
	}
}

// freePort finds a loopback port that nobody listens on.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := strings.Cut(l.Addr().String(), ":")
	return port
}
