package main

import (
	"flag"
	"reflect"
	"testing"
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

// The same seed gives the same run.
func TestSameSeedSameRun(t *testing.T) {
	for seed := range int64(3) {
		first, err := Run(Options{Seed: seed})
		again, errAgain := Run(Options{Seed: seed})
		if first != again || (err == nil) != (errAgain == nil) {
			t.Errorf("seed %d: %+v (%v), then %+v (%v)", seed, first, err, again, errAgain)
		}
	}
}
