package sinks_test

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dermai/millrace/notify"
	"github.com/dermai/millrace/sinks"
)

var update = flag.Bool("update", false, "write golden files anew")

// golden compares with a file of testdata.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

// build makes a receiver from its options, or fails.
func build(t *testing.T, kind, options string, env sinks.Env) sinks.Sink {
	t.Helper()
	s, err := open(kind, options, env)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func open(kind, options string, env sinks.Env) (sinks.Sink, error) {
	cfg := notify.Config{Receivers: []notify.ReceiverConfig{{Name: "team", Type: kind, Options: notify.NewOptions([]byte(options))}}}
	out, err := sinks.Open(cfg, sinks.Builtin(), env)
	return out["team"], err
}
