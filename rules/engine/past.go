package engine

import (
	"container/heap"

	"github.com/dermai/millrace/rules"
	"github.com/dermai/millrace/schemas"
)

// Past is what the decisions of a class say of its alerts: which are not
// inactive, and which groups are admitted under their rule's cap.
type Past struct {
	standing map[schemas.Admission]standing
	active   map[schemas.Admission]int64
	admitted map[schemas.Admission]int64 // tick
}

// NewPast is the past before the first decision.
func NewPast() *Past {
	return &Past{map[schemas.Admission]standing{}, map[schemas.Admission]int64{}, map[schemas.Admission]int64{}}
}

// Follow takes the next decision, or part of one. Every one that changed
// anything must come, in order.
func (p *Past) Follow(d *schemas.Decision) {
	for i := range d.Transitions {
		t := &d.Transitions[i]
		key := schemas.Admission{Instance: t.Instance, Group: t.Group}
		if t.To == schemas.Inactive {
			delete(p.standing, key)
			delete(p.active, key)
			continue
		}
		p.standing[key], p.active[key] = standing{t.To, t.Since}, t.Active
	}
	for _, a := range d.Admitted {
		p.admitted[a] = d.Tick
	}
	for _, a := range d.Released {
		delete(p.admitted, a)
	}
}

// Reach is the arrival, Unix ns, from which on a partition's messages make the rows
// and losses that Rebuild needs at a tick.
func (s *Schedule) Reach(class schemas.Class, tick int64) int64 {
	longest := int64(0)
	for _, in := range s.Instances(class, tick, tick) {
		longest = max(longest, in.Window+in.Pane+max(in.For, in.Keep))
	}
	return s.timing.End(tick - longest)
}

// Rebuild makes the state after a tick from what was decided up to it and from
// the rows and losses of the messages since Reach. The schedule must have settled the tick.
// From there on the decider does what one does that decided every tick before.
func (d *Decider) Rebuild(tick int64, past *Past, rows []schemas.Row, lost []schemas.Loss) error {
	fresh := &Decider{PartBytes: d.PartBytes, schedule: d.schedule, class: d.class, tick: tick, windows: map[string]*window{}}
	for _, in := range d.schedule.Instances(d.class, tick, tick) {
		fresh.windows[in.ID] = newWindow(in)
	}
	find := func(key schemas.Admission) *group {
		w := fresh.windows[key.Instance]
		switch {
		case w == nil:
			return nil // the rule is gone, and all of it was decided
		case w.groups[key.Group] == nil:
			return w.add(key.Group)
		}
		return w.groups[key.Group]
	}
	for key, mark := range past.admitted {
		if g := find(key); g != nil {
			g.marked, g.mark = true, mark
			g.window.marked++
		}
	}
	for key, s := range past.standing {
		if g := find(key); g != nil {
			g.standing, g.active = s, past.active[key]
		}
	}
	var later []schemas.Row
	for i := range rows {
		row := &rows[i]
		w := fresh.windows[row.Instance]
		switch {
		case row.Visible > tick:
			later = append(later, *row)
		case w != nil && row.Pane > tick-w.in.Window:
			key := schemas.Admission{Instance: row.Instance, Group: row.Group}
			if mark, ok := past.admitted[key]; !w.free(row.Group) && !(ok && mark <= row.Visible) {
				key.Group = rules.Overflow // it was not admitted when the row became visible
			}
			find(key).enter(row.Pane, &row.Fold)
		}
	}
	for _, w := range fresh.windows {
		for _, g := range w.groups {
			if g.forgotten() {
				w.forget(g)
			} else if _, now := fresh.read(g); g.sleep(tick, now) {
				heap.Push(&fresh.wakes, g)
			}
		}
	}
	if err := fresh.Add(later, lost); err != nil {
		return err
	}
	*d = *fresh
	return nil
}
