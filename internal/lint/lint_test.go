package lint_test

import (
	"bytes"
	"fmt"
	"go/format"
	"io/fs"
	"os"
	"path"
	"regexp"
	"strings"
	"testing"
)

// maxLines is where a Go file surely holds more than one idea; a table of tests
// may be longer.
const maxLines = 450

// rule refuses a pattern in the files whose path matches.
type rule struct {
	name    string
	files   *regexp.Regexp
	pattern *regexp.Regexp
	allowed map[string]string // file, and why it may
}

// The patterns are put together from pieces, so that this file obeys them.
var rules = []rule{
	{
		name:    "unfinished work",
		files:   regexp.MustCompile(`.`),
		pattern: regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|XX` + `X)\b`),
	},
	{
		name:    "a test that sleeps: poll a condition, or use testing/synctest",
		files:   regexp.MustCompile(`_test\.go$|test/[^/]*\.go$`),
		pattern: regexp.MustCompile(`time\.` + `Sleep\(`),
		allowed: map[string]string{
			"internal/app/ops/ops_test.go": "in a bubble of synctest, where it moves the clock",
		},
	},
	{
		name:    "a test that skips: use testenv.Need",
		files:   regexp.MustCompile(`\.go$`),
		pattern: regexp.MustCompile(`\.` + `Skip(f|Now)?\(`),
		allowed: map[string]string{
			"internal/testenv/testenv.go": "the one place that may, and not in CI",
		},
	},
	{
		name:    "a path of somebody's machine",
		files:   regexp.MustCompile(`.`),
		pattern: regexp.MustCompile(`(^|[\s"'(=:])/(wo` + `rk|ro` + `ot|ho` + `me/[a-z]+|Us` + `ers)(/|\b)`),
	},
	{
		name:    "the host of a package registry",
		files:   regexp.MustCompile(`.`),
		pattern: regexp.MustCompile(`(pro` + `xy|su` + `m)\.golang\.org|registry\.` + `npmjs|deb\.` + `debian\.org|files\.` + `pythonhosted`),
	},
}

func TestRepository(t *testing.T) {
	for _, finding := range findings(t, os.DirFS("../..")) {
		t.Error(finding)
	}
}

// findings lists what breaks a rule, as file:line: rule: text.
func findings(t *testing.T, fsys fs.FS) []string {
	t.Helper()
	var found []string
	err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if skipDir(name) {
				return fs.SkipDir
			}
			return nil
		}
		if !d.Type().IsRegular() || !isText(name) {
			return nil
		}
		b, err := fs.ReadFile(fsys, name)
		if err != nil {
			return err
		}
		found = append(found, inFile(name, b)...)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func skipDir(name string) bool {
	switch path.Base(name) {
	case ".git", "node_modules":
		return true
	}
	return name == "bin" || name == "data"
}

// isText leaves out sums and compressed files.
func isText(name string) bool {
	switch path.Ext(name) {
	case ".sum", ".zst", ".gz", ".bin", ".png", ".test", ".prof":
		return false
	}
	return true
}

func inFile(name string, b []byte) []string {
	var found []string
	lines := strings.Split(string(b), "\n")
	for _, r := range rules {
		if _, ok := r.allowed[name]; ok || !r.files.MatchString(name) {
			continue
		}
		for i, line := range lines {
			if r.pattern.MatchString(line) {
				found = append(found, fmt.Sprintf("%s:%d: %s: %s", name, i+1, r.name, strings.TrimSpace(line)))
			}
		}
	}
	if path.Ext(name) != ".go" {
		return found
	}
	if n := bytes.Count(b, []byte("\n")); n > maxLines && !strings.HasSuffix(name, "_test.go") {
		found = append(found, fmt.Sprintf("%s: %d lines, more than %d: split it by idea", name, n, maxLines))
	}
	switch formatted, err := format.Source(b); {
	case err != nil:
		found = append(found, fmt.Sprintf("%s: not Go: %v", name, err))
	case !bytes.Equal(formatted, b):
		found = append(found, name+": run gofmt -w on it")
	}
	return found
}
