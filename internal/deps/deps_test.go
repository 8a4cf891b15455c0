package deps_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

const module = "github.com/dermai/millrace/"

// arrows tells, per package directory, which of our packages it may import:
// names, or names with /... for a whole tree. A package that is not in the
// table is refused until somebody decides what it may import. Tests may import
// what they like.
var arrows = map[string]string{
	// The floor.
	"schemas":          "",
	"fence":            "internal/chaos schemas",
	"internal/chaos":   "",
	"internal/secret":  "",
	"internal/suggest": "",

	// Decides, without I/O.
	"rules":          "schemas internal/suggest",
	"rules/engine":   "schemas rules internal/chaos",
	"rules/ruletest": "schemas rules rules/engine internal/suggest",
	"stages":         "schemas fence rules rules/engine internal/chaos",
	"backtest":       "schemas fence rules rules/engine stages archive archive/query",

	// The edges.
	"spool":              "internal/chaos",
	"pipeline":           "schemas fence spool internal/chaos internal/secret",
	"pipeline/watermill": "schemas pipeline",
	"internal/broker":    "",
	"archive":            "schemas fence internal/chaos internal/secret",
	"archive/s3":         "archive internal/secret",
	"archive/segment":    "schemas fence archive",
	"archive/compact":    "schemas archive archive/segment",
	"archive/retain":     "archive archive/segment",
	"archive/query":      "schemas fence rules archive archive/segment",
	"notify":             "schemas fence internal/chaos",
	"sinks":              "schemas notify internal/chaos internal/secret",
	"sources":            "schemas",

	// The whole.
	".":                   "internal/app sinks",
	"internal/traffic":    "schemas",
	"internal/app/config": "schemas notify internal/secret internal/suggest",
	"internal/app/ops":    "",
	"internal/proof":      "schemas fence archive archive/compact",
	"internal/replay":     "schemas fence archive archive/query",
	"internal/archiver":   "schemas fence internal/chaos stages archive archive/compact archive/retain pipeline internal/app/ops internal/proof",
	"internal/processor":  "schemas fence rules rules/engine stages notify pipeline sinks internal/app/ops",
	"internal/app":        "...",
	"cmd/archiver":        "internal/app",
	"cmd/millrace":        "internal/app",
	"cmd/processor":       "internal/app",
	"cmd/publisher":       "internal/app",

	// Of tests.
	"examples":         "",
	"internal/child":   "",
	"internal/testenv": "internal/child",
	"internal/lint":    "",
	"internal/deps":    "",
}

// owned are libraries that only the packages behind them may import.
var owned = map[string]string{
	"github.com/nats-io/nats.go":                              "pipeline/... internal/broker",
	"github.com/nats-io/nats-server/v2":                       "internal/broker",
	"github.com/minio/minio-go":                               "archive/...",
	"github.com/expr-lang/expr":                               "rules",
	"github.com/alecthomas/kong":                              "internal/app",
	"github.com/prometheus/client_golang/prometheus/promhttp": "internal/app/...",
}

// pure are the trees that do no I/O, ask no clock and draw no random number,
// and what they therefore may not import.
var pure = "schemas/... fence rules/... stages/..."

var impure = []string{"os", "os/exec", "net", "net/http", "math/rand", "math/rand/v2", "crypto/rand", "log", "log/slog"}

func TestImports(t *testing.T) {
	for _, f := range findings(t, os.DirFS("../..")) {
		t.Error(f)
	}
}

// matches tells whether a package is one of a space-separated list of names and
// trees.
func matches(list, pkg string) bool {
	return slices.ContainsFunc(strings.Fields(list), func(pattern string) bool {
		tree, ok := strings.CutSuffix(pattern, "...")
		if !ok {
			return pkg == pattern
		}
		tree = strings.TrimSuffix(tree, "/")
		return tree == "" || pkg == tree || strings.HasPrefix(pkg, tree+"/")
	})
}

