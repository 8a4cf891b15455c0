package engine_test

import (
	"flag"
	"fmt"
	"runtime/debug"
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

// TestOracle runs random worlds through the engine and compares the transitions
// with those of the oracle, as JSON. One world in three has processes that are
// killed and read the control log in pieces.
func TestOracle(t *testing.T) {
	const shards = 5 // not a divisor of where the faults are
	for shard := range uint64(shards) {
		t.Run(fmt.Sprint(shard), func(t *testing.T) {
			t.Parallel()
			counted, suspect := 0, 0
			for s := *seed + shard; s < *seed+uint64(*cases); s += shards {
				n, of := compare(t, s)
				counted, suspect = counted+n, suspect+of
			}
			t.Logf("%d transitions, %d of them suspect", counted, suspect)
			if counted < 10**cases/shards || suspect < *cases/shards {
				t.Errorf("only %d transitions, %d of them suspect: the worlds are too quiet to prove anything", counted, suspect)
			}
		})
	}
}

func compare(t *testing.T, seed uint64) (counted, suspect int) {
	t.Helper()
	defer func() {
		if r := recover(); r != nil {
			t.Fatalf("seed %d: %v\n%s", seed, r, debug.Stack())
		}
	}()
	w := newWorld(seed)
	for _, class := range schemas.Classes {
		got, until := w.run(class, seed%3 == 0)
		want := oracle.Transitions(w.folded, w.events(), w.lost(class), class, until)
		counted += len(want)
		for i := range want {
			if want[i].Suspect {
				suspect++
			}
		}
		if diff := cmp.Diff(lines(t, want), lines(t, got)); diff != "" {
			t.Fatalf("seed %d, %s: transitions differ (-oracle +engine):\n%s", seed, class, diff)
		}
	}
	return counted, suspect
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
