package rules_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dermai/millrace/rules"
	"github.com/dermai/millrace/schemas"
)

func TestCheck(t *testing.T) {
	set, err := rules.Parse(schemas.RuleFile{Name: "rules.yaml", Text: `groups:
  - name: g
    rules:
      - alert: Typo
        on: log
        where: message == "API request"
        by: [service, attributes.tenant]
        p95: attributes.duraton_ms
        window: 5m
        fire: "> 1"
      - alert: Fine
        on: log
        where: message == "API request" and attributes.status_code >= 500
        avg: attributes.duration_ms
        window: 5m
        fire: "> 1"
        evidence: {worst: attributes.duration_ms, fields: [message, attributes.user]}
      - alert: Silent
        on: audit
        where: details.field == "x"
        count:
        window: 5m
        fire: "> 1"
`})
	if err != nil {
		t.Fatal(err)
	}
	log := func(attributes map[string]any) *schemas.Event {
		return &schemas.Event{Kind: schemas.KindLog, Message: "API request", Attributes: attributes}
	}
	events := []*schemas.Event{
		log(map[string]any{"duration_ms": 1.0, "status_code": 500.0, "user": "u"}),
		log(map[string]any{"duration_ms": "1", "status_code": 500.0}),
		log(map[string]any{"duration_ms": 1.0, "status_code": 200.0}),
		log(map[string]any{"duration_ms": 1.0}),
		{Kind: schemas.KindLog, Message: "else"},
		{Kind: schemas.KindMetric, Name: "system.cpu", Value: 1, Attributes: map[string]any{"tenan": "x"}},
	}
	want := []rules.Usage{
		{
			Alert: "Typo", File: "rules.yaml", Line: 4, Events: 5, Matched: 4, Samples: 0, Mismatched: 4,
			Fields: []rules.FieldUsage{
				{Field: "attributes.duraton_ms", DidYouMean: "attributes.duration_ms"},
				{Field: "attributes.tenant"},
			},
		},
		{
			Alert: "Fine", File: "rules.yaml", Line: 11, Events: 5, Matched: 2, Samples: 1, Mismatched: 2,
			Fields: []rules.FieldUsage{
				{Field: "attributes.status_code", Present: 3},
				{Field: "attributes.duration_ms", Present: 4, Mistyped: 1},
				{Field: "attributes.user", Present: 1},
			},
		},
		{
			Alert: "Silent", File: "rules.yaml", Line: 18,
			Fields: []rules.FieldUsage{{Field: "details.field"}},
		},
	}
	if diff := cmp.Diff(want, rules.Check(set, slices.Values(events))); diff != "" {
		t.Errorf("usage (-want +got):\n%s", diff)
	}
}
