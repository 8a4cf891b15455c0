package engine_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/dermai/millrace/rules"
	"github.com/dermai/millrace/rules/engine"
	"github.com/dermai/millrace/schemas"
)

// TestMerge folds random samples in random groupings and orders: the bytes are
// always those of folding them one after another.
func TestMerge(t *testing.T) {
	aggregates := []rules.Aggregate{
		rules.Count, rules.Rate, rules.Ratio, rules.Sum, rules.Avg, rules.Min, rules.Max, rules.LastOf, rules.Quantile,
	}
	rng := rand.New(rand.NewPCG(3, 5))
	for n := range 900 {
		rule := &rules.Rule{Name: "r", Aggregate: aggregates[n%len(aggregates)], Quantile: 0.9}
		var straight schemas.Fold
		var singles []schemas.Fold
		for i := range 1 + rng.IntN(30) {
			sample := rules.Sample{Value: randomValue(rng), Hit: rng.IntN(2) == 0}
			order := schemas.Order{Time: int64(rng.IntN(4)), Partition: schemas.Partition(rng.IntN(2)), Seq: uint64(rng.IntN(4)), Index: i}
			ev := schemas.Evidence{Order: order, Rank: float64(rng.IntN(3)), ID: fmt.Sprint(i)}
			var one schemas.Fold
			for _, f := range []*schemas.Fold{&straight, &one} {
				engine.Observe(f, rule, sample, order)
				engine.Note(f, ev)
			}
			singles = append(singles, one)
		}
		want := encode(t, straight)
		for range 4 {
			if got := encode(t, tree(rng, slices.Clone(singles))); got != want {
				t.Fatalf("case %d, %s: merged in another order:\n got %s\nwant %s", n, rule.Aggregate, got, want)
			}
		}
	}
}

// tree merges folds two by two, at random, and checks that what is merged stays
// as it was.
func tree(rng *rand.Rand, folds []schemas.Fold) schemas.Fold {
	for len(folds) > 1 {
		rng.Shuffle(len(folds), func(i, j int) { folds[i], folds[j] = folds[j], folds[i] })
		var sum schemas.Fold
		engine.Merge(&sum, &folds[0])
		before, _ := json.Marshal(folds[1])
		engine.Merge(&sum, &folds[1])
		engine.Merge(&schemas.Fold{N: 1}, &sum)
		if after, _ := json.Marshal(folds[1]); string(after) != string(before) {
			panic(fmt.Sprintf("merging changed its argument from %s to %s", before, after))
		}
		folds = append(folds[2:], sum)
	}
	return folds[0]
}

func randomValue(rng *rand.Rand) float64 {
	switch rng.IntN(6) {
	case 0:
		return float64(rng.IntN(5))
	case 1:
		return rng.NormFloat64() * 1e18
	case 2:
		return rng.NormFloat64() * 1e-9
	case 3:
		return 0
	}
	return rng.NormFloat64() * 100
}

func encode(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v, json.Deterministic(true))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestMergeSharesNothing shows that a merged fold keeps no memory of its parts
// that is changed later.
func TestMergeSharesNothing(t *testing.T) {
	for _, aggregate := range []rules.Aggregate{rules.Sum, rules.Min, rules.LastOf, rules.Quantile} {
		rule := &rules.Rule{Name: "r", Aggregate: aggregate, Quantile: 0.5}
		part := func(v float64, i int) schemas.Fold {
			var f schemas.Fold
			o := schemas.Order{Time: int64(i)}
			engine.Observe(&f, rule, rules.Sample{Value: v}, o)
			engine.Note(&f, schemas.Evidence{Order: o})
			return f
		}
		pane, other := part(5, 1), part(1, 2)
		before := encode(t, pane)
		var window schemas.Fold
		engine.Merge(&window, &pane)
		engine.Merge(&window, &other)
		engine.Observe(&window, rule, rules.Sample{Value: 5}, schemas.Order{Time: 9})
		if got := encode(t, pane); got != before {
			t.Errorf("%s: the pane became %s, was %s", aggregate, got, before)
		}
	}
}

