// Package readme_test keeps the README true: its commands are run, its rule is
// parsed, its Go compiles, and its links lead somewhere.
package readme_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/dermai/millrace/internal/testenv"
	"github.com/dermai/millrace/rules"
	"github.com/dermai/millrace/schemas"
)

const root = "../.."

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// blocks are the fenced blocks of a language, in order.
func blocks(t *testing.T, text, language string) []string {
	t.Helper()
	var found []string
	for _, m := range regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```").FindAllStringSubmatch(text, -1) {
		found = append(found, m[1])
	}
	if len(found) == 0 {
		t.Fatalf("the README has no %s block", language)
	}
	return found
}

// TestCommands runs the README's commands in order, against the demo that the
// first of them starts.
func TestCommands(t *testing.T) {
	testenv.Need(t, "curl")
	bin := filepath.Join(testenv.Build(t, testenv.Millrace), "millrace")
	door := testenv.FreeAddr(t)
	env := []string{"MILLRACE_DATA=" + t.TempDir(), "MILLRACE_HTTP_ADDR=" + door, "MILLRACE_NATS_LISTEN=" + testenv.FreeAddr(t)}

	ran := 0
	for line := range strings.SplitSeq(strings.Join(blocks(t, read(t, "README.md"), "sh"), ""), "\n") {
		line = strings.TrimSpace(line)
		args, ours := strings.CutPrefix(line, "go run ./cmd/millrace ")
		var cmd *exec.Cmd
		switch {
		case line == "" || line == "make test": // make test runs this test
			continue
		case strings.HasPrefix(args, "up"):
			up := testenv.Program{Path: bin, Args: strings.Fields(args), Dir: root, Env: env}.Start(t)
			up.HTTP = door
			up.Ready()
			ran++
			continue
		case ours:
			cmd = exec.Command("sh", "-c", `exec "$0" `+args, bin) // the shell takes the quotes away
		case strings.HasPrefix(line, "curl "):
			cmd = exec.Command("sh", "-ec", strings.Replace(line, "curl ", "curl -fsS ", 1))
			cmd.Args[2] = strings.ReplaceAll(cmd.Args[2], "127.0.0.1:8480", door)
		case strings.HasPrefix(line, "go build -o bin/ "):
			cmd = exec.Command("go", "build", "-o", t.TempDir(), strings.TrimPrefix(line, "go build -o bin/ "))
		default:
			t.Errorf("%q: the test does not know how to run this", line)
			continue
		}
		cmd.Dir, cmd.Env = root, append(os.Environ(), env...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", line, err, out)
		}
		ran++
	}
	if ran < 10 {
		t.Errorf("only %d commands were run", ran)
	}
}

// TestRule parses the README's rule.
func TestRule(t *testing.T) {
	for _, text := range blocks(t, read(t, "README.md"), "yaml") {
		if _, err := rules.Parse(schemas.RuleFile{Name: "README.md", Text: text}); err != nil {
			t.Error(err)
		}
	}
}

// TestGo compiles the README's Go, as the body of a function.
func TestGo(t *testing.T) {
	source := "package snippet\n\nimport (\n\t\"context\"\n\n\t\"github.com/dermai/millrace/pipeline\"\n\t\"github.com/dermai/millrace/schemas\"\n)\n\n" +
		"func run(ctx context.Context) error {\n" + strings.Join(blocks(t, read(t, "README.md"), "go"), "") + "\treturn err\n}\n\nvar _ = run\n"
	dir := t.TempDir()
	file := filepath.Join(dir, "snippet.go")
	if err := os.WriteFile(file, []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	base, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	overlay, err := json.Marshal(map[string]map[string]string{
		"Replace": {filepath.Join(base, "integration/readme/snippet/snippet.go"): file},
	})
	if err != nil {
		t.Fatal(err)
	}
	list := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(list, overlay, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", "build", "-overlay", list, "./integration/readme/snippet")
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s\n%s", err, out, source)
	}
}

// TestLinks follows every relative link of the README and the documents.
func TestLinks(t *testing.T) {
	documents, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	link := regexp.MustCompile(`\]\(([^)#:]+)(#[^)]*)?\)`)
	checked := 0
	for _, path := range append(documents, filepath.Join(root, "README.md"), filepath.Join(root, "CONTRIBUTING.md")) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(path), m[1])); err != nil {
				t.Error(fmt.Errorf("%s: link to %s: %w", filepath.Base(path), m[1], err))
			}
			checked++
		}
	}
	if checked < 10 {
		t.Errorf("only %d links were found", checked)
	}
}
