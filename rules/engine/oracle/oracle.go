// Package oracle computes the transitions of a class in the most naive way: for
// every tick, every window of every rule is recomputed from the list of all
// events. It is quadratic, has nothing in common with package engine but the
// schedule (which rules are in force when) and the compiled rules, and exists
// to be compared with what the engine made of the same events.
package oracle

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/dermai/millrace/rules"
	"github.com/dermai/millrace/rules/engine"
	"github.com/dermai/millrace/schemas"
)

// Event is a stored event: what it says, where it is stored and when it
// arrived. The Time of its Order need not be filled.
type Event struct {
	schemas.Event
	Order   schemas.Order
	Arrival int64 // running maximum of its partition's timestamps up to its frame, the partition's floor included; Unix ns
}

// sample is what one event is to one rule instance.
type sample struct {
	rules.Sample
	order    schemas.Order
	evidence *schemas.Evidence
	pane     int64 // last tick of its pane
	visible  int64
	counted  string // group that it was counted in when it became visible
}

// Transitions are those of a class up to a tick, included; lost are the losses of
// its partitions. The schedule must be
// settled up to there and must not have been restored from a snapshot that left
// out revisions.
func Transitions(s *engine.Schedule, events []Event, lost []schemas.Loss, class schemas.Class, until int64) []schemas.Transition {
	o := &oracle{
		schedule: s,
		class:    class,
		lost:     lost,
		lack:     map[string]map[int64]bool{},
		samples:  map[string][]*sample{},
		states:   map[string]state{},
		admitted: map[string]map[string]bool{},
	}
	env := rules.NewEnv()
	for i := range events {
		o.read(env, &events[i])
	}
	for _, list := range o.samples {
		slices.SortFunc(list, func(a, b *sample) int { return a.order.Compare(b.order) })
	}
	first, ok := s.First()
	if !ok {
		return nil
	}
	for tick := first; tick <= until; tick++ {
		o.tick(tick)
	}
	return o.transitions
}

type oracle struct {
	schedule    *engine.Schedule
	class       schemas.Class
	lost        []schemas.Loss
	lack        map[string]map[int64]bool // by instance, see lacking
	samples     map[string][]*sample      // by instance
	states      map[string]state          // by instance|group; inactive ones are absent
	admitted    map[string]map[string]bool
	transitions []schemas.Transition
}

// state remembers the instance as it was when it was last in force.
type state struct {
	in            *engine.Instance
	group         string
	state         schemas.State
	since, active int64
}

func (o *oracle) read(env *rules.Env, e *Event) {
	if e.Kind.Class() != o.class {
		return
	}
	dep := o.schedule.Timing().Deployment
	order := e.Order
	order.Time = min(e.Time, e.Arrival)
	happened := tickOf(order.Time, int64(dep.Tick))
	arrived := tickOf(e.Arrival, int64(dep.Tick)) - dep.Lateness
	env.Set(&e.Event)
	for _, in := range o.schedule.At(arrived) {
		if !slices.Contains(in.Rule.Kinds, e.Kind) {
			continue
		}
		x, ok, _ := in.Rule.Sample(env)
		if !ok {
			continue
		}
		sm := &sample{Sample: x, order: order, visible: happened}
		if arrived > happened {
			sm.visible = arrived
		}
		width := (in.Window + 59) / 60
		for sm.pane = happened; sm.pane%width != 0; sm.pane++ {
		}
		if sm.visible-sm.pane >= in.Window {
			continue // no window can hold it any more
		}
		if in.Rule.Aggregate != rules.Ratio || x.Hit {
			ev := in.Rule.Evidence(env, order)
			sm.evidence = &ev
		}
		o.samples[in.ID] = append(o.samples[in.ID], sm)
	}
}

func tickOf(ns, length int64) int64 {
	tick := ns / length
	for tick*length < ns {
		tick++
	}
	return tick
}