// findings lists the wrong arrows of a source tree.
func findings(t *testing.T, fsys fs.FS) []string {
	t.Helper()
	var found []string
	err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			if path.Base(name) == "testdata" || name == "tools" || name == ".git" || name == "bin" || name == "data" {
				return fs.SkipDir
			}
			return nil
		case path.Ext(name) != ".go" || strings.HasSuffix(name, "_test.go"):
			return nil
		}
		b, err := fs.ReadFile(fsys, name)
		if err != nil {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, b, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, f := range inFile(path.Dir(name), file) {
			found = append(found, name+": "+f)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func inFile(pkg string, file *ast.File) []string {
	var found []string
	allowed, listed := arrows[pkg]
	if !listed && !testKit(pkg) {
		return []string{"package " + pkg + " is not in the table of arrows: say what it may import"}
	}
	for _, spec := range file.Imports {
		imported := strings.Trim(spec.Path.Value, `"`)
		ours, ok := strings.CutPrefix(imported, module)
		switch {
		case ok && !testKit(pkg) && testKit(ours):
			found = append(found, "imports the test kit "+ours)
		case ok && !testKit(pkg) && !matches(allowed, ours):
			found = append(found, "may not import "+ours)
		}
		for library, owners := range owned {
			if (imported == library || strings.HasPrefix(imported, library+"/")) && !testKit(pkg) && !matches(owners, pkg) {
				found = append(found, "may not import "+imported+": it belongs to "+owners)
			}
		}
		if matches(pure, pkg) && !testKit(pkg) && slices.Contains(impure, imported) {
			found = append(found, "is pure and may not import "+imported)
		}
	}
	if matches(pure, pkg) && !testKit(pkg) && asksTime(file) {
		found = append(found, "is pure and may not call time.Now")
	}
	return found
}

// testKit tells packages that exist for tests (archivetest, fencetest, ..., the
// oracle, integration). rules/ruletest and backtest are part of the product.
func testKit(pkg string) bool {
	return strings.HasSuffix(pkg, "test") && pkg != "rules/ruletest" && pkg != "backtest" || matches("rules/engine/oracle integration/...", pkg)
}

// asksTime tells whether a file mentions time.Now or time.Since.
func asksTime(file *ast.File) bool {
	asks := false
	ast.Inspect(file, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		x, ok := sel.X.(*ast.Ident)
		asks = asks || ok && x.Name == "time" && (sel.Sel.Name == "Now" || sel.Sel.Name == "Since")
		return true
	})
	return asks
}

// TestFindings points every wrong arrow once.
func TestFindings(t *testing.T) {
	file := func(lines ...string) *fstest.MapFile {
		return &fstest.MapFile{Data: []byte("package x\n" + strings.Join(lines, "\n") + "\n")}
	}
	fsys := fstest.MapFS{
		"fence/up.go":            file(`import "` + module + `rules"`),
		"fence/ok_test.go":       file(`import "` + module + `schemas"`),
		"new/x.go":               file(),
		"pipeline/ok.go":         file(`import "github.com/nats-io/nats.go/jetstream"`),
		"rules/engine/io.go":     file(`import "os"`, `import "time"`, `var t = time.Now()`),
		"sinks/kit.go":           file(`import "` + module + `sinks/sinkstest"`),
		"sinks/nats.go":          file(`import "github.com/nats-io/nats.go"`),
		"sinks/sinkstest/ok.go":  file(`import "` + module + `schemas"`),
		"stages/testdata/bad.go": file(`import "os"`),
	}
	want := []string{
		"fence/up.go: may not import rules",
		"new/x.go: package new is not in the table of arrows: say what it may import",
		"rules/engine/io.go: is pure and may not import os",
		"rules/engine/io.go: is pure and may not call time.Now",
		"sinks/kit.go: imports the test kit sinks/sinkstest",
		"sinks/nats.go: may not import github.com/nats-io/nats.go: it belongs to pipeline/... internal/broker",
	}
	if diff := cmp.Diff(want, findings(t, fsys)); diff != "" {
		t.Errorf("findings (-want +got):\n%s", diff)
	}
}
