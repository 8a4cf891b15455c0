package engine

import (
	"cmp"
	"container/heap"
	"slices"

	"github.com/dermai/millrace/rules"
	"github.com/dermai/millrace/schemas"
)

// window holds the groups of one rule instance.
type window struct {
	in   *Instance
	gone bool
	// switched is the tick at which the rule came out of shadow or went into it.
	switched int64
	groups   map[string]*group
	marked   int          // groups that count against the rule's cap
	whole    schemas.Fold // where a group's sum is unpacked
}

// group is one alert: the panes of its window and its state.
type group struct {
	window *window
	name   string
	key    string   // <instance>|<name>
	panes  []pane   // ascending by end
	sum    packed   // of all panes; "": to be added up
	shows  exhibits // of all panes
	lent   bool     // panes and shows are a snapshot's, too
	standing
	active int64 // tick at which the alert left inactive

	// marked groups were admitted under the rule's cap at tick mark.
	marked bool
	mark   int64

	wake int64 // next tick at which the alert may change by itself
	at   int   // index in wakes, -1: not there
}

// pane is what the rows of up to w ticks add up to; end is the last of them.
type pane struct {
	end  int64
	fold packed
}

func newWindow(in *Instance) *window {
	w := &window{in: in, groups: map[string]*group{}}
	if in.silent {
		for _, name := range in.Rule.Keys {
			w.add(name)
		}
		if len(in.Rule.By) == 0 {
			w.add("")
		}
	}
	return w
}

func (w *window) add(name string) *group {
	g := &group{window: w, name: name, key: w.in.ID + "|" + name, at: -1, standing: standing{state: schemas.Inactive}}
	w.groups[name] = g
	return g
}

// admit finds or makes the group that counts the rows of a group; admitted
// tells that it was let in under the cap just now. The group of a rule without
// by and the keys that a rule names need no admission.
func (w *window) admit(name string, tick int64) (g *group, admitted bool) {
	if g = w.groups[name]; g != nil {
		return g, false
	}
	limit := w.in.Rule.Cap
	if limit == 0 {
		limit = rules.DefaultCap
	}
	switch {
	case w.free(name):
		return w.add(name), false
	case w.marked < limit:
		g = w.add(name)
		g.marked, g.mark = true, tick
		w.marked++
		return g, true
	case w.groups[rules.Overflow] != nil:
		return w.groups[rules.Overflow], false
	}
	return w.add(rules.Overflow), false
}

func (w *window) free(name string) bool {
	_, named := slices.BinarySearch(w.in.Rule.Keys, name)
	return named || len(w.in.Rule.By) == 0
}

// forget drops a group.
func (w *window) forget(g *group) {
	delete(w.groups, g.name)
	if g.marked {
		w.marked--
	}
}

// enter adds rows to the pane that ends at a tick.
func (g *group) enter(end int64, f *schemas.Fold) {
	g.own()
	g.shows.enter(end, f.Evidence)
	if g.sum != "" {
		whole := g.fold()
		add(whole, f)
		g.sum = pack(whole)
	}
	i, ok := slices.BinarySearchFunc(g.panes, end, func(p pane, t int64) int { return cmp.Compare(p.end, t) })
	if !ok {
		g.panes = slices.Insert(g.panes, i, pane{end, pack(f)})
		return
	}
	whole := g.panes[i].fold.unpack(nil)
	add(&whole, f)
	g.panes[i].fold = pack(&whole)
}

// leave drops the panes that end at or before a tick.
func (g *group) leave(tick int64) {
	n := 0
	for n < len(g.panes) && g.panes[n].end <= tick {
		n++
	}
	if n == 0 {
		return
	}
	if g.sum != "" {
		whole := g.fold()
		if g.sum = ""; withdrawn(whole, g.panes[:n]) {
			g.sum = pack(whole)
		}
	}
	g.own()
	g.panes = slices.Delete(g.panes, 0, n)
	g.shows.leave(tick)
}

// withdrawn takes panes back from the sum of all; false: it is void.
func withdrawn(sum *schemas.Fold, panes []pane) bool {
	for _, p := range panes {
		if f := p.fold.unpack(nil); !withdraw(sum, &f) {
			return false
		}
	}
	return true
}

// fold adds up the window, without evidence. The result is that of the rule's groups one
// at a time: it holds until the next call.
func (g *group) fold() *schemas.Fold {
	whole := &g.window.whole
	if g.sum != "" {
		*whole = g.sum.unpack(whole.Buckets)
		return whole
	}
	*whole = schemas.Fold{Buckets: whole.Buckets[:0]}
	for _, p := range g.panes {
		f := p.fold.unpack(nil)
		add(whole, &f)
	}
	g.sum = pack(whole)
	return whole
}

// own takes the window back from a snapshot.
func (g *group) own() {
	if g.lent {
		g.panes, g.shows, g.lent = slices.Clone(g.panes), slices.Clone(g.shows), false
	}
}

// empty drops all of the window.
func (g *group) empty() { g.panes, g.sum, g.shows = nil, "", nil }

// idle tells that the group has neither samples nor a state.
func (g *group) idle() bool { return len(g.panes) == 0 && g.state == schemas.Inactive }

// forgotten groups are idle, and their rule does not ask for them by itself.
func (g *group) forgotten() bool {
	return g.idle() && !(g.window.in.silent && g.window.free(g.name))
}

// sleep sets the tick at which the alert may next change if its window gets no
// more rows, given the verdict at the tick that was just decided; false: never.
func (g *group) sleep(tick int64, now verdict) bool {
	if g.forgotten() {
		return false
	}
	in := g.window.in
	set := false
	soonest := func(t int64) {
		// What was due at the tick itself is late if its rule changed its mode there.
		if t = max(t, tick+1); !set || t < g.wake {
			g.wake, set = t, true
		}
	}
	if in.step(g.standing, now, tick+1).state != g.state {
		soonest(tick + 1)
	}
	if t, ok := in.deadline(g.standing); ok {
		soonest(t)
	}
	if len(g.panes) > 0 {
		soonest(g.panes[0].end + in.Window)
	}
	if t := in.Born + in.Window; in.silent && tick < t {
		soonest(t)
	}
	return set
}

// wakes orders groups by the tick at which they wake: a heap.
type wakes []*group

func (w *wakes) Len() int           { return len(*w) }
func (w *wakes) Less(i, j int) bool { return (*w)[i].wake < (*w)[j].wake }
func (w *wakes) Swap(i, j int) {
	a, b := (*w)[i], (*w)[j]
	(*w)[i], (*w)[j] = b, a
	a.at, b.at = j, i
}

// Push is heap.Interface's.
func (w *wakes) Push(x any) {
	if g, ok := x.(*group); ok {
		g.at = len(*w)
		*w = append(*w, g)
	}
}

// Pop is heap.Interface's.
func (w *wakes) Pop() any {
	last := len(*w) - 1
	g := (*w)[last]
	(*w)[last] = nil
	*w = (*w)[:last]
	g.at = -1
	return g
}

// rouse takes a group out, if it is there.
func (w *wakes) rouse(g *group) {
	if g.at >= 0 {
		heap.Remove(w, g.at)
	}
}
