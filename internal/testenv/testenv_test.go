package testenv_test

import (
	"fmt"
	"os"
	"testing"

	"github.com/dermai/millrace/internal/testenv"
)

// recorder stands in for a test that Need ends.
type recorder struct {
	testing.TB
	ended string
}

func (r *recorder) Helper() {}

func (r *recorder) Fatalf(format string, args ...any) {
	r.ended = "failed: " + fmt.Sprintf(format, args...)
}

func (r *recorder) Errorf(format string, args ...any) { r.Fatalf(format, args...) }

func (r *recorder) Skipf(format string, args ...any) {
	if r.ended == "" {
		r.ended = "skipped: " + fmt.Sprintf(format, args...)
	}
}

func TestNeed(t *testing.T) {
	for _, c := range []struct{ program, ci, want string }{
		{"go", "true", ""},
		{"no-such-program", "true", "failed: no-such-program is not installed, and CI=true skips nothing: add it to scripts/install.sh"},
		{"no-such-program", "", "skipped: no-such-program is not installed: run make install"},
	} {
		t.Run(c.program+" CI="+c.ci, func(t *testing.T) {
			t.Setenv("CI", c.ci)
			r := &recorder{TB: t}
			path := testenv.Need(r, c.program)
			if r.ended != c.want {
				t.Errorf("ended %q, want %q", r.ended, c.want)
			}
			if (path == "") != (c.want != "") {
				t.Errorf("path %q", path)
			}
		})
	}
}

// TestNeedRoot: only root goes on.
func TestNeedRoot(t *testing.T) {
	for ci, want := range map[string]string{"true": "failed: this is not root, and CI=true skips nothing: run it as root", "": "skipped: this is not root: run it as root"} {
		t.Setenv("CI", ci)
		if os.Geteuid() == 0 {
			want = ""
		}
		r := &recorder{TB: t}
		if testenv.NeedRoot(r); r.ended != want {
			t.Errorf("CI=%q: ended %q, want %q", ci, r.ended, want)
		}
	}
}
