package rules_test

import (
	"errors"
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/dermai/millrace/rules"
	"github.com/dermai/millrace/schemas"
)

var update = flag.Bool("update", false, "write the golden files anew")

// parse reads one file that must be right.
func parse(t testing.TB, text string) []*rules.Rule {
	t.Helper()
	set, err := rules.Parse(schemas.RuleFile{Name: "rules.yaml", Text: text})
	if err != nil {
		t.Fatal(err)
	}
	return set.Rules
}

// one parses a single rule, given as its lines.
func one(t testing.TB, lines ...string) *rules.Rule {
	t.Helper()
	return parse(t, file(lines...))[0]
}

// file is a rule file with one rule, given as its lines.
func file(lines ...string) string {
	return "groups:\n  - name: g\n    rules:\n      - " + strings.Join(lines, "\n        ") + "\n"
}

func TestBad(t *testing.T) {
	const golden = "testdata/bad.txtar"
	archive, err := txtar.ParseFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(archive.Files); i += 2 {
		bad, want := archive.Files[i], &archive.Files[i+1]
		t.Run(bad.Name, func(t *testing.T) {
			_, err := rules.Parse(schemas.RuleFile{Name: bad.Name, Text: string(bad.Data)})
			if err == nil {
				t.Fatal("accepted")
			}
			got := err.Error() + "\n"
			if *update {
				want.Data = []byte(got)
			}
			if diff := cmp.Diff(string(want.Data), got); diff != "" {
				t.Errorf("error (-want +got):\n%s", diff)
			}
			if !strings.HasPrefix(got, bad.Name+":") {
				t.Errorf("the error does not begin with the file: %s", got)
			}
		})
	}
	if *update {
		if err := os.WriteFile(golden, txtar.Format(archive), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// TestFaults: the mistakes of all files come together and can be taken apart.
func TestFaults(t *testing.T) {
	bad := func(name string) schemas.RuleFile {
		return schemas.RuleFile{Name: name, Text: file("alert: A", "on: logs", "count:", "window: 5x", `fire: "> 1"`)}
	}
	_, err := rules.Parse(bad("a.yaml"), bad("b.yaml"))
	type place struct {
		File   string
		Line   int
		Column int
		Field  string
	}
	var got []place
	var walk func(error)
	walk = func(err error) {
		if joined, ok := err.(interface{ Unwrap() []error }); ok {
			for _, e := range joined.Unwrap() {
				walk(e)
			}
		} else if fault, ok := errors.AsType[*rules.Fault](err); ok {
			got = append(got, place{fault.File, fault.Line, fault.Column, fault.Field})
		}
	}
	walk(err)
	want := []place{
		{"a.yaml", 5, 13, "on"}, {"a.yaml", 7, 9, "window"},
		{"b.yaml", 4, 9, "alert"}, {"b.yaml", 5, 13, "on"}, {"b.yaml", 7, 9, "window"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("faults (-want +got):\n%s", diff)
	}
}

// TestFootprint: a set whose rules together could not fit one commit is refused.
func TestFootprint(t *testing.T) {
	var b strings.Builder
	b.WriteString("groups:\n  - name: g\n    rules:\n")
	for i := range 200 {
		b.WriteString("      - {alert: A" + strings.Repeat("x", i%50) + strings.Repeat("y", i/50) +
			`, on: log, by: [service, attributes.a, attributes.b, attributes.c, attributes.d], count: , window: 5m, fire: "> 5"}` + "\n")
	}
	_, err := rules.Parse(schemas.RuleFile{Name: "many.yaml", Text: b.String()})
	const want = "one telemetry event could add 950 KiB to a commit through these rules, at most 768 are allowed: use fewer rules, fewer labels in by, or fewer fields in evidence"
	if err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}
