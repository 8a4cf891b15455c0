package testenv_test

import (
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/dermai/millrace/internal/testenv"
)

// TestProcess takes a program through its lives: it is killed, started again,
// stopped and held. What it says in each is kept, and it knows no variable that
// it was not given.
func TestProcess(t *testing.T) {
	t.Setenv("SECRET", "of the shell")
	p := testenv.Program{
		Path: testenv.Need(t, "sh"), Dir: t.TempDir(), Env: []string{"GREETING=good day"},
		Args: []string{"-c", `trap "exit 0" INT; echo "$GREETING $SECRET"; echo "in $HOME" >&2; while :; do sleep .01; done`},
	}.Start(t)
	said := func(times int) {
		t.Helper()
		testenv.Eventually(t, "it greets", func() error {
			if strings.Count(p.Stderr(), "in "+p.Dir+"\n") != times {
				return errors.New(p.Stderr())
			}
			return nil
		})
	}
	said(1)
	p.Signal(syscall.SIGSTOP)
	p.Kill()
	if p.Alive() {
		t.Error("alive after a kill")
	}
	p.Restart()
	said(2)
	p.Stop()
	if want := strings.Repeat("good day \n", 2); p.Stdout() != want || p.Alive() {
		t.Errorf("said %q, want %q; alive %t", p.Stdout(), want, p.Alive())
	}
	p.Stop() // does nothing
	p.Restart()
	said(3) // and the end of the test stops it
}

// TestProcessFails: a program that ends badly, or that had ended by itself, fails
// the test.
func TestProcessFails(t *testing.T) {
	for script, want := range map[string]string{"exit 3": "exit status 3", "exit 0": "has ended by itself", "kill -9 $$": "signal: killed"} {
		r := &recorder{TB: t}
		p := testenv.Program{Path: testenv.Need(t, "sh"), Args: []string{"-c", script}, Dir: t.TempDir()}.Start(r)
		testenv.Eventually(t, "it ends", func() error {
			if p.Alive() {
				return os.ErrProcessDone
			}
			return nil
		})
		if p.Stop(); !strings.Contains(r.ended, want) {
			t.Errorf("%s: %q, want %q", script, r.ended, want)
		}
	}
}
