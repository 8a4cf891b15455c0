package engine

import (
	"cmp"
	"container/heap"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"

	"github.com/dermai/millrace/internal/chaos"
	"github.com/dermai/millrace/schemas"
)

// checkpoint is the whole state of a decider at a tick, as JSON: a permanent
// format. Two deciders with the same state have the same bytes.
type checkpoint struct {
	Class  schemas.Class `json:"class"`
	Tick   int64         `json:"tick"`
	Groups []groupState  `json:"groups"` // ascending by instance, then group
	Rows   []schemas.Row `json:"rows"`   // not visible yet; ascending by tick, then key
	Losses []loss        `json:"losses,omitempty"`
}

type groupState struct {
	Instance string        `json:"in"`
	Group    string        `json:"g,omitzero"`
	State    schemas.State `json:"state"`
	Since    int64         `json:"since,omitzero"`
	Active   int64         `json:"active,omitzero"`
	Mark     *int64        `json:"mark,omitzero"` // tick of its admission under the rule's cap
	Panes    []pane        `json:"panes,omitempty"`
}

// Checkpoint writes down the whole state after the last tick decided, piece by
// piece: it may be far larger than what memory should hold. How far the partials
// were read is the caller's to add.
func (d *Decider) Checkpoint(w io.Writer) error {
	d.settle() // the ticks since the last decision may have been skipped
	c := checkpoint{Class: d.class, Tick: d.tick, Groups: []groupState{}, Rows: []schemas.Row{}, Losses: d.losses}
	for _, w := range d.windows {
		for _, g := range w.groups {
			if g.idle() {
				continue // it is there whenever its rule is
			}
			s := groupState{Instance: w.in.ID, Group: g.name, State: g.state, Since: g.since, Active: g.active, Panes: g.panes}
			if g.marked && !chaos.Bug("checkpoint without admissions") {
				s.Mark = &g.mark
			}
			c.Groups = append(c.Groups, s)
		}
	}
	slices.SortFunc(c.Groups, func(a, b groupState) int {
		return cmp.Or(strings.Compare(a.Instance, b.Instance), strings.Compare(a.Group, b.Group))
	})
	for _, a := range d.rows {
		at := len(c.Rows)
		for p, f := range a.rows {
			key := schemas.RowKey{Instance: p.instance, Group: p.group, Pane: p.pane, Visible: a.tick}
			c.Rows = append(c.Rows, schemas.Row{RowKey: key, Fold: *f})
		}
		slices.SortFunc(c.Rows[at:], func(a, b schemas.Row) int { return compareKeys(a.RowKey, b.RowKey) })
	}
	if err := json.MarshalWrite(w, c, json.Deterministic(true)); err != nil {
		return fmt.Errorf("checkpoint of %s at tick %d: %w", d.class, d.tick, err)
	}
	return nil
}

// Restore takes over the state of a checkpoint. The schedule must have settled
// its tick. From there on the decider does what the one that wrote it did; after
// an error it is as it was.
func (d *Decider) Restore(r io.Reader) error {
	if err := d.restore(r); err != nil {
		return fmt.Errorf("restore the checkpoint of %s: %w", d.class, err)
	}
	return nil
}

func (d *Decider) restore(r io.Reader) error {
	var c checkpoint
	if err := json.UnmarshalRead(r, &c); err != nil {
		return err
	}
	if c.Class != d.class {
		return fmt.Errorf("it is one of %s", c.Class)
	}
	if c.Tick >= d.schedule.Limit() {
		return fmt.Errorf("tick %d is not settled below %d: read the control log further first", c.Tick, d.schedule.Limit())
	}
	fresh := &Decider{PartBytes: d.PartBytes, schedule: d.schedule, class: d.class, tick: c.Tick, windows: map[string]*window{}}
	for _, in := range d.schedule.At(c.Tick) {
		if in.Rule.Class == d.class {
			fresh.windows[in.ID] = newWindow(in)
		}
	}
	for _, s := range c.Groups {
		w := fresh.windows[s.Instance]
		if w == nil {
			return fmt.Errorf("rule instance %s is not in force at tick %d: the control log is another one", s.Instance, c.Tick)
		}
		switch s.State {
		case schemas.Inactive, schemas.Pending, schemas.Firing, schemas.Cooling:
		default:
			return fmt.Errorf("state %q of %s, group %q, is not known: the checkpoint is damaged, or a newer build's", s.State, s.Instance, s.Group)
		}
		g := w.groups[s.Group]
		if g == nil {
			g = w.add(s.Group)
		}
		g.state, g.since, g.active = s.State, s.Since, s.Active
		if s.Mark != nil {
			g.marked, g.mark = true, *s.Mark
			w.marked++
		}
		g.panes = s.Panes
	}
	for _, w := range fresh.windows {
		for _, g := range w.groups {
			if _, now := fresh.read(g); g.sleep(c.Tick, now) {
				heap.Push(&fresh.wakes, g)
			}
		}
	}
	if err := fresh.Add(c.Rows, nil); err != nil {
		return err
	}
	fresh.losses = c.Losses
	*d = *fresh
	return nil
}
