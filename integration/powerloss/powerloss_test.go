package main

import (
	"fmt"
	"os"
	"testing"

	"github.com/dermai/millrace/internal/testenv"
)

func TestMain(m *testing.M) {
	if os.Getenv(childRole) == "" {
		os.Exit(m.Run())
	}
	if err := child(); err != nil {
		fmt.Fprintln(os.Stderr, "child:", err)
		os.Exit(1)
	}
}

// TestKinds runs some of the kinds once; make powerloss runs all, for longer.
func TestKinds(t *testing.T) {
	for _, name := range []string{"store", "spool", "publish", "rewind", "flip"} {
		t.Run(name, func(t *testing.T) {
			if kinds[name].kind == "power" {
				testenv.NeedRoot(t)
				testenv.Need(t, "mkfs.ext4")
			}
			if r := try(t.Context(), name, 1, ""); r.Outcome != "held" {
				t.Errorf("%s: %s", r.Outcome, r.Why)
			}
		})
	}
}
