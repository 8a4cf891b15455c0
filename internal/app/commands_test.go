package app_test

import (
	"context"
	"net"
	"os/exec"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/dermai/millrace/internal/broker"
	"github.com/dermai/millrace/pipeline"
	"github.com/dermai/millrace/schemas"
)

// startBroker runs a server until the script ends, and names it in NATS_URL. It
// is a command of scripts.
func startBroker(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: broker")
	}
	server, err := broker.Start(broker.Config{Dir: ts.MkAbs("broker"), Listen: "127.0.0.1:0"})
	ts.Check(err)
	ts.Defer(server.Shutdown)
	ts.Setenv("NATS_URL", server.URL())
}

// freePort puts host:port of a free port into each variable. It is a command of
// scripts.
func freePort(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: freeport VARIABLE...")
	}
	for _, name := range args {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		ts.Check(err)
		defer l.Close() // at the end, so that no two get the same
		ts.Setenv(name, l.Addr().String())
	}
}

// eventually runs a program again and again until it succeeds. It is a command
// of scripts.
func eventually(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: eventually TIMEOUT PROGRAM ARGUMENTS...")
	}
	limit, err := time.ParseDuration(args[0])
	ts.Check(err)
	again := time.NewTicker(200 * time.Millisecond)
	defer again.Stop()
	for deadline := time.Now().Add(limit); ; <-again.C {
		path, err := exec.LookPath(args[1])
		ts.Check(err)
		err = ts.Exec(path, args[2:]...)
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("not within %v: %v", limit, err)
		}
	}
}

// poison puts the items of a file into the quarantine. It is a command of
// scripts.
func poison(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: poison FILE")
	}
	ctx := context.Background()
	conn, err := pipeline.Connect(ctx, pipeline.Config{URL: ts.Getenv("NATS_URL")})
	ts.Check(err)
	defer conn.Close()
	for line := range strings.Lines(ts.ReadFile(args[0])) {
		var item schemas.Quarantined
		ts.Check(schemas.DecodeInto([]byte(line), &item))
		ts.Check(pipeline.NewQuarantine(conn).Put(ctx, item))
	}
}

// loseStream deletes a stream behind everybody's back.
func loseStream(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: losestream NAME")
	}
	nc, err := nats.Connect(ts.Getenv("NATS_URL"))
	ts.Check(err)
	defer nc.Close()
	js, err := jetstream.New(nc)
	ts.Check(err)
	ts.Check(js.DeleteStream(context.Background(), args[0]))
}
