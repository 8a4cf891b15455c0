package ruletest_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/dermai/millrace/rules"
	"github.com/dermai/millrace/rules/ruletest"
	"github.com/dermai/millrace/schemas"
)

// TestDocs: the examples of docs/rules.md and of doc.go are right.
func TestDocs(t *testing.T) {
	page, err := os.ReadFile("../../docs/rules.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(string(page), -1)
	if len(blocks) != 3 {
		t.Fatalf("%d examples, want the rule, the rule with expect, and the test", len(blocks))
	}
	rule, expect, test := blocks[0][1], blocks[1][1], blocks[2][1]
	for name, text := range map[string]string{"rule": rule, "expect": "groups:\n  - name: g\n    rules:\n" + expect} {
		if _, err := rules.Parse(schemas.RuleFile{Name: name, Text: text}); err != nil {
			t.Error(err)
		}
	}
	read := func(string) ([]byte, error) { return []byte(rule), nil }
	if out, passed := run(t, "docs/test.yaml", test, read); !passed {
		t.Errorf("the test of the documentation:\n%s", out)
	}

	source, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	var example strings.Builder
	for line := range strings.Lines(string(source)) {
		if code, ok := strings.CutPrefix(line, "//\t"); ok {
			example.WriteString(code)
		}
	}
	results, err := ruletest.Run("test.yaml", example.String(), func(string) ([]byte, error) { return []byte(rules.Default().Text), nil })
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if passed, _ := ruletest.Write(&out, results); !passed || len(results) != 1 {
		t.Errorf("the example of the package:\n%s", out.String())
	}
}
