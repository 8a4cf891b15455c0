package engine_test

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/dermai/millrace/rules/engine"
	"github.com/dermai/millrace/schemas"
)

// TestExhibits enters random evidence into random panes, some of them late, lets panes
// leave, and compares what is shown with the choice among all that is in the window.
// What is kept does not depend on the order in which it came.
func TestExhibits(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 11))
	type entry struct {
		pane int64
		schemas.Evidence
	}
	dropped := 0
	for n := range 300 {
		ranks := 1 + rng.IntN(1+n%5*4) // 1: a rule that names no worst
		var x engine.Exhibits
		var all []entry
		for now := int64(1); now <= 30; now++ {
			for range rng.IntN(4) {
				e := entry{max(1, now-int64(rng.IntN(3))), schemas.Evidence{
					Rank: float64(rng.IntN(ranks)), Order: schemas.Order{Time: int64(rng.IntN(5)), Seq: uint64(len(all))},
					ID: fmt.Sprint("id-", len(all)), Fields: map[string]string{"a": fmt.Sprint(len(all))},
				}}
				all = append(all, e)
				x.Enter(e.pane, []schemas.Evidence{e.Evidence})
			}
			x.Leave(now - 10)
			all = slices.DeleteFunc(all, func(e entry) bool { return e.pane <= now-10 })

			slices.SortFunc(all, func(a, b entry) int {
				return cmp.Or(cmp.Compare(b.Rank, a.Rank), cmp.Compare(b.pane, a.pane), a.Order.Compare(b.Order))
			})
			want := slices.Clone(all[:min(len(all), 5)])
			slices.SortFunc(want, func(a, b entry) int { return cmp.Or(cmp.Compare(b.Rank, a.Rank), a.Order.Compare(b.Order)) })
			var list []schemas.Evidence
			for _, e := range want {
				list = append(list, e.Evidence)
			}
			if got := encode(t, x.Shown()); got != encode(t, list) {
				t.Fatalf("case %d, pane %d:\n got %s\nwant %s", n, now, got, encode(t, list))
			}
			var again engine.Exhibits
			for _, i := range rng.Perm(len(all)) {
				again.Enter(all[i].pane, []schemas.Evidence{all[i].Evidence})
			}
			if !slices.Equal(x, again) {
				t.Fatalf("case %d, pane %d: kept %v, in another order %v", n, now, x, again)
			}
			if ranks == 1 && len(x) > schemas.EvidenceLimit {
				t.Fatalf("case %d, pane %d: %d are kept where %d are ever shown", n, now, len(x), schemas.EvidenceLimit)
			}
			dropped += len(all) - len(x)
		}
	}
	if dropped < 10_000 {
		t.Errorf("only %d were not kept", dropped)
	}
}
