package main

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
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

// Runs that failed once, made small. They hold as long as the choices of a run stay
// what they were, and cost little.
func TestKept(t *testing.T) {
	files, err := filepath.Glob("testdata/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d kept runs (%v)", len(files), err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var o Options
		if err := json.Unmarshal(data, &o); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if _, err := Run(o); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
}
