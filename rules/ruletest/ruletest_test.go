package ruletest_test

import (
	"os"
	"strings"
	"testing"

	"github.com/dermai/millrace/rules/ruletest"
)

// TestDefaults runs the tests that are shipped with the default rules.
func TestDefaults(t *testing.T) {
	const name = "../default_test.yaml"
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	results, err := ruletest.Run(name, string(text), os.ReadFile)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	passed, err := ruletest.Write(&out, results)
	if err != nil {
		t.Fatal(err)
	}
	if !passed {
		t.Errorf("tests of the default rules:\n%s", out.String())
	}
}
