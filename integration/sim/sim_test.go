package main

import (
	"flag"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var seeds = flag.Int64("seeds", 300, "how many runs")

// TestRuns makes runs with consecutive seeds, which must meet every fault.
func TestRuns(t *testing.T) {
	total, failed := Runs(1, *seeds)
	for _, f := range failed {
		t.Errorf("%v\nagain with: go run ./integration/sim -seed %d", f.Err, f.Options.Seed)
	}
	t.Logf("%+v", total)
	for i, v := 0, reflect.ValueOf(total); i < v.NumField(); i++ {
		if v.Field(i).Int() == 0 {
			t.Errorf("no run met %s", v.Type().Field(i).Name)
		}
	}
}

// The same seed gives the same run: the same faults, and the same bytes stored.
func TestSameSeedSameRun(t *testing.T) {
	for seed := range int64(3) {
		var first, again strings.Builder
		stats, err := Run(Options{Seed: seed, Trace: &first})
		statsAgain, errAgain := Run(Options{Seed: seed, Trace: &again})
		if stats != statsAgain || first.String() != again.String() || (err == nil) != (errAgain == nil) {
			t.Errorf("seed %d: %+v (%v), then %+v (%v), and of what happened:\n%s", seed, stats, err, statsAgain, errAgain, cmp.Diff(first.String(), again.String()))
		}
	}
}
