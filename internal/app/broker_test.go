package app_test

import (
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/dermai/millrace/internal/broker"
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
