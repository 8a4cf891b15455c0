package rules_test

import (
	"math"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/dermai/millrace/rules"
	"github.com/dermai/millrace/schemas"
)

// TestEvidence: evidence holds what the rule lists, and nothing else leaves.
func TestEvidence(t *testing.T) {
	r := one(t, "alert: A", "on: log", "count:", "window: 5m", `fire: "> 1"`,
		"evidence:", "  worst: attributes.duration_ms",
		"  fields: [attributes.method, attributes.path, attributes.query, attributes.n, attributes.gone, attributes.list, attributes.user, message]")
	const statement = "SELECT * FROM patients WHERE name = 'Ada' AND id = 42"
	e := event()
	e.Attributes["path"] = "/patients/17/6f1b1d3e-0a52-4c3e-9f5e-0123456789ab?name=Ada"
	e.Attributes["query"] = statement
	e.Attributes["user"] = strings.Repeat("ä", 121)
	e.Message = "line\nbreak\x00"
	env := rules.NewEnv()
	env.Set(e)
	order := schemas.Order{Time: 1, Partition: 2, Seq: 3, Index: 4}
	want := schemas.Evidence{
		Order: order, Rank: 12.5, ID: "e1", Trace: "t1",
		Fields: map[string]string{
			"method": "GET", "path": "/patients/:id/:id", "query": schemas.NormalizeSQL(statement), "n": "3",
			"user": strings.Repeat("ä", 120), "message": "line break ",
		},
	}
	got := r.Evidence(env, order)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("evidence (-want +got):\n%s", diff)
	}
	for name, s := range got.Fields {
		if strings.Contains(s, "Ada") || strings.Contains(s, "42") {
			t.Errorf("%s tells whose data it was: %q", name, s)
		}
	}
}

// TestEvidenceCut: long and broken text is cut where a rune ends.
func TestEvidenceCut(t *testing.T) {
	r := one(t, "alert: A", "on: log", "count:", "window: 5m", `fire: "> 1"`, "evidence: {fields: [message]}")
	env := rules.NewEnv()
	for _, c := range []string{"a", "é", "日", "😀"} {
		for n := 118; n < 123; n++ {
			e := event()
			e.Message, e.ID = strings.Repeat(c, n), strings.Repeat(c, n)
			env.Set(e)
			ev := r.Evidence(env, schemas.Order{})
			got := ev.Fields["message"]
			if want := min(n, 120); utf8.RuneCountInString(got) != want || !utf8.ValidString(got) {
				t.Errorf("%d times %s: %d runes, valid %v", n, c, utf8.RuneCountInString(got), utf8.ValidString(got))
			}
			if utf8.RuneCountInString(ev.ID) != 64 {
				t.Errorf("id of %d runes, want 64", utf8.RuneCountInString(ev.ID))
			}
		}
	}
}

// TestRank: what is no number of a size that a rule counts has no rank.
func TestRank(t *testing.T) {
	byRank := one(t, "alert: A", "on: log", "count:", "window: 5m", `fire: "> 1"`, "evidence: {worst: attributes.n}")
	env := rules.NewEnv()
	for _, worst := range []any{"text", nil, math.Ldexp(1, 63)} {
		e := event()
		e.Attributes["n"] = worst
		env.Set(e)
		if rank := byRank.Evidence(env, schemas.Order{}).Rank; rank != 0 {
			t.Errorf("rank %v of %v, want 0", rank, worst)
		}
	}
}
