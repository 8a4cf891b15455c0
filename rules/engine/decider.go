package engine

import (
	"cmp"
	"container/heap"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/dermai/millrace/schemas"
)

// DefaultPartBytes bounds the parts of a decision unless told otherwise.
const DefaultPartBytes = 512 << 10

// Decider enters the rows of a class's partitions into windows and decides the
// state of every alert, one tick after another. It is used by one goroutine.
type Decider struct {
	// PartBytes bounds the JSON of each part of a decision; 0: DefaultPartBytes.
	// A part holds one change at least. Parts may be cut differently by another
	// build or setting, see Rest.
	PartBytes int

	schedule *Schedule
	class    schemas.Class
	tick     int64
	rows     []arrivals         // ascending by tick, all above tick
	windows  map[string]*window // by instance, those in force at tick
	losses   []loss             // that changes after tick may rest on; ascending
	wakes    wakes
}

// arrivals are the rows that become visible at a tick, merged.
type arrivals struct {
	tick int64
	rows map[place]*schemas.Fold
}

type place struct {
	instance, group string
	pane            int64
}

func (a place) compare(b place) int {
	return cmp.Or(strings.Compare(a.instance, b.instance), strings.Compare(a.group, b.group), cmp.Compare(a.pane, b.pane))
}

// NewDecider returns the decider of a class before the schedule's first tick.
func NewDecider(s *Schedule, class schemas.Class) *Decider {
	d := &Decider{schedule: s, class: class, windows: map[string]*window{}}
	if first, ok := s.First(); ok {
		d.tick = first - 1
	}
	return d
}

// Tick is the last tick decided.
func (d *Decider) Tick() int64 { return d.tick }

// Add takes the rows and losses of one partial of any partition of the class; the
// order of partials does not matter. A row for a tick that was decided already is a
// broken promise: Add returns an error, and the decider must not be used again.
func (d *Decider) Add(rows []schemas.Row, lost []schemas.Loss) error {
	d.lose(lost)
	for i := range rows {
		row := &rows[i]
		if row.Visible <= d.tick {
			return fmt.Errorf("row of %s, group %q, for tick %d comes after tick %d was decided", row.Instance, row.Group, row.Visible, d.tick)
		}
		at, ok := slices.BinarySearchFunc(d.rows, row.Visible, func(a arrivals, t int64) int { return cmp.Compare(a.tick, t) })
		if !ok {
			d.rows = slices.Insert(d.rows, at, arrivals{row.Visible, map[place]*schemas.Fold{}})
		}
		p := place{row.Instance, row.Group, row.Pane}
		f := d.rows[at].rows[p]
		if f == nil {
			f = new(schemas.Fold)
			d.rows[at].rows[p] = f
		}
		merge(f, &row.Fold)
	}
	return nil
}

// Waits gives the earliest tick after Tick at which anything may change if no
// more rows come; false: nothing waits for the time to pass.
func (d *Decider) Waits() (tick int64, ok bool) {
	tick, ok = d.schedule.next(d.tick)
	if len(d.rows) > 0 && (!ok || d.rows[0].tick < tick) {
		tick, ok = d.rows[0].tick, true
	}
	if len(d.wakes) > 0 && (!ok || d.wakes[0].wake < tick) {
		tick, ok = d.wakes[0].wake, true
	}
	return tick, ok
}

// SkipTo decides the ticks up to the one given, as long as nothing can change
// at them: it stops before the tick that Waits gives. The result is that of
// deciding each. It does not go beyond what the schedule has settled.
func (d *Decider) SkipTo(tick int64) {
	tick = min(tick, d.schedule.Limit()-1)
	if wait, ok := d.Waits(); ok {
		tick = min(tick, wait-1)
	}
	d.tick = max(d.tick, tick)
}

// Decide decides the next tick. The caller has seen that every partition of the
// class that is open at that tick is past it (Timing.Decidable), has added the
// rows up to there, and that the tick is below Schedule.Limit. The decision
// comes in one part or more, the last of them done.
func (d *Decider) Decide() []schemas.Decision {
	d.tick++
	if d.tick >= d.schedule.Limit() {
		panic(fmt.Sprintf("engine: tick %d is decided before its rules are settled", d.tick))
	}
	whole := schemas.Decision{Class: d.class, Tick: d.tick, Done: true}
	awake := map[*group]bool{}
	d.revise(awake)
	whole.Admitted = d.enter(awake)
	for len(d.wakes) > 0 && d.wakes[0].wake <= d.tick {
		awake[d.wakes[0]] = true
		heap.Pop(&d.wakes)
	}
	groups := slices.SortedFunc(maps.Keys(awake), func(a, b *group) int { return strings.Compare(a.key, b.key) })
	for _, g := range groups {
		if t := d.decide(g); t != nil {
			whole.Transitions = append(whole.Transitions, *t)
		}
		if g.forgotten() {
			g.window.forget(g)
			if g.marked {
				whole.Released = append(whole.Released, schemas.Admission{Instance: g.window.in.ID, Group: g.name})
			}
		}
	}
	d.settle()
	return d.split(whole)
}

