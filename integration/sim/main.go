package main

import (
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/dermai/millrace/integration/faultlog"
)

func main() {
	seed := flag.Int64("seed", 1, "the first `seed`")
	seeds := flag.Int64("seeds", 1, "how many runs, with consecutive seeds")
	hush := flag.String("hush", "", "a kept run, as JSON: its seed and its hushed choices")
	trace := flag.Bool("v", false, "tell of every fault of a single run")
	rule := flag.String("without", "", "take a rule of the algorithm away, by the name of its bug, or all in turn: runs must fail (needs -tags chaos)")
	small := flag.Bool("minimise", true, "make the first run that fails as small as it gets")
	keep := flag.Bool("record", false, "add the runs to "+faultlog.File)
	flag.Parse()
	err := without(*rule)
	switch {
	case err != nil:
	case *rule == "all":
		err = withoutEach(*seed, *seeds)
	default:
		err = command(*seed, *seeds, *hush, *trace, *small, *keep)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// command makes the runs, and tells of the first failure.
func command(seed, seeds int64, hush string, trace, small, keep bool) error {
	if hush != "" || trace {
		o := Options{Seed: seed}
		if err := json.Unmarshal([]byte(cmp.Or(hush, "{}")), &o); err != nil {
			return fmt.Errorf("-hush: %w", err)
		}
		if trace {
			o.Trace = os.Stdout
		}
		stats, err := Run(o)
		fmt.Printf("%+v\n", stats)
		return err
	}
	commit := ""
	if keep {
		var err error
		if commit, err = faultlog.Commit(context.Background()); err != nil {
			return err
		}
	}
	began := time.Now()
	total, failed := Runs(seed, seeds)
	fmt.Printf("%d runs, %d failed: %+v\n", seeds, len(failed), total)
	if keep {
		if err := add(commit, seed, seeds, failed, time.Since(began)); err != nil {
			return err
		}
	}
	if len(failed) == 0 {
		return nil
	}
	f := failed[0]
	if small {
		o, err := minimise(f.Options, f.Stats.Choices, f.Err)
		kept, encoding := json.Marshal(o)
		must(encoding)
		return fmt.Errorf("%w\nagain with: go run ./integration/sim -hush '%s'", err, kept)
	}
	return fmt.Errorf("%w\nagain with: go run ./integration/sim -seed %d", f.Err, f.Options.Seed)
}

// Record is a line of the ledger: runs with consecutive seeds that came to the same.
type Record struct {
	Kind    string   `json:"kind"`
	Commit  string   `json:"commit"`
	Seed    int64    `json:"seed"` // the first
	Runs    int64    `json:"runs"`
	Faults  []string `json:"faults"`
	Outcome string   `json:"outcome"`
	Seconds float64  `json:"seconds"`
	Why     []string `json:"why,omitempty"`
}

// add adds the runs to the ledger: those that passed in one line, and each of the
// others in its own.
func add(commit string, seed, seeds int64, failed []Failure, took time.Duration) error {
	all := []string{"all"}
	r := Record{Kind: "simulation", Commit: commit, Seed: seed, Runs: seeds - int64(len(failed)), Faults: all, Outcome: "pass", Seconds: took.Round(time.Second).Seconds()}
	if err := faultlog.Add(r); err != nil {
		return err
	}
	for _, f := range failed {
		text, _, _ := strings.Cut(f.Err.Error(), "\n")
		if err := faultlog.Add(Record{Kind: r.Kind, Commit: commit, Seed: f.Options.Seed, Runs: 1, Faults: all, Outcome: "fail", Why: []string{text}}); err != nil {
			return err
		}
	}
	return nil
}

// needed are the rules that runs show to be needed, by the names of the bugs that
// break them (internal/chaos).
var needed = []string{
	"same-bytes rule broken",
	"zombie's append accepted",
	"frontier not strict",
	"position of a whole frame",
	"running maximum lost at takeover",
	"idle partition vouched by clock",
	"dead partition excluded",
	"rules switched on notice",
	"quiet states not logged",
	"checkpoint without admissions",
	"quarantine not awaited",
	"delivery recorded before the send",
	"delivery never recorded",
	"position moved before the put",
	"loser of a put not adopted",
	"purge ahead of the archive",
	"L0 key by last sequence",
	"late archiver adopts",
	"rewind not noticed",
	"adopter drops the rest",
	"recreation not noticed",
	"epoch not looked at",
	"position taken for another stream's",
}

// withoutEach takes the rules away one at a time, and wants a run to fail for each.
func withoutEach(seed, seeds int64) error {
	var kept []string
	for _, rule := range needed {
		if err := without(rule); err != nil {
			return err
		}
		n, failure := seed, error(nil)
		for ; n < seed+seeds && failure == nil; n++ {
			_, failure = Run(Options{Seed: n})
		}
		if failure == nil {
			kept = append(kept, rule)
			fmt.Printf("%s: no run of %d failed\n", rule, seeds)
			continue
		}
		text, _, _ := strings.Cut(failure.Error(), "\n")
		fmt.Printf("%s: %s\n", rule, text)
	}
	if kept != nil {
		return fmt.Errorf("no run needed: %s", strings.Join(kept, "; "))
	}
	return nil
}

// Failure is a run that failed.
type Failure struct {
	Options Options
	Stats   Stats
	Err     error
}

// Runs makes runs with consecutive seeds on every core, and counts what happened
// in all of them. The failures come in order of their seeds.
func Runs(seed, seeds int64) (total Stats, failed []Failure) {
	// A run leaves much behind it, and nothing that lasts.
	defer debug.SetGCPercent(debug.SetGCPercent(800))
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(4 << 30))
	var (
		mu   sync.Mutex
		wg   sync.WaitGroup
		next = seed
		runs = map[int64]Failure{}
	)
	take := func() (int64, bool) {
		mu.Lock()
		defer mu.Unlock()
		next++
		return next - 1, next <= seed+seeds
	}
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for n, ok := take(); ok; n, ok = take() {
				o := Options{Seed: n}
				stats, err := Run(o)
				mu.Lock()
				total.Add(stats)
				if err != nil {
					runs[n] = Failure{o, stats, err}
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	for n := seed; n < seed+seeds; n++ {
		if f, ok := runs[n]; ok {
			failed = append(failed, f)
		}
	}
	return total, failed
}
