package engine_test

import (
	"flag"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/google/go-cmp/cmp"

	"github.com/dermai/millrace/rules/engine/oracle"
	"github.com/dermai/millrace/schemas"
)

var (
	cases = flag.Int("cases", 1000, "random worlds to compare with the oracle")
	seed  = flag.Uint64("seed", 1, "seed of the first of them")
)

// TestOracle runs random worlds through the engine, with faults, and compares
// the transitions with those of the oracle, as JSON.
func TestOracle(t *testing.T) {
	counted := 0
	for s := *seed; s < *seed+uint64(*cases); s++ {
		w := newWorld(s)
		schedule := w.schedule()
		for _, class := range schemas.Classes {
			got, until := w.run(class)
			want := oracle.Transitions(schedule, w.events(schedule), class, until)
			counted += len(want)
			if diff := cmp.Diff(lines(t, want), lines(t, got)); diff != "" {
				t.Fatalf("seed %d, %s: transitions differ (-oracle +engine):\n%s", s, class, diff)
			}
		}
	}
	t.Logf("%d transitions in %d worlds", counted, *cases)
	if counted < 10**cases {
		t.Errorf("only %d transitions: the worlds are too quiet to prove anything", counted)
	}
}

func lines(t *testing.T, list []schemas.Transition) []string {
	t.Helper()
	var out []string
	for i := range list {
		b, err := json.Marshal(&list[i], json.Deterministic(true))
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, string(b))
	}
	return out
}
