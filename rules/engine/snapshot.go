package engine

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"

	"github.com/dermai/millrace/internal/chaos"
	"github.com/dermai/millrace/schemas"
)

// Snapshot is the whole state of a decider after a tick. It is written down piece by
// piece, between which the decider goes on: to encode all of a large state takes seconds.
// It is used by the decider's goroutine.
type Snapshot struct {
	class  schemas.Class
	tick   int64
	groups []groupState // not written yet; ascending by instance, then group
	rows   []rowState   // not written yet; ascending by tick, then key
	losses []loss

	to    io.Writer
	err   error // of to
	stage int
	comma string // before the next group or row
}

// What is written of a snapshot next.
const (
	atHead = iota
	atGroups
	atRows
)

// rowState is a row that is not visible yet.
type rowState struct {
	schemas.RowKey
	fold     packed
	evidence []schemas.Evidence
}

// Snapshot takes the state after the last tick decided, to be written to w. How far the
// partials were read is the caller's to add.
func (d *Decider) Snapshot(w io.Writer) *Snapshot {
	d.settle() // the ticks since the last decision may have been skipped
	s := &Snapshot{class: d.class, tick: d.tick, losses: slices.Clone(d.losses), to: w}
	for _, w := range d.windows {
		for _, g := range w.groups {
			if g.idle() {
				continue // it is there whenever its rule is
			}
			g.lent = true
			state := groupState{instance: w.in.ID, name: g.name, standing: g.standing, active: g.active, panes: g.panes, shows: g.shows}
			if g.marked && !chaos.Bug("checkpoint without admissions") {
				state.mark = new(g.mark)
			}
			s.groups = append(s.groups, state)
		}
	}
	slices.SortFunc(s.groups, func(a, b groupState) int {
		return cmp.Or(strings.Compare(a.instance, b.instance), strings.Compare(a.name, b.name))
	})
	for _, a := range d.rows {
		at := len(s.rows)
		for p, f := range a.rows {
			key := schemas.RowKey{Instance: p.instance, Group: p.group, Pane: p.pane, Visible: a.tick}
			s.rows = append(s.rows, rowState{key, pack(f), slices.Clone(f.Evidence)})
		}
		slices.SortFunc(s.rows[at:], func(a, b rowState) int { return compareKeys(a.RowKey, b.RowKey) })
	}
	return s
}

// Write writes down at most so many groups and rows more, and tells whether that was all.
// The bytes are a checkpoint's.
func (s *Snapshot) Write(n int) (done bool, err error) {
	for s.err == nil {
		switch {
		case s.stage == atHead:
			s.text(`{"class":`)
			s.value(s.class)
			s.text(`,"tick":`)
			s.value(s.tick)
			s.begin(`,"groups":[`)
		case s.stage == atGroups && len(s.groups) == 0:
			s.begin(`],"rows":[`)
		case s.stage == atRows && len(s.rows) == 0:
			s.text(`]`)
			if len(s.losses) > 0 {
				s.text(`,"losses":`)
				s.value(s.losses)
			}
			s.text(`}`)
			return s.err == nil, s.failed()
		case n == 0:
			return false, nil
		case s.stage == atGroups:
			n--
			s.item(s.groups[0].saved())
			s.groups[0] = groupState{} // the decider needs no other copy of it
			s.groups = s.groups[1:]
		default:
			n--
			row := schemas.Row{RowKey: s.rows[0].RowKey, Fold: s.rows[0].fold.unpack(nil)}
			row.Fold.Evidence = s.rows[0].evidence
			s.item(row)
			s.rows = s.rows[1:]
		}
	}
	return false, s.failed()
}

func (s *Snapshot) failed() error {
	if s.err == nil {
		return nil
	}
	return fmt.Errorf("checkpoint of %s at tick %d: %w", s.class, s.tick, s.err)
}

// begin begins the next list.
func (s *Snapshot) begin(text string) {
	s.text(text)
	s.stage, s.comma = s.stage+1, ""
}

func (s *Snapshot) item(v any) {
	s.text(s.comma)
	s.comma = ","
	s.value(v)
}

func (s *Snapshot) text(text string) {
	if s.err == nil {
		_, s.err = io.WriteString(s.to, text)
	}
}

func (s *Snapshot) value(v any) {
	if s.err == nil {
		s.err = json.MarshalWrite(s.to, v, json.Deterministic(true))
	}
}
