package stages

import (
	"testing"

	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/schemas"
)

// TestCovers decides again what is logged: the same, with other evidence, and otherwise.
func TestCovers(t *testing.T) {
	value := 2.0
	decision := func(to schemas.State, evidence string) *schemas.Decision {
		return &schemas.Decision{Class: schemas.Telemetry, Tick: 7, Done: true, Transitions: []schemas.Transition{
			{Alert: "A{}", Rule: "A", Instance: "a@1", Tick: 7, From: schemas.Inactive, To: to, Value: &value, Evidence: []schemas.Evidence{{ID: evidence}}},
		}}
	}
	for name, again := range map[string]*schemas.Decision{
		"the same":       decision(schemas.Firing, "1"),
		"other evidence": decision(schemas.Firing, "2"),
		"another state":  decision(schemas.Pending, "1"),
	} {
		packed, err := schemas.Encode(decision(schemas.Firing, "1"))
		if err != nil {
			t.Fatal(err)
		}
		data, err := schemas.Unpack(nil, packed, maxDecision)
		if err != nil {
			t.Fatal(err)
		}
		l := logged{decisions: [][]byte{data}}
		covered, err := l.covers(again)
		if differs := name == "another state"; covered == differs || fence.IsIncident(err) != differs || len(l.decisions) > 0 != differs {
			t.Errorf("%s: covered %v, %v; %d are left", name, covered, err, len(l.decisions))
		}
		if len(again.Transitions[0].Evidence) == 0 {
			t.Errorf("%s: the decision lost its evidence", name)
		}
	}
}
