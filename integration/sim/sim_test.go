package sim_test

import (
	"flag"
	"sync"
	"testing"

	"github.com/dermai/millrace/integration/sim"
)

var (
	seeds = flag.Int64("seeds", 300, "how many runs")
	first = flag.Int64("seed", 1, "the first seed")
)

// TestRuns makes runs with consecutive seeds on both cores.
func TestRuns(t *testing.T) {
	var (
		mu    sync.Mutex
		wg    sync.WaitGroup
		total sim.Stats
		next  = *first
	)
	for range 2 {
		wg.Go(func() {
			for {
				mu.Lock()
				seed := next
				next++
				mu.Unlock()
				if seed >= *first+*seeds {
					return
				}
				stats, err := sim.Run(seed)
				if err != nil {
					t.Errorf("%v\nagain with: go test ./integration/sim -seed %d -seeds 1", err, seed)
				}
				mu.Lock()
				total.Add(stats)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	t.Logf("%+v", total)
	if total.Transitions == 0 || total.Unknown == 0 || total.Fenced == 0 || total.Stale == 0 || total.Backward == 0 || total.Snapshots == 0 {
		t.Errorf("the runs did not meet every fault: %+v", total)
	}
}
