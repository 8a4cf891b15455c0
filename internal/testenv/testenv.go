// Package testenv tells tests what the machine has.
//
// The invariant: nothing is skipped in silence. With CI=true a missing program
// fails the test; elsewhere it skips it, naming what to install.
package testenv

import (
	"os"
	"os/exec"
	"testing"
)

// Need returns the path of a program that the test runs. Where the program is
// missing, the test ends: failed with CI=true, skipped otherwise.
func Need(tb testing.TB, program string) string {
	tb.Helper()
	path, err := exec.LookPath(program)
	if err == nil {
		return path
	}
	if os.Getenv("CI") == "true" {
		tb.Fatalf("%s is not installed, and CI=true skips nothing: add it to scripts/install.sh", program)
	}
	tb.Skipf("%s is not installed: run make install", program)
	return ""
}