func TestValue(t *testing.T) {
	number := func(v float64) []float64 { return []float64{v} }
	tests := []struct {
		name    string
		rule    rules.Rule
		samples []rules.Sample
		want    []float64 // nil: none
	}{
		{"count of nothing", rules.Rule{Aggregate: rules.Count}, nil, number(0)},
		{"rate of nothing", rules.Rule{Aggregate: rules.Rate}, nil, number(0)},
		{"ratio of nothing", rules.Rule{Aggregate: rules.Ratio}, nil, nil},
		{"sum of nothing", rules.Rule{Aggregate: rules.Sum}, nil, nil},
		{"quantile of nothing", rules.Rule{Aggregate: rules.Quantile, Quantile: 0.5}, nil, nil},
		{"rate", rules.Rule{Aggregate: rules.Rate}, samples(1, 1, 1), number(0.3)},
		{"ratio", rules.Rule{Aggregate: rules.Ratio}, []rules.Sample{{Hit: true}, {}, {}, {}}, number(0.25)},
		{"sum loses nothing to order", rules.Rule{Aggregate: rules.Sum}, samples(1e17, 1, -1e17), number(1)},
		{"sum of tenths", rules.Rule{Aggregate: rules.Sum}, samples(0.5, 0.25, -0.125), number(0.625)},
		{"avg is rounded once", rules.Rule{Aggregate: rules.Avg}, samples(1, 1, 2), number(4.0 / 3)},
		{"min", rules.Rule{Aggregate: rules.Min}, samples(3, -2, 7), number(-2)},
		{"max", rules.Rule{Aggregate: rules.Max}, samples(-3, -2, -7), number(-2)},
		{"last", rules.Rule{Aggregate: rules.LastOf}, samples(3, 9, 4), number(4)},
	}
	for _, tt := range tests {
		f := fold(&tt.rule, tt.samples)
		got, ok := engine.Value(&tt.rule, &f, 10*time.Second)
		if ok != (tt.want != nil) || ok && got != tt.want[0] {
			t.Errorf("%s: %v, %v, want %v", tt.name, got, ok, tt.want)
		}
	}
}

// TestQuantile compares the rank with the definition, where floats would be off
// by one as well: 0.55 * 100 is 55.00000000000001.
func TestQuantile(t *testing.T) {
	for _, q := range []float64{0.5, 0.55, 0.57, 0.75, 0.9, 0.95, 0.99, 0.999} {
		for _, n := range []int{1, 2, 3, 7, 20, 99, 100, 101, 1000, 2000} {
			rule := rules.Rule{Aggregate: rules.Quantile, Quantile: q}
			var values []rules.Sample
			for i := range n {
				values = append(values, rules.Sample{Value: float64(i + 1)})
			}
			f := fold(&rule, values)
			got, _ := engine.Value(&rule, &f, time.Second)
			thousandths := int(math.Round(q * 1000))
			rank := (n*thousandths + 999) / 1000
			if relative := math.Abs(got-float64(rank)) / float64(rank); relative > 0.004 {
				t.Errorf("p%v of 1..%d is %v, want %d within 0.4 %%", q*100, n, got, rank)
			}
		}
	}
}

func samples(values ...float64) (list []rules.Sample) {
	for _, v := range values {
		list = append(list, rules.Sample{Value: v})
	}
	return list
}

func fold(r *rules.Rule, list []rules.Sample) schemas.Fold {
	var f schemas.Fold
	for i, s := range list {
		engine.Observe(&f, r, s, schemas.Order{Time: int64(i)})
	}
	return f
}

// TestPack packs random folds and takes them back from their sum, which then is the sum
// of the rest, or is said to be void.
func TestPack(t *testing.T) {
	aggregates := []rules.Aggregate{rules.Count, rules.Ratio, rules.Sum, rules.Min, rules.Max, rules.LastOf, rules.Quantile}
	rng := rand.New(rand.NewPCG(2, 9))
	void := map[rules.Aggregate]int{}
	for n := range 700 {
		rule := &rules.Rule{Name: "r", Aggregate: aggregates[n%len(aggregates)], Quantile: 0.9}
		part := func() (f schemas.Fold) {
			for i := range rng.IntN(6) {
				order := schemas.Order{Time: rng.Int64() - rng.Int64(), Partition: schemas.Partition(rng.IntN(3) - 1), Seq: rng.Uint64(), Index: i}
				engine.Observe(&f, rule, rules.Sample{Value: randomValue(rng), Hit: rng.IntN(2) == 0}, order)
			}
			return f
		}
		first, second, third := part(), part(), part()
		if got, want := encode(t, engine.Unpack(engine.Pack(&first), nil)), encode(t, first); got != want {
			t.Fatalf("case %d, %s: packed %s, unpacked %s", n, rule.Aggregate, want, got)
		}
		var sum, rest schemas.Fold
		for _, f := range []*schemas.Fold{&first, &second, &third} {
			engine.Merge(&sum, f)
		}
		engine.Merge(&rest, &second)
		engine.Merge(&rest, &third)
		if !engine.Withdraw(&sum, &first) {
			void[rule.Aggregate]++
			continue
		}
		if sum.Sum != nil && rest.Sum == nil {
			rest.Sum = new(schemas.Fixed) // nothing is left of what was added
		}
		if got, want := encode(t, sum), encode(t, rest); got != want {
			t.Fatalf("case %d, %s: %s is left, want %s", n, rule.Aggregate, got, want)
		}
	}
	for _, a := range aggregates {
		if extreme := a == rules.Min || a == rules.Max || a == rules.LastOf; (void[a] > 0) != extreme || void[a] > 80 {
			t.Errorf("%s: void %d times of 100", a, void[a])
		}
	}
}
