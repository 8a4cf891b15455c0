// Package pipelinetest runs what tests of a pipeline need: a broker of their
// own, in the test's process, that syncs every write as the real one does.
//
//	srv := pipelinetest.Start(t)
//	conn := srv.Connect(t)
package pipelinetest

import (
	"context"
	"testing"
	"time"

	"github.com/dermai/millrace/internal/broker"
	"github.com/dermai/millrace/pipeline"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
)

// Server is a broker that ends with the test.
type Server struct {
	// Registry holds the metrics of every connection that Connect made last.
	Registry *prometheus.Registry
	broker   *broker.Server
	config   broker.Config
}

// Start runs a broker on a free loopback port with an empty directory.
func Start(t testing.TB) *Server {
	t.Helper()
	s := &Server{config: broker.Config{Dir: t.TempDir(), Listen: "127.0.0.1:0"}}
	s.start(t)
	t.Cleanup(func() { s.broker.Shutdown() })
	return s
}

func (s *Server) start(t testing.TB) {
	t.Helper()
	var err error
	// A free port of a moment ago may be taken by now.
	Within(t, "start the broker", func() bool {
		s.broker, err = broker.Start(s.config)
		return err == nil
	})
	if s.config.Listen == "127.0.0.1:0" {
		s.config.Listen = s.Address() // the same after a restart
	}
}

// Address of the broker, host:port.
func (s *Server) Address() string { return s.URL()[len("nats://"):] }

// URL of the broker.
func (s *Server) URL() string { return s.broker.URL() }

// Stop ends the broker. Restart starts it again.
func (s *Server) Stop() { s.broker.Shutdown() }

// Restart ends the broker and starts it again on its directory and port.
func (s *Server) Restart(t testing.TB) {
	t.Helper()
	s.broker.Shutdown()
	s.start(t)
}

// Sync is what pipeline.Layout wants of an embedded broker.
func (s *Server) Sync() error { return s.broker.Sync() }

// Connect connects in process. The connection ends with the test.
func (s *Server) Connect(t testing.TB) *pipeline.Conn {
	t.Helper()
	return s.ConnectWith(t, pipeline.Config{InProcess: s.broker})
}

// ConnectURL connects by a URL, such as a Proxy's.
func (s *Server) ConnectURL(t testing.TB, url string) *pipeline.Conn {
	t.Helper()
	return s.ConnectWith(t, pipeline.Config{URL: url, Timeout: 2 * time.Second})
}

// ConnectWith connects with a configuration; its metrics are in Registry.
func (s *Server) ConnectWith(t testing.TB, c pipeline.Config) *pipeline.Conn {
	t.Helper()
	s.Registry = prometheus.NewRegistry()
	c.Registerer = s.Registry
	conn, err := pipeline.Connect(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	return conn
}

// connect is for what a test asks the broker itself.
func connect(t testing.TB, url string, opts ...nats.Option) (js jetstream.JetStream, done func()) {
	t.Helper()
	nc, err := nats.Connect(url, opts...)
	if err != nil {
		t.Fatal(err)
	}
	if js, err = jetstream.New(nc); err != nil {
		t.Fatal(err)
	}
	return js, nc.Close
}

// Within polls a condition until it holds, and fails the test if that takes
// more than a minute.
func Within(t testing.TB, what string, holds func() bool) {
	t.Helper()
	deadline := time.NewTimer(time.Minute)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("not within a minute: %s", what)
		}
	}
}
