package ruletest_test

import (
	"errors"
	"flag"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/dermai/millrace/rules"
	"github.com/dermai/millrace/rules/ruletest"
	"github.com/dermai/millrace/schemas"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestDefaults runs the tests that are shipped with the default rules and with
// those of the demo.
func TestDefaults(t *testing.T) {
	shipped := map[string]schemas.RuleFile{"../default_test.yaml": rules.Default(), "../demo_test.yaml": rules.Demo()}
	for name, file := range shipped {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		out, passed := run(t, name, string(text), func(string) ([]byte, error) { return []byte(file.Text), nil })
		if !passed {
			t.Errorf("%s:\n%s", name, out)
		}
	}
}

// run gives what a user sees.
func run(t *testing.T, name, text string, read func(string) ([]byte, error)) (string, bool) {
	t.Helper()
	results, err := ruletest.Run(name, text, read)
	if err != nil {
		return err.Error() + "\n", false
	}
	var out strings.Builder
	passed, err := ruletest.Write(&out, results)
	if err != nil {
		t.Fatal(err)
	}
	return out.String(), passed
}

// TestOutput runs the files of testdata and compares what a user sees. Each is a
// txtar archive: test.yaml, the rule files it names, and output.
func TestOutput(t *testing.T) {
	names, err := fs.Glob(os.DirFS("testdata"), "*.txtar")
	if err != nil || len(names) == 0 {
		t.Fatal(names, err)
	}
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			golden := "testdata/" + name
			archive, err := txtar.ParseFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			files := map[string][]byte{}
			for _, f := range archive.Files {
				files[f.Name] = f.Data
			}
			got, passed := run(t, "test.yaml", string(files["test.yaml"]), func(name string) ([]byte, error) {
				if b, ok := files[name]; ok {
					return b, nil
				}
				return nil, errors.New("no such file: " + name)
			})
			if want := name == "passes.txtar"; passed != want {
				t.Errorf("passed %v, want %v", passed, want)
			}
			last := &archive.Files[len(archive.Files)-1]
			if *update {
				last.Data = []byte(got)
				if err := os.WriteFile(golden, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(string(last.Data), got); diff != "" {
				t.Errorf("output (-want +got):\n%s", diff)
			}
		})
	}
}
