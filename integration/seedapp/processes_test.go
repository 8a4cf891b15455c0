package seedapp_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"
)

// program is one that runs beside the test.
type program struct {
	t    *testing.T
	cmd  *exec.Cmd
	mu   sync.Mutex
	out  bytes.Buffer // standard output; guarded by mu
	err  bytes.Buffer // standard error; guarded by mu
	once sync.Once
}

// stream keeps what a program says.
type stream struct {
	mu *sync.Mutex
	b  *bytes.Buffer
}

func (s stream) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

// start runs a program in a directory until stop, or the end of the test.
func start(t *testing.T, dir string, env []string, path string, args ...string) *program {
	t.Helper()
	p := &program{t: t, cmd: exec.Command(path, args...)}
	p.cmd.Dir = dir
	p.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir}, env...)
	p.cmd.Stdout, p.cmd.Stderr = stream{&p.mu, &p.out}, stream{&p.mu, &p.err}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.stop)
	return p
}

// stop ends the program in order. It must end well.
func (p *program) stop() {
	p.once.Do(func() {
		_ = p.cmd.Process.Signal(os.Interrupt)
		late := time.AfterFunc(time.Minute, func() { _ = p.cmd.Process.Kill() })
		defer late.Stop()
		if err := p.cmd.Wait(); err != nil {
			p.t.Errorf("%s: %v\n%s", p.cmd.Path, err, p.stderr())
		}
	})
}

func (p *program) stdout() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.String()
}

func (p *program) stderr() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err.String()
}

// eventually polls a condition, which says what is missing, or "".
func eventually(t *testing.T, limit time.Duration, missing func() string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	poll := time.NewTicker(100 * time.Millisecond)
	defer poll.Stop()
	for {
		what := missing()
		if what == "" {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("not within %v: %s", limit, what)
		case <-poll.C:
		}
	}
}

// answers tells, as eventually wants it, whether a URL answers 200.
func answers(url string) func() string {
	return func() string {
		resp, err := http.Get(url)
		if err != nil {
			return err.Error()
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		if resp.StatusCode != http.StatusOK {
			return resp.Status + " " + string(body)
		}
		return ""
	}
}

func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
