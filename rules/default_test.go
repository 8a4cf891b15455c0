package rules_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dermai/millrace/rules"
	"github.com/dermai/millrace/schemas"
)

// TestDefault: the demo has the same alerts as the defaults, and both parse.
func TestDefault(t *testing.T) {
	want := []string{
		"HighErrorRate", "HighLatency", "SlowQueries", "PoolExhausted",
		"HighCPU", "HighMemory", "DiskFilling", "BackupFailed", "BackupMissing",
	}
	for _, file := range []schemas.RuleFile{rules.Default(), rules.Demo()} {
		set, err := rules.Parse(file)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, r := range set.Rules {
			names = append(names, r.Name)
		}
		if diff := cmp.Diff(want, names); diff != "" {
			t.Errorf("alerts of %s (-want +got):\n%s", file.Name, diff)
		}
	}
}
