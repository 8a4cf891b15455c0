// Package readme_test keeps the README true: its commands are run, its rule is
// parsed, its Go compiles, and its links lead somewhere.
package readme_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

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

func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// TestCommands runs the README's commands in order, against the demo that the
// first of them starts.
func TestCommands(t *testing.T) {
	testenv.Need(t, "curl")
	bin := filepath.Join(t.TempDir(), "millrace")
	build := exec.Command("go", "build", "-o", bin, "./cmd/millrace")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	door, broker := freeAddr(t), freeAddr(t)
	env := append(os.Environ(), "MILLRACE_DATA="+t.TempDir(), "MILLRACE_HTTP_ADDR="+door, "MILLRACE_NATS_LISTEN="+broker)

	ran := 0
	for line := range strings.SplitSeq(strings.Join(blocks(t, read(t, "README.md"), "sh"), ""), "\n") {
		line = strings.TrimSpace(line)
		args, ours := strings.CutPrefix(line, "go run ./cmd/millrace ")
		var cmd *exec.Cmd
		switch {
		case line == "" || line == "make test": // make test runs this test
			continue
		case strings.HasPrefix(args, "up"):
			up := exec.Command(bin, strings.Fields(args)...)
			up.Dir, up.Env = root, env
			var said strings.Builder
			up.Stdout, up.Stderr = &said, &said
			up.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
			if err := up.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				_ = up.Process.Signal(os.Interrupt)
				if err := up.Wait(); err != nil {
					t.Errorf("%s: %v\n%s", line, err, said.String())
				}
			})
			ready(t, door)
			ran++
			continue
		case ours:
			cmd = exec.Command(bin, strings.Fields(args)...)
		case strings.HasPrefix(line, "curl "):
			cmd = exec.Command("sh", "-ec", strings.Replace(line, "curl ", "curl -fsS ", 1))
			cmd.Args[2] = strings.ReplaceAll(cmd.Args[2], "127.0.0.1:8480", door)
		case strings.HasPrefix(line, "go build -o bin/ "):
			cmd = exec.Command("go", "build", "-o", t.TempDir(), strings.TrimPrefix(line, "go build -o bin/ "))
		default:
			t.Errorf("%q: the test does not know how to run this", line)
			continue
		}
		cmd.Dir, cmd.Env = root, env
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", line, err, out)
		}
		ran++
	}
	if ran < 10 {
		t.Errorf("only %d commands were run", ran)
	}
}

func ready(t *testing.T, addr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	poll := time.NewTicker(100 * time.Millisecond)
	defer poll.Stop()
	for {
		resp, err := http.Get("http://" + addr + "/readyz")
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return
			}
		}
		select {
		case <-ctx.Done():
			t.Fatalf("not ready within a minute: %v", err)
		case <-poll.C:
		}
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
