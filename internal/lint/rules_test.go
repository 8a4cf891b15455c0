package lint_test

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

// TestFindings breaks every rule once, and shows what is let through.
func TestFindings(t *testing.T) {
	file := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }
	fsys := fstest.MapFS{
		"a/unfinished.md":             file("fine\nTO" + "DO: write this\n"),
		"a/sleep_test.go":             file("package a\n\nfunc f() { time." + "Sleep(1) }\n"),
		"a/sleep.go":                  file("package a\n\nfunc f() { time." + "Sleep(1) }\n"),
		"a/skip_test.go":              file("package a\n\nfunc f() { t." + "Skipf(\"no\") }\n"),
		"internal/testenv/testenv.go": file("package testenv\n\nfunc f() { tb." + "Skipf(\"no\") }\n"),
		"a/path.yaml":                 file("dir: /ro" + "ot/x\nurl: https://example.com/wo" + "rk/x\n"),
		"a/registry.sh":               file("curl https://registry." + "npmjs.org/x\n"),
		"a/format.go":                 file("package a\nvar  x = 1\n"),
		"a/broken.go":                 file("package\n"),
		"a/long.go":                   file("package a\n" + strings.Repeat("\n// x\n", 230)),
		"go.sum":                      file("TO" + "DO\n"),
		"bin/x":                       file("TO" + "DO\n"),
		".git/x":                      file("TO" + "DO\n"),
	}
	want := []string{
		"a/broken.go: not Go: 1:9: expected 'IDENT', found 'EOF'",
		"a/format.go: run gofmt -w on it",
		"a/long.go: 461 lines, more than 450: split it by idea",
		"a/path.yaml:1: a path of somebody's machine: dir: /ro" + "ot/x",
		"a/registry.sh:1: the host of a package registry: curl https://registry." + "npmjs.org/x",
		"a/skip_test.go:3: a test that skips: use testenv.Need: func f() { t." + "Skipf(\"no\") }",
		"a/sleep_test.go:3: a test that sleeps: poll a condition, or use testing/synctest: func f() { time." + "Sleep(1) }",
		"a/unfinished.md:2: unfinished work: TO" + "DO: write this",
	}
	if diff := cmp.Diff(want, findings(t, fsys)); diff != "" {
		t.Errorf("findings (-want +got):\n%s", diff)
	}
}
