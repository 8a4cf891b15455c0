package engine

import (
	"cmp"
	"slices"

	"github.com/dermai/millrace/schemas"
)

// exhibits are the evidence that a window may show, now or once earlier panes have left
// it, in the order in which it is chosen: the k-skyband of Mouratidis, Bakiras and
// Papadias, Continuous Monitoring of Top-k Queries over Sliding Windows (SIGMOD 2006).
// What is in here depends on the panes alone, not on when what entered.
type exhibits []exhibit

// exhibit is evidence of a pane.
type exhibit struct {
	pane  int64 // last tick of it
	rank  float64
	order schemas.Order
	rest  packed
}

// compare orders x before y with a negative result: the worst first, of equals those of
// the latest pane, and in a pane the earliest. So of a rule that names no worst five are
// kept.
func (x exhibit) compare(y exhibit) int {
	return cmp.Or(cmp.Compare(y.rank, x.rank), cmp.Compare(y.pane, x.pane), x.order.Compare(y.order))
}

func (x exhibit) evidence() schemas.Evidence {
	ev := x.rest.unpackEvidence()
	ev.Rank, ev.Order = x.rank, x.order
	return ev
}

// enter adds evidence of a pane.
func (list *exhibits) enter(pane int64, evidence []schemas.Evidence) {
	for i := range evidence {
		ev := &evidence[i]
		x := exhibit{pane, ev.Rank, ev.Order, packEvidence(ev)}
		at, _ := slices.BinarySearchFunc(*list, x, exhibit.compare)
		*list = slices.Insert(*list, at, x)
	}
	// What has as many as are shown before it, which all stay for as long, is never shown.
	var latest []int64 // panes of those before: the last of them, ascending
	*list = slices.DeleteFunc(*list, func(x exhibit) bool {
		if len(latest) == schemas.EvidenceLimit {
			if latest[0] >= x.pane {
				return true
			}
			latest = slices.Delete(latest, 0, 1)
		}
		at, _ := slices.BinarySearch(latest, x.pane)
		latest = slices.Insert(latest, at, x.pane)
		return false
	})
}

// leave drops the evidence of panes that end at or before a tick.
func (list *exhibits) leave(tick int64) {
	*list = slices.DeleteFunc(*list, func(x exhibit) bool { return x.pane <= tick })
}

// shown is what a change of the window's alert refers to: the worst first, then the
// earliest.
func (list *exhibits) shown() (shown []schemas.Evidence) {
	for _, x := range (*list)[:min(len(*list), schemas.EvidenceLimit)] {
		shown = append(shown, x.evidence())
	}
	slices.SortFunc(shown, evidenceOrder)
	return shown
}

// of is the evidence of a pane.
func (list *exhibits) of(pane int64) (of []schemas.Evidence) {
	for _, x := range *list {
		if x.pane == pane {
			of = append(of, x.evidence())
		}
	}
	return of
}