// revise puts the rules of the tick in force. It wakes the groups of new rules
// that may fire on silence, and those of rules that are gone or change their mode.
func (d *Decider) revise(awake map[*group]bool) {
	if next, ok := d.schedule.next(d.tick - 1); !ok || next != d.tick {
		return
	}
	old := d.windows
	d.windows = map[string]*window{}
	for _, in := range d.schedule.At(d.tick) {
		if in.Rule.Class != d.class {
			continue
		}
		w := old[in.ID]
		if w == nil {
			w = newWindow(in)
			for _, g := range w.groups {
				awake[g] = true
			}
		}
		if w.in.Rule.Shadow != in.Rule.Shadow {
			w.switched = d.tick
			for _, g := range w.groups {
				d.wakes.rouse(g)
				awake[g] = true
			}
		}
		w.in = in // its labels and annotations may be new
		d.windows[in.ID] = w
		delete(old, in.ID)
	}
	for _, w := range old {
		w.gone = true
		for _, g := range w.groups {
			d.wakes.rouse(g)
			awake[g] = true
		}
	}
}

// enter puts the rows that become visible at the tick into their panes and
// wakes their groups. New groups are admitted in byte order.
func (d *Decider) enter(awake map[*group]bool) (admitted []schemas.Admission) {
	if len(d.rows) == 0 || d.rows[0].tick != d.tick {
		return nil
	}
	rows := d.rows[0].rows
	d.rows[0] = arrivals{}
	d.rows = d.rows[1:]
	for _, p := range slices.SortedFunc(maps.Keys(rows), place.compare) {
		w := d.windows[p.instance]
		if w == nil {
			continue // the rule was gone before they became visible
		}
		g, ok := w.admit(p.group, d.tick)
		if ok {
			admitted = append(admitted, schemas.Admission{Instance: p.instance, Group: p.group})
		}
		g.enter(p.pane, rows[p])
		d.wakes.rouse(g)
		awake[g] = true
	}
	return admitted
}

// decide makes the group's change at the tick, if there is one, and sets when
// the group wakes next.
func (d *Decider) decide(g *group) *schemas.Transition {
	in := g.window.in
	if g.window.gone {
		g.empty()
		return d.change(g, standing{schemas.Inactive, d.tick}, schemas.Transition{Why: ruleGone})
	}
	g.leave(d.tick - in.Window)
	t, now := d.read(g)
	var made *schemas.Transition
	if g.window.switched == d.tick && g.state != schemas.Inactive {
		made = d.switched(g, t)
	} else {
		made = d.change(g, in.step(g.standing, now, d.tick), t)
	}
	if g.sleep(d.tick, now) {
		heap.Push(&d.wakes, g)
	}
	return made
}

// read judges the window of a group at the tick, and begins the transition that
// would follow from it.
func (d *Decider) read(g *group) (schemas.Transition, verdict) {
	in := g.window.in
	fold := g.fold()
	t := schemas.Transition{N: fold.N}
	v, ok := value(in.Rule, fold, d.schedule.timing.Tick*time.Duration(in.Window))
	if ok {
		t.Value = &v
	}
	now := in.judge(fold, v, d.tick)
	t.Why = now.why
	return t, now
}

// change moves a group to a standing and completes the transition; nil if it is
// there already.
func (d *Decider) change(g *group, to standing, t schemas.Transition) *schemas.Transition {
	if to.state == g.state {
		return nil
	}
	switch {
	case g.state == schemas.Inactive:
		g.active = d.tick
	case g.state == schemas.Pending && to.state == schemas.Inactive:
		g.active = 0
	}
	made := d.complete(g, to, t)
	g.standing = to
	if to.state == schemas.Inactive {
		g.since, g.active = 0, 0
	}
	return made
}

// switched is the one change of an alert, which is not inactive, at the tick at
// which its rule comes out of shadow or goes into it: from its state to itself.
// What its window says counts from the next tick on.
func (d *Decider) switched(g *group, t schemas.Transition) *schemas.Transition {
	if t.Why = ruleLive; g.window.in.Rule.Shadow {
		t.Why = ruleShadow
	}
	return d.complete(g, g.standing, t)
}

// complete fills in a transition of a group to a standing.
func (d *Decider) complete(g *group, to standing, t schemas.Transition) *schemas.Transition {
	in := g.window.in
	t.Evidence = g.shows.shown()
	t.Alert = in.Rule.Name + "{" + g.name + "}"
	t.Rule, t.Instance, t.Group = in.Rule.Name, in.ID, g.name
	t.Tick, t.Time = d.tick, d.schedule.timing.End(d.tick)
	t.From, t.To, t.Since, t.Active = g.state, to.state, to.since, g.active
	t.Shadow, t.Suspect = in.Rule.Shadow, d.suspect(g)
	in.Rule.Describe(&t)
	return &t
}