// tick recomputes everything at one tick.
func (o *oracle) tick(tick int64) {
	inForce := map[string]*engine.Instance{}
	windows := map[string][]*sample{} // by key
	owner := map[string]state{}       // instance and group of a key
	know := func(in *engine.Instance, group string) string {
		key := in.ID + "|" + group
		owner[key] = state{in: in, group: group}
		return key
	}
	maps.Copy(owner, o.states)
	for _, in := range o.schedule.At(tick) {
		if in.Rule.Class != o.class {
			continue
		}
		inForce[in.ID] = in
		o.admit(in, tick)
		if len(in.Rule.By) == 0 {
			know(in, "")
		}
		for _, group := range in.Rule.Keys {
			know(in, group)
		}
		for _, sm := range o.samples[in.ID] {
			if sm.visible > tick || sm.pane < tick-in.Window {
				continue
			}
			key := know(in, sm.counted)
			if sm.pane > tick-in.Window {
				windows[key] = append(windows[key], sm)
			}
		}
	}
	for _, key := range slices.Sorted(maps.Keys(owner)) {
		was, ok := o.states[key]
		if !ok {
			was = owner[key]
			was.state = schemas.Inactive
		}
		if in := inForce[was.in.ID]; in != nil {
			mode := ""
			switch {
			case was.state == schemas.Inactive || was.in.Rule.Shadow == in.Rule.Shadow:
			case in.Rule.Shadow:
				mode = "rule shadow"
			default:
				mode = "rule live"
			}
			was.in = in
			o.evaluate(key, was, mode, windows[key], tick)
		} else {
			o.change(key, was, schemas.Inactive, schemas.Transition{Why: "rule gone"}, tick)
		}
	}
	for id, groups := range o.admitted {
		for group := range groups {
			key := id + "|" + group
			_, busy := o.states[key]
			if inForce[id] == nil || !busy && len(windows[key]) == 0 {
				delete(groups, group)
			}
		}
	}
}

// admit decides, for the samples that become visible, which group counts them.
func (o *oracle) admit(in *engine.Instance, tick int64) {
	var fresh []*sample
	for _, sm := range o.samples[in.ID] {
		if sm.visible == tick {
			fresh = append(fresh, sm)
		}
	}
	slices.SortStableFunc(fresh, func(a, b *sample) int { return strings.Compare(a.Group, b.Group) })
	if o.admitted[in.ID] == nil {
		o.admitted[in.ID] = map[string]bool{}
	}
	in2 := o.admitted[in.ID]
	limit := in.Rule.Cap
	if limit == 0 {
		limit = rules.DefaultCap
	}
	for _, sm := range fresh {
		sm.counted = sm.Group
		if len(in.Rule.By) == 0 || slices.Contains(in.Rule.Keys, sm.Group) || in2[sm.Group] {
			continue
		}
		if len(in2) < limit {
			in2[sm.Group] = true
		} else {
			sm.counted = rules.Overflow
		}
	}
}

// evaluate makes a key's change at a tick, if there is one. mode says that its
// rule came out of shadow or went into it, which is the only change then.
func (o *oracle) evaluate(key string, was state, mode string, window []*sample, tick int64) {
	in := was.in
	t := schemas.Transition{N: int64(len(window)), Evidence: evidence(window)}
	length := (o.schedule.Timing().Tick * time.Duration(in.Window)).Seconds()
	v, ok := aggregate(in.Rule, window, length)
	if ok {
		t.Value = &v
	}
	fire, resolve, why := judge(in, len(window), v, tick)
	t.Why = why
	if mode != "" {
		t.Why = mode
		o.change(key, was, was.state, t, tick)
		return
	}
	lasted := tick - was.since
	to := was.state
	switch {
	case was.state == schemas.Inactive && fire && in.For > 0:
		to = schemas.Pending
	case was.state == schemas.Inactive && fire:
		to = schemas.Firing
	case was.state == schemas.Pending && !fire:
		to = schemas.Inactive
	case was.state == schemas.Pending && lasted >= in.For:
		to = schemas.Firing
	case was.state == schemas.Firing && resolve && in.Keep > 0:
		to = schemas.Cooling
	case was.state == schemas.Firing && resolve:
		to = schemas.Inactive
	case was.state == schemas.Cooling && !resolve:
		to = schemas.Firing
	case was.state == schemas.Cooling && lasted >= in.Keep:
		to = schemas.Inactive
	}
	o.change(key, was, to, t, tick)
}

