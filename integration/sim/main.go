package main

import (
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"runtime"
	"sync"
)

func main() {
	seed := flag.Int64("seed", 1, "the first `seed`")
	seeds := flag.Int64("seeds", 1, "how many runs, with consecutive seeds")
	hush := flag.String("hush", "", "a kept run, as JSON: its seed and its hushed choices")
	trace := flag.Bool("v", false, "tell of every fault of a single run")
	small := flag.Bool("minimise", true, "make the first run that fails as small as it gets")
	flag.Parse()
	if err := command(*seed, *seeds, *hush, *trace, *small); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// command makes the runs, and tells of the first failure.
func command(seed, seeds int64, hush string, trace, small bool) error {
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
	total, failed := Runs(seed, seeds)
	fmt.Printf("%d runs, %d failed: %+v\n", seeds, len(failed), total)
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

// Failure is a run that failed.
type Failure struct {
	Options Options
	Stats   Stats
	Err     error
}

// Runs makes runs with consecutive seeds on every core, and counts what happened
// in all of them. The failures come in order of their seeds.
func Runs(seed, seeds int64) (total Stats, failed []Failure) {
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
