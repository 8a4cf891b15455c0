package rules_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dermai/millrace/rules"
	"github.com/dermai/millrace/schemas"
)

func TestConditionTerms(t *testing.T) {
	eq := func(field string, values ...string) rules.Term {
		return rules.Term{Field: field, Op: "==", Values: values}
	}
	for _, c := range []struct {
		source string
		want   []rules.Term
	}{
		{`level == "ERROR" and service == "api"`, []rules.Term{eq("level", "ERROR"), eq("service", "api")}},
		{`"api" == service && attributes.n > 3`, []rules.Term{eq("service", "api")}},
		{`level == "ERROR" or level in ["CRITICAL", 3]`, []rules.Term{{Field: "level", Op: "in", Values: []string{"ERROR", "CRITICAL"}}}},
		{`(level == "ERROR" and user == "ann") or level == "INFO"`, []rules.Term{{Field: "level", Op: "in", Values: []string{"ERROR", "INFO"}}}},
		{`level == "ERROR" or service == "api"`, nil},
		{`level == "ERROR" or service != "api" and level != "INFO"`, nil},
		{`not (level == "ERROR")`, nil},
		{`(level == "ERROR") == false`, nil},
		{`resource startsWith "patient/" and "b" > user`, []rules.Term{
			{Field: "resource", Op: "startsWith", Values: []string{"patient/"}}, {Field: "user", Op: "<", Values: []string{"b"}},
		}},
		{`"x" startsWith service`, nil},
		{`attributes.job == "backup"`, nil},
		{`level != "INFO"`, []rules.Term{{Field: "level", Op: "!=", Values: []string{"INFO"}}}},
		{`level in []`, []rules.Term{{Field: "level", Op: "in"}}},
		{`level == service`, nil},
	} {
		cond, err := rules.ParseCondition(c.source)
		if err != nil {
			t.Errorf("%s: %v", c.source, err)
			continue
		}
		if diff := cmp.Diff(c.want, cond.Terms()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.source, diff)
		}
	}
}

func TestConditionHolds(t *testing.T) {
	cond, err := rules.ParseCondition(`level == "ERROR" and attributes.status_code >= 500`)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		attributes map[string]any
		want       bool
	}{
		{map[string]any{"status_code": 500.0}, true},
		{map[string]any{"status_code": 499.0}, false},
		{map[string]any{"status_code": "500"}, false},
		{nil, false},
	} {
		e := schemas.Event{Kind: schemas.KindLog, Level: "ERROR", Attributes: c.attributes}
		if got := cond.Holds(&e); got != c.want {
			t.Errorf("%v: %t", c.attributes, got)
		}
	}
}

func TestConditionNamesThePlace(t *testing.T) {
	for source, want := range map[string]rules.ConditionError{
		`levl == "ERROR"`:                    {1, "unknown name levl; did you mean level?"},
		`message == "é" and levl == "ERROR"`: {20, "unknown name levl; did you mean level?"},
		`level = "ERROR"`:                    {7, "= does not compare: write =="},
		`service`:                            {1, "want a condition, which is true or false: compare with something"},
		"  ":                                 {1, `want a condition, such as level == "ERROR"`},
	} {
		_, err := rules.ParseCondition(source)
		got, ok := errors.AsType[*rules.ConditionError](err)
		if !ok || *got != want {
			t.Errorf("%s: %v; want %v", source, err, &want)
		}
	}
}