// judge says what a window of n samples and aggregate v means at a tick.
func judge(in *engine.Instance, n int, v float64, tick int64) (fire, resolve bool, why string) {
	r := in.Rule
	// Counting nothing gives 0, which is data, unless the rule says otherwise.
	zero := (r.Aggregate == rules.Count || r.Aggregate == rules.Rate) &&
		(r.NoData == "" || r.NoData == rules.NoDataResolve) && r.MinSamples == 0
	silent := r.Expect || r.NoData == rules.NoDataFire || zero && r.Fire.Holds(0)
	if silent && tick < in.Born+in.Window {
		return false, false, ""
	}
	if r.Expect {
		return n == 0, n > 0, ""
	}
	few := int64(n) < r.MinSamples || n == 0 && !zero
	switch {
	case few && r.NoData == rules.NoDataFire:
		return true, false, "no data"
	case few && r.NoData == rules.NoDataHold:
		return false, false, "no data"
	case few:
		return false, true, "no data"
	}
	fire = r.Fire.Holds(v)
	if r.Resolve != nil {
		return fire, r.Resolve.Holds(v), ""
	}
	return fire, !fire, ""
}

// change records the state and, if it is another, the transition.
func (o *oracle) change(key string, was state, to schemas.State, t schemas.Transition, tick int64) {
	now := was
	switched := t.Why == "rule live" || t.Why == "rule shadow"
	if to != was.state || switched {
		if !switched {
			now.state, now.since = to, tick
		}
		if was.state == schemas.Inactive {
			now.active = tick
		}
		t.Active = now.active
		if was.state == schemas.Pending && to == schemas.Inactive {
			t.Active = 0
		}
		t.Alert = was.in.Rule.Name + "{" + was.group + "}"
		t.Rule = was.in.Rule.Name
		t.Instance = was.in.ID
		t.Group = was.group
		t.Tick = tick
		t.Time = tick * int64(o.schedule.Timing().Tick)
		t.From, t.To, t.Since = was.state, to, now.since
		t.Shadow = was.in.Rule.Shadow
		t.Suspect = t.Why != "rule gone" && o.suspect(was, tick)
		was.in.Rule.Describe(&t)
		o.transitions = append(o.transitions, t)
	}
	delete(o.states, key)
	if now.state != schemas.Inactive {
		o.states[key] = now
	}
}

// suspect tells whether any window that a change at a tick rests on may have held a
// lost event.
func (o *oracle) suspect(was state, tick int64) bool {
	from := tick
	switch was.state {
	case schemas.Pending:
		from -= was.in.For
	case schemas.Cooling:
		from -= was.in.Keep
	}
	for ; from <= tick; from++ {
		if o.lacking(was.in)[from] {
			return true
		}
	}
	return false
}

// lacking are the ticks at which an instance's window may lack a lost event: it tries
// every event that may have been lost in every window.
func (o *oracle) lacking(in *engine.Instance) map[int64]bool {
	if ticks, ok := o.lack[in.ID]; ok {
		return ticks
	}
	ticks := map[int64]bool{}
	o.lack[in.ID] = ticks
	dep := o.schedule.Timing().Deployment
	width := (in.Window + 59) / 60
	for _, l := range o.lost {
		arrived := max(tickOf(l.From, int64(dep.Tick))-dep.Lateness, in.Born)
		for ; arrived <= tickOf(l.To, int64(dep.Tick))-dep.Lateness; arrived++ {
			for happened := arrived - in.Window; happened <= arrived+dep.Lateness; happened++ {
				pane := happened
				for pane%width != 0 {
					pane++
				}
				for tick := max(happened, arrived); tick < pane+in.Window; tick++ {
					ticks[tick] = true
				}
			}
		}
	}
	return ticks
}

// evidence is that of a window: the worst, of equals those of the latest panes, and in a
// pane the earliest. It is given with the worst first, then the earliest.
func evidence(window []*sample) []schemas.Evidence {
	var list []*sample
	for _, sm := range window { // ascending by order
		if sm.evidence != nil {
			list = append(list, sm)
		}
	}
	worst := func(a, b *sample) int { return cmp.Compare(b.evidence.Rank, a.evidence.Rank) }
	slices.SortStableFunc(list, func(a, b *sample) int { return cmp.Or(worst(a, b), cmp.Compare(b.pane, a.pane)) })
	list = list[:min(len(list), 5)]
	slices.SortFunc(list, func(a, b *sample) int { return cmp.Or(worst(a, b), a.order.Compare(b.order)) })
	var shown []schemas.Evidence
	for _, sm := range list {
		shown = append(shown, *sm.evidence)
	}
	return shown
}
