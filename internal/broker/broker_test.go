package broker_test

import (
	"bytes"
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/dermai/millrace/internal/broker"
	"github.com/dermai/millrace/pipeline/pipelinetest"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
)

func TestMain(m *testing.M) { pipelinetest.Main(m) }

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
	p := pipelinetest.StartProcess(t)
	js := dial(t, p.URL())
	if _, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}}); err != nil {
		t.Fatal(err)
	}
	const n = 50
	for range n {
		if _, err := js.Publish(ctx, "s", []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	p.Kill(t)
	st, err := dial(t, p.URL()).Stream(ctx, "S")
	if err != nil {
		t.Fatal(err)
	}
	if got := st.CachedInfo().State.LastSeq; got != n {
		t.Errorf("after kill: last sequence %d, %d were acknowledged", got, n)
	}
}

func TestOneServerPerDirectory(t *testing.T) {
	dir := t.TempDir()
	for range 2 { // the second after the first was shut down
		s, err := broker.Start(broker.Config{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		_, err = broker.Start(broker.Config{Dir: dir})
		for _, want := range []string{dir, "in use by another process", "NATS_URL"} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("a second server on the directory: %v, want %q in it", err, want)
			}
		}
		s.Shutdown()
	}
	p := pipelinetest.StartProcess(t)
	if err := p.Second(t); err == nil || !strings.Contains(err.Error(), "in use by another process") {
		t.Errorf("a second process on the directory: %v", err)
	}
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
