package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/google/go-cmp/cmp"

	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/schemas"
	"github.com/dermai/millrace/stages"
)

// tally is what one reducer counted, as somebody who scraped every process until
// its last moment would know it.
type tally struct {
	w       *world
	pending []string // ids of events
}

// Count implements stages.Tally.
func (t *tally) Count(e *schemas.Event) { t.pending = append(t.pending, e.ID) }

// Commit implements stages.Tally.
func (t *tally) Commit() {
	for _, id := range t.pending {
		t.w.tallied[id]++
	}
	t.pending = nil
}

// Drop implements stages.Tally.
func (t *tally) Drop() { t.pending = nil }

// board is what one evaluator shows.
type board struct {
	shown  bool
	alerts map[string]schemas.State // by instance and group; not inactive
}

// Show implements stages.Board.
func (b *board) Show(alerts []schemas.Transition) {
	b.shown, b.alerts = true, map[string]schemas.State{}
	b.Change(alerts)
}

// Change implements stages.Board.
func (b *board) Change(made []schemas.Transition) {
	for i := range made {
		if key := made[i].Instance + "|" + made[i].Group; made[i].To == schemas.Inactive {
			delete(b.alerts, key)
		} else {
			b.alerts[key] = made[i].To
		}
	}
}

// Hide implements stages.Board.
func (b *board) Hide() { b.shown, b.alerts = false, nil }

var (
	_ stages.Tally = (*tally)(nil)
	_ stages.Board = (*board)(nil)
)

// counts compares what all reducers together counted with what is stored: every
// event of a commit that was acknowledged exactly once; of one whose answer was
// lost all or none, since its process may have died before it heard.
func (w *world) counts(partials []partial, ids func(p schemas.Partition, from, to schemas.Position) []string) error {
	var errs []error
	seen := 0
	for _, part := range partials {
		stored := ids(part.Partition, part.From, part.To)
		counted := 0
		for _, id := range stored {
			counted += w.tallied[id]
			if w.tallied[id] > 1 {
				errs = append(errs, fmt.Errorf("event %s is counted %d times", id, w.tallied[id]))
			}
		}
		seen += counted
		unheard := w.broker.unsure[part.entry.Header[fence.HeaderToken]]
		switch {
		case counted == len(stored):
		case counted == 0 && unheard:
			w.stats.Unheard += len(stored)
		default:
			errs = append(errs, fmt.Errorf("partial %d, whose answer was lost: %t, has %d events, and %d are counted", part.entry.Seq, unheard, len(stored), counted))
		}
	}
	total := 0
	for _, n := range w.tallied {
		total += n
	}
	if total != seen {
		errs = append(errs, fmt.Errorf("%d events are counted, %d of them are in partials", total, seen))
	}
	w.stats.Tallied += total
	return errors.Join(errs...)
}

// shows compares the board of the evaluator that decided last with the changes
// that are logged; no other may show anything that is assigned to it alone.
func (w *world) shows(live []schemas.Transition) error {
	want := &board{}
	want.Show(live)
	if diff := cmp.Diff(want.alerts, w.last.alerts); diff != "" || !w.last.shown {
		return fmt.Errorf("the board of the active evaluator (-logged +shown %t):\n%s", w.last.shown, diff)
	}
	for _, e := range w.evals {
		if !e.active && e.board.shown && e.seen {
			return fmt.Errorf("an evaluator that stands by shows %v", slices.Sorted(maps.Keys(e.board.alerts)))
		}
	}
	return nil
}
