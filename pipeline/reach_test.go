package pipeline_test

import (
	"testing"
	"time"

	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/pipeline"
)

// A replicated stream that looks shorter than it was is not taken for one that lost
// its tail before it has looked so for a while: found by integration/chaos, with
// seeds 661330709 and 549747195, where a new leader answered before it had caught up.
func TestReach(t *testing.T) {
	start := time.Now()
	type look struct {
		after   time.Duration
		created int64
		last    uint64
		read    uint64
		doubted bool
	}
	for name, looks := range map[string][]look{
		"it grows":                        {{0, 1, 10, 0, false}, {1, 1, 12, 12, false}},
		"it catches up":                   {{0, 1, 10, 0, false}, {time.Second, 1, 7, 0, true}, {2 * time.Second, 1, 11, 0, false}, {time.Minute, 1, 7, 0, true}},
		"it is short for long":            {{0, 1, 10, 0, false}, {time.Second, 1, 7, 0, true}, {40 * time.Second, 1, 7, 0, false}, {41 * time.Second, 1, 8, 0, false}},
		"it is short of what was read":    {{0, 1, 10, 12, true}, {time.Second, 1, 12, 12, false}},
		"a stream of the same name":       {{0, 1, 10, 0, false}, {time.Second, 2, 3, 10, false}, {2 * time.Second, 2, 2, 0, true}},
		"short of what was read for long": {{0, 1, 10, 12, true}, {time.Minute, 1, 10, 12, false}},
	} {
		t.Run(name, func(t *testing.T) {
			judge := pipeline.Judge()
			for i, l := range looks {
				err := judge(fence.Info{Created: l.created, First: 1, Last: l.last}, l.read, 30*time.Second, start.Add(l.after))
				if (err != nil) != l.doubted {
					t.Errorf("look %d: %v, want a doubt: %t", i, err, l.doubted)
				}
				if fence.IsIncident(err) {
					t.Errorf("look %d: a doubt is no incident: %v", i, err)
				}
			}
		})
	}
}
