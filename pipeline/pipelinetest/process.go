package pipelinetest

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/dermai/millrace/internal/broker"
)

// Main runs the tests, or, in a process that StartProcess began, a broker. A
// package that uses Process calls it from TestMain.
func Main(m *testing.M) {
	dir, ok := os.LookupEnv("MILLRACE_TEST_BROKER")
	if !ok {
		os.Exit(m.Run())
	}
	s, err := broker.Start(broker.Config{Dir: dir, Listen: os.Getenv("MILLRACE_TEST_LISTEN")})
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
	fmt.Println(s.URL())
	select {} // until it is killed
}

// Process is a broker in a process of its own, to be killed.
type Process struct {
	dir    string
	listen string
	cmd    *exec.Cmd
}

// StartProcess runs a broker with an empty directory in another process, which
// ends with the test.
func StartProcess(t testing.TB) *Process {
	t.Helper()
	p := &Process{dir: t.TempDir(), listen: "127.0.0.1:0"}
	url, err := p.start(p.dir)
	if err != nil {
		t.Fatal(err)
	}
	p.listen = strings.TrimPrefix(url, "nats://")
	t.Cleanup(p.end)
	return p
}

// URL of the broker.
func (p *Process) URL() string { return "nats://" + p.listen }

// Kill ends the process with SIGKILL and starts another one on its directory
// and port.
func (p *Process) Kill(t testing.TB) {
	t.Helper()
	p.end()
	var err error
	Within(t, "start the broker again", func() bool {
		_, err = p.start(p.dir)
		return err == nil
	})
}

// Second tells what another process says that wants the same directory.
func (p *Process) Second(t testing.TB) error {
	t.Helper()
	second := &Process{listen: "127.0.0.1:0"}
	_, err := second.start(p.dir)
	second.end()
	return err
}

func (p *Process) start(dir string) (url string, err error) {
	exe, err := os.Executable()
	if err != nil {
		return "", err
	}
	p.cmd = exec.Command(exe)
	p.cmd.Env = append(os.Environ(), "MILLRACE_TEST_BROKER="+dir, "MILLRACE_TEST_LISTEN="+p.listen)
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return "", err
	}
	if err := p.cmd.Start(); err != nil {
		return "", err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	line = strings.TrimSpace(line)
	if fault, ok := strings.CutPrefix(line, "error: "); ok || err != nil {
		p.end()
		return "", fmt.Errorf("the broker's process says %q", fault)
	}
	return line, nil
}

func (p *Process) end() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}
