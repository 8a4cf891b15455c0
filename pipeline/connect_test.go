package pipeline_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dermai/millrace/pipeline"
	"github.com/dermai/millrace/pipeline/pipelinetest"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
)

const password = "s3cr3t-p4ss"

// Errors of a connection say where and what to do, and never the password.
func TestConnectErrors(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "user.creds")
	bad := filepath.Join(t.TempDir(), "bad.creds")
	if err := os.WriteFile(bad, []byte(password), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		config pipeline.Config
		want   string
	}{
		{pipeline.Config{URL: "nats://user:" + password + "@127.0.0.1:1"}, "127.0.0.1:1: no server answered; start one, or set NATS_URL"},
		{pipeline.Config{URL: "nats://" + password + "@127.0.0.1:1, nats://user:" + password + "@localhost:1"}, "localhost:1: no server answered"},
		{pipeline.Config{URL: "nats://user:" + password + "%zz@127.0.0.1:1"}, "want nats://host:port"},
		{pipeline.Config{URL: "nats://user:" + password + " x@host:1"}, "want nats://host:port"},
		{pipeline.Config{URL: "127.0.0.1:1"}, "nats://127.0.0.1:1"},
		{pipeline.Config{Creds: missing}, "file of credentials: "},
		{pipeline.Config{Creds: bad, URL: "127.0.0.1:1"}, "connect to nats://127.0.0.1:1"},
		{pipeline.Config{CA: bad, URL: "tls://127.0.0.1:1"}, "connect to tls://127.0.0.1:1"},
		{pipeline.Config{Inbox: "_INBOX.>"}, "inbox prefix"},
		{pipeline.Config{ReadAhead: 1}, "read ahead of 1 bytes"},
		{pipeline.Config{Timeout: -1}, "timeout -1ns: below zero"},
	} {
		_, err := pipeline.Connect(t.Context(), tt.config)
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), password) {
			t.Errorf("connect with %+v: %v, want %q and no password", tt.config, err, tt.want)
		}
	}
}

// Connect does not outlast its context, whatever the other side does.
func TestConnectGivesUp(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0") // takes connections, and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	start := time.Now()
	if _, err := pipeline.Connect(ctx, pipeline.Config{URL: silent.Addr().String()}); err == nil || !strings.Contains(err.Error(), "no answer in time") {
		t.Errorf("connect to a server that says nothing: %v", err)
	}
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("it took %s", took)
	}
}

// The connection comes back by itself, and is used again.
func TestReconnect(t *testing.T) {
	s, _ := partials(t)
	proxy := pipelinetest.StartProxy(t, s.Address())
	c := s.ConnectURL(t, proxy.URL())
	l := newLog(t, c)
	for range 3 {
		proxy.Cut()
		pipelinetest.Within(t, "the broker is reached again", func() bool {
			_, err := l.Info(t.Context(), "PARTIALS")
			return err == nil
		})
	}
	proxy.Pause(true)
	pipelinetest.Within(t, "the loss is seen", func() bool { return !c.Connected() })
	proxy.Pause(false)
	pipelinetest.Within(t, "it is connected again", c.Connected)
	proxy.Stand(true)
	pipelinetest.Within(t, "a server without a word is given up", func() bool { return !c.Connected() })
	proxy.Stand(false)
	pipelinetest.Within(t, "it is connected again", c.Connected)
}

// doorman refuses clients while the door is shut.
type doorman struct {
	shut    atomic.Bool
	refused atomic.Int64
}

func (d *doorman) Check(server.ClientAuthentication) bool {
	if d.shut.Load() {
		d.refused.Add(1)
		return false
	}
	return true
}

// A password that is changed at the server, and here later or not at all, ends no
// connection for ever, and is said once.
func TestRefusedForAWhile(t *testing.T) {
	for _, later := range []bool{false, true} {
		t.Run(fmt.Sprintf("later %v", later), func(t *testing.T) {
			var door doorman
			s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: -1, NoSigs: true, NoLog: true, CustomClientAuthentication: &door})
			if err != nil {
				t.Fatal(err)
			}
			s.Start()
			t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
			proxy := pipelinetest.StartProxy(t, s.Addr().String())
			var log logLines
			door.shut.Store(later)
			c, err := pipeline.Connect(t.Context(), pipeline.Config{URL: proxy.URL(), Later: later, Logger: zerolog.New(&log)})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(c.Close)
			door.shut.Store(true)
			proxy.Cut()
			refused := door.refused.Load()
			pipelinetest.Within(t, "it is refused again and again", func() bool { return door.refused.Load() > refused+4 })
			if said := append(log.said(t, "warn"), log.said(t, "error")...); strings.Count(fmt.Sprint(said), "check the credentials") != 1 {
				t.Errorf("the log has %v", said)
			}
			door.shut.Store(false)
			pipelinetest.Within(t, "it is connected again", c.Connected)
		})
	}
}

func TestOneRegistererPerConnection(t *testing.T) {
	s := pipelinetest.Start(t)
	r := prometheus.NewRegistry()
	s.ConnectWith(t, pipeline.Config{URL: s.URL()})
	for i, want := range []string{"", "registerer of its own"} {
		c, err := pipeline.Connect(t.Context(), pipeline.Config{URL: s.URL(), Registerer: r})
		if err == nil {
			t.Cleanup(c.Close)
		}
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("connection %d with the same registerer: %v, want %q", i+1, err, want)
		}
	}
}
