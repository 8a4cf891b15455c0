package engine_test

import (
	"bytes"
	"testing"

	"github.com/dermai/millrace/rules/engine"
	"github.com/dermai/millrace/schemas"
)

// TestRebuild makes the state at some ticks of random worlds from the decisions
// before and the events in reach, and compares it with the state that was there.
func TestRebuild(t *testing.T) {
	held := 0
	for n := range uint64(40) {
		seed := *seed + n
		w := newWorld(seed)
		for _, class := range schemas.Classes {
			held += rebuild(t, w, class, seed)
		}
	}
	if held < 200 {
		t.Errorf("only %d states held an alert: the worlds are too quiet to prove anything", held)
	}
}

func rebuild(t *testing.T, w *world, class schemas.Class, seed uint64) (held int) {
	t.Helper()
	d := engine.NewDecider(w.folded, class)
	if err := d.Add(w.rows(class, 0)); err != nil {
		t.Fatal(err)
	}
	past := engine.NewPast()
	for last := w.folded.Timing().Sec(w.end); d.Tick() < last; {
		for _, part := range d.Decide() {
			past.Follow(&part)
		}
		if due, ok := d.Waits(); ok && due <= d.Tick() {
			t.Fatalf("seed %d, %s: it waits for tick %d, and has decided %d: time would stand still", seed, class, due, d.Tick())
		}
		if !w.one(20) {
			continue
		}
		again := engine.NewDecider(w.folded, class)
		rows, lost := w.rows(class, w.folded.Reach(class, d.Tick()))
		if err := again.Rebuild(d.Tick(), past, rows, lost); err != nil {
			t.Fatal(err)
		}
		want, got := written(t, d), written(t, again)
		if !bytes.Equal(want, got) {
			t.Fatalf("seed %d, %s, tick %d:\n   was %s\nrebuilt %s", seed, class, d.Tick(), want, got)
		}
		wantWait, _ := d.Waits()
		if gotWait, _ := again.Waits(); gotWait != wantWait {
			t.Fatalf("seed %d, %s, tick %d: it waits for tick %d, not %d", seed, class, d.Tick(), gotWait, wantWait)
		}
		held += len(d.Standing())
	}
	return held
}

// rows are those of a class's events that arrived at or after a moment, and lost what
// is lost since.
func (w *world) rows(class schemas.Class, since int64) (rows []schemas.Row, lost []schemas.Loss) {
	for _, p := range w.parts {
		if p.Class() != class {
			continue
		}
		r := engine.NewReducer(w.folded, p)
		arrival := w.folded.Floor(p)
		for _, f := range w.streams[p] {
			if arrival = max(arrival, f.ts); arrival < since {
				r.Resume(schemas.Position{Seq: f.seq}, arrival)
				continue
			}
			if !f.read(r) {
				break
			}
			for k := range f.events {
				r.Fold(k, &f.events[k])
			}
		}
		part := r.Cut()
		rows, lost = append(rows, part.Rows...), append(lost, part.Losses...)
	}
	return rows, lost
}
