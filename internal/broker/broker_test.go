package broker_test

import (
	"bufio"
	"bytes"
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/dermai/millrace/internal/broker"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
)

// TestMain turns the test binary into a broker of its own when asked to, so
// that a test can kill a real process.
func TestMain(m *testing.M) {
	if dir := os.Getenv("MILLRACE_BROKER_DIR"); dir != "" {
		s, err := broker.Start(broker.Config{Dir: dir, Listen: "127.0.0.1:0"})
		if err != nil {
			os.Stdout.WriteString("error: " + err.Error() + "\n")
			os.Exit(1)
		}
		os.Stdout.WriteString(s.URL() + "\n")
		select {}
	}
	os.Exit(m.Run())
}

// child starts a broker process and returns the line that it says first.
func child(t *testing.T, dir string) (*exec.Cmd, string) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), "MILLRACE_BROKER_DIR="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the broker process said nothing: %v", err)
	}
	return cmd, strings.TrimSpace(line)
}

func dial(t *testing.T, url string, opts ...nats.Option) jetstream.JetStream {
	t.Helper()
	nc, err := nats.Connect(url, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

func TestAcknowledgedSurvivesKill(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	dir := t.TempDir()
	cmd, url := child(t, dir)
	js := dial(t, url)
	if _, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}}); err != nil {
		t.Fatal(err)
	}
	const n = 50
	for range n {
		if _, err := js.Publish(ctx, "s", []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()

	s, err := broker.Start(broker.Config{Dir: dir})
	if err != nil {
		t.Fatalf("start on the directory of a killed process: %v", err)
	}
	defer s.Shutdown()
	js = dial(t, "", nats.InProcessServer(s))
	st, err := js.Stream(ctx, "S")
	if err != nil {
		t.Fatal(err)
	}
	if got := st.CachedInfo().State.LastSeq; got != n {
		t.Errorf("after kill: last sequence %d, %d were acknowledged", got, n)
	}
}

func TestOneServerPerDirectory(t *testing.T) {
	dir := t.TempDir()
	s, err := broker.Start(broker.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Shutdown()

	_, line := child(t, dir)
	for _, want := range []string{"error:", dir, "in use by another process", "NATS_URL"} {
		if !strings.Contains(line, want) {
			t.Errorf("second process says %q, want %q in it", line, want)
		}
	}

	s.Shutdown()
	s, err = broker.Start(broker.Config{Dir: dir})
	if err != nil {
		t.Fatalf("start after shutdown: %v", err)
	}
	s.Shutdown()
}

func TestLimits(t *testing.T) {
	ctx := t.Context()
	s, err := broker.Start(broker.Config{Dir: t.TempDir(), MaxStore: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Shutdown()
	if url := s.URL(); url != "" {
		t.Errorf("without a listen address the server listens on %s", url)
	}
	js := dial(t, "", nats.InProcessServer(s))
	if _, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "BIG", Subjects: []string{"b"}, MaxBytes: 2 << 20}); err == nil {
		t.Error("a stream above the store's limit was created")
	}
	if err := s.Sync(); err != nil {
		t.Error(err)
	}
}

func TestListen(t *testing.T) {
	s, err := broker.Start(broker.Config{Dir: t.TempDir(), Listen: "localhost:0"})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Shutdown()
	dial(t, s.URL())
}

func TestValidate(t *testing.T) {
	for _, tt := range []struct {
		config broker.Config
		want   string // in the error
	}{
		{broker.Config{}, "data directory: empty"},
		{broker.Config{Dir: "d", Listen: "0.0.0.0:4222"}, "loopback only"},
		{broker.Config{Dir: "d", Listen: ":4222"}, "loopback only"},
		{broker.Config{Dir: "d", Listen: "10.0.0.1:4222"}, "loopback only"},
		{broker.Config{Dir: "d", Listen: "4222"}, "want host:port"},
		{broker.Config{Dir: "d", Listen: "127.0.0.1:99999"}, "0 to 65535"},
		{broker.Config{Dir: "d", MaxStore: -1}, "below zero"},
	} {
		if _, err := broker.Start(tt.config); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("Start(%+v) = %v, want an error with %q", tt.config, err, tt.want)
		}
	}
}

func TestLogs(t *testing.T) {
	var b bytes.Buffer
	s, err := broker.Start(broker.Config{Dir: t.TempDir(), Logger: zerolog.New(zerolog.SyncWriter(&b)).Level(zerolog.DebugLevel)})
	if err != nil {
		t.Fatal(err)
	}
	s.Shutdown()
	if !strings.Contains(b.String(), "Server is ready") {
		t.Errorf("the server's words are not in the log:\n%s", b.String())
	}
}

// A directory that cannot hold the store is an error of Start with its cause,
// not the end of the process.
func TestFatalIsAnError(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/jetstream", []byte("not a directory"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := broker.Start(broker.Config{Dir: dir}); err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("got %v, want an error that names %s", err, dir)
	}
}
