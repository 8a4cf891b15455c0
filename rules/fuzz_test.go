package rules_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/dermai/millrace/rules"
	"github.com/dermai/millrace/schemas"
)

// FuzzParse: no text stops the process; what is refused says where; what is
// accepted can be used, and gives the same rules when it is parsed again.
func FuzzParse(f *testing.F) {
	archive, err := txtar.ParseFile("testdata/bad.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range archive.Files {
		f.Add(string(file.Data))
	}
	f.Add(rules.Default().Text)
	f.Add(rules.Demo().Text)
	f.Fuzz(func(t *testing.T, text string) {
		file := schemas.RuleFile{Name: "f.yaml", Text: text}
		set, err := rules.Parse(file)
		if err != nil {
			var fault *rules.Fault
			if !errors.As(err, &fault) && !strings.HasPrefix(err.Error(), "one ") {
				t.Fatalf("an error without a place: %v", err)
			}
			return
		}
		again, err := rules.Parse(set.Source().Files...)
		if err != nil || len(again.Rules) != len(set.Rules) {
			t.Fatalf("parsed again: %v, %d rules, had %d", err, len(again.Rules), len(set.Rules))
		}
		env := rules.NewEnv()
		env.Set(event())
		for i, r := range set.Rules {
			if r.Fingerprint != again.Rules[i].Fingerprint {
				t.Errorf("%s: another fingerprint when parsed again", r.Name)
			}
			use(t, r, env)
		}
	})
}

// FuzzCondition: no condition stops the process, whatever the event.
func FuzzCondition(f *testing.F) {
	for _, seed := range []string{
		`message == "x" and attributes.n > 1`, `attributes.a.b.c ?? 1`, `"x" in attributes.list`,
		`kind == "metric" ? value : attributes.cpu`, `lower(message) matches "a+"`, `not -attributes.n`, `max(1, 2) | abs()`,
		`attributes["a"]["b"]`, `1 < 2 < 3`, `error.type in ["a"]`, `attributes?.a?.b`, `if true { 1 } else { 2 }`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, condition string) {
		text := file("alert: A", "on: log", "where: |", "  "+strings.ReplaceAll(condition, "\n", " "), "count:", "window: 5m", `fire: "> 1"`)
		set, err := rules.Parse(schemas.RuleFile{Name: "f.yaml", Text: text})
		if err != nil {
			return
		}
		env := rules.NewEnv()
		for _, e := range []*schemas.Event{event(), {Kind: schemas.KindLog}} {
			env.Set(e)
			for _, r := range set.Rules {
				use(t, r, env)
			}
		}
	})
}

// use calls everything that a rule does with an event, twice: the second time
// must give the same.
func use(t *testing.T, r *rules.Rule, env *rules.Env) {
	t.Helper()
	s, ok, mismatch := r.Sample(env)
	if again, ok2, mismatch2 := r.Sample(env); again != s || ok2 != ok || mismatch2 != mismatch {
		t.Fatalf("%s: %+v, then %+v", r.Name, s, again)
	}
	ev := r.Evidence(env, schemas.Order{})
	tr := schemas.Transition{Group: s.Group, Value: &s.Value, N: 1, Evidence: []schemas.Evidence{ev}}
	r.Describe(&tr)
	again := schemas.Transition{Group: s.Group, Value: &s.Value, N: 1, Evidence: []schemas.Evidence{r.Evidence(env, schemas.Order{})}}
	r.Describe(&again)
	if diff := cmp.Diff(tr, again); diff != "" {
		t.Fatalf("%s described twice:\n%s", r.Name, diff)
	}
}
