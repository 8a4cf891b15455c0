package engine

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"

	"github.com/dermai/millrace/rules"
	"github.com/dermai/millrace/schemas"
)

// Instance is a rule during one unbroken run in the rule set. A rule that is
// taken out and brought back is another instance, with nothing of the first.
// Windows, panes and durations count ticks.
type Instance struct {
	Rule   *rules.Rule
	ID     string // <fingerprint>@<born>
	Born   int64  // first tick of the run
	Window int64
	Pane   int64 // width of a pane
	For    int64
	Keep   int64

	// silent: the condition may hold on an empty window, so that the rule says
	// nothing before its first whole window.
	silent bool
}

// Schedule is the control log folded: the rules in force at each tick, the
// partitions, and the limit below which all of that is settled. It is used by
// one goroutine.
type Schedule struct {
	// Parse reads rule files. nil: rules.Parse; schedules of one process may share
	// the Parse of a rules.Cache.
	Parse func(...schemas.RuleFile) (*rules.Set, error)

	timing    Timing
	seq       uint64
	arrival   int64
	revisions []revision // ascending by tick, one a tick
	open      map[schemas.Partition]int64
}

type revision struct {
	tick      int64
	source    schemas.RuleSource
	instances []*Instance
}

// NewSchedule returns the schedule before the first entry.
func NewSchedule() *Schedule {
	return &Schedule{arrival: math.MinInt64, open: map[schemas.Partition]int64{}}
}

// Apply folds the entry with sequence seq and broker's timestamp ts, in Unix
// nanoseconds. Every entry must come, in order and without gaps; the first is
// the genesis or a snapshot. A snapshot of what is known already changes
// nothing. After an error the schedule is as it was.
func (s *Schedule) Apply(seq uint64, ts int64, e *schemas.ControlEntry) error {
	if err := s.apply(seq, ts, e); err != nil {
		return fmt.Errorf("control entry %d: %w", seq, err)
	}
	return nil
}

func (s *Schedule) apply(seq uint64, ts int64, e *schemas.ControlEntry) error {
	started := s.seq > 0
	switch {
	case started && seq != s.seq+1:
		return fmt.Errorf("follows entry %d: entries are missing or repeated", s.seq)
	case started && e.Deployment != nil:
		return errors.New("a deployment has one genesis, this is a second")
	case !started && e.Snapshot != nil && e.Snapshot.Seq+1 != seq:
		return fmt.Errorf("snapshot of entry %d: the entries between are missing", e.Snapshot.Seq)
	case !started && e.Snapshot != nil:
		if err := s.restore(e.Snapshot); err != nil {
			return fmt.Errorf("snapshot: %w", err)
		}
	case !started && e.Deployment == nil:
		return errors.New("the first entry is neither a genesis nor a snapshot")
	case !started:
		if err := (Timing{*e.Deployment}).Validate(); err != nil {
			return err
		}
		s.timing = Timing{*e.Deployment}
	}
	arrival := max(s.arrival, ts)
	tick := s.timing.Sec(arrival) + s.timing.Delay
	if e.Rules != nil {
		if err := s.revise(tick, *e.Rules, nil); err != nil {
			return err
		}
	}
	for _, p := range e.Open {
		if _, ok := s.open[p]; !ok {
			s.open[p] = tick
		}
	}
	s.seq, s.arrival = seq, arrival
	return nil
}

// revise puts a rule set in force at a tick. born gives the instances' births;
// nil: they follow from the revision in force before the tick.
func (s *Schedule) revise(tick int64, source schemas.RuleSource, born map[string]int64) error {
	parse := s.Parse
	if parse == nil {
		parse = rules.Parse
	}
	set, err := parse(source.Files...)
	if err != nil {
		return fmt.Errorf("rules: %w", err)
	}
	// The later of two rule sets for one tick wins, and the earlier was never in
	// force: it neither ends nor begins the run of an instance.
	before := s.revisions
	if n := len(before); n > 0 && before[n-1].tick == tick {
		before = before[:n-1]
	}
	if born == nil && len(before) > 0 {
		born = before[len(before)-1].born()
	}
	rev := revision{tick: tick, source: source}
	for _, rule := range set.Rules {
		b, ok := born[rule.Fingerprint]
		if !ok {
			b = tick
		}
		rev.instances = append(rev.instances, s.instance(rule, b))
	}
	s.revisions = append(slices.Clip(before), rev)
	return nil
}

func (s *Schedule) instance(rule *rules.Rule, born int64) *Instance {
	in := &Instance{
		Rule:   rule,
		ID:     rule.Fingerprint + "@" + strconv.FormatInt(born, 10),
		Born:   born,
		Window: s.timing.Ticks(rule.Window),
		For:    s.timing.Ticks(rule.For),
		Keep:   s.timing.Ticks(rule.Keep),
	}
	in.Pane = ceilDiv(in.Window, panes)
	in.silent = firesOnSilence(rule)
	return in
}

// panes is the number of panes that a window is cut into, at most.
const panes = 60

func (r revision) born() map[string]int64 {
	born := make(map[string]int64, len(r.instances))
	for _, in := range r.instances {
		born[in.Rule.Fingerprint] = in.Born
	}
	return born
}

func (s *Schedule) restore(snap *schemas.ControlSnapshot) error {
	if err := (Timing{snap.Deployment}).Validate(); err != nil {
		return err
	}
	fresh := &Schedule{Parse: s.Parse, timing: Timing{snap.Deployment}, arrival: snap.Arrival, open: map[schemas.Partition]int64{}}
	maps.Copy(fresh.open, snap.Open)
	for i, r := range snap.Revisions {
		if i > 0 && r.Tick <= snap.Revisions[i-1].Tick {
			return fmt.Errorf("revision at tick %d follows one at %d", r.Tick, snap.Revisions[i-1].Tick)
		}
		born := r.Born
		if born == nil {
			born = map[string]int64{}
		}
		if err := fresh.revise(r.Tick, r.Rules, born); err != nil {
			return fmt.Errorf("revision at tick %d: %w", r.Tick, err)
		}
	}
	*s = *fresh
	return nil
}

// Snapshot is the schedule as one entry, for readers that look at no tick below
// from: revisions that were replaced by then are left out.
func (s *Schedule) Snapshot(from int64) schemas.ControlSnapshot {
	snap := schemas.ControlSnapshot{
		Seq:        s.seq,
		Arrival:    s.arrival,
		Deployment: s.timing.Deployment,
		Revisions:  []schemas.Revision{},
		Open:       maps.Clone(s.open),
	}
	for _, r := range s.revisions[max(0, s.index(from)):] {
		snap.Revisions = append(snap.Revisions, schemas.Revision{Tick: r.tick, Rules: r.source, Born: r.born()})
	}
	return snap
}

// Timing is the deployment's, zero before the first entry.
func (s *Schedule) Timing() Timing { return s.timing }

// Seq is the sequence of the last entry applied.
func (s *Schedule) Seq() uint64 { return s.seq }

// Arrival is the running maximum of the entries' timestamps, in Unix
// nanoseconds.
func (s *Schedule) Arrival() int64 { return s.arrival }

// Limit is the first tick whose rules and partitions may still change. Nobody
// folds an event with an arrival tick, or decides a tick, from there on.
func (s *Schedule) Limit() int64 {
	if s.seq == 0 {
		return math.MinInt64
	}
	return s.timing.Sec(s.arrival) + s.timing.Delay
}

// index is the index of the revision in force at a tick, -1 before the first.
func (s *Schedule) index(tick int64) int {
	i := len(s.revisions) - 1
	for i >= 0 && s.revisions[i].tick > tick {
		i--
	}
	return i
}

// At returns the rule instances in force at a tick, in the order of the rule
// files, nil before the first rule set. The caller does not change them.
func (s *Schedule) At(tick int64) []*Instance {
	if i := s.index(tick); i >= 0 {
		return s.revisions[i].instances
	}
	return nil
}

// Instances are those of a class that are in force at any of some ticks.
func (s *Schedule) Instances(class schemas.Class, from, to int64) []*Instance {
	var list []*Instance
	for i, r := range s.revisions {
		if r.tick > to || i+1 < len(s.revisions) && s.revisions[i+1].tick <= from {
			continue
		}
		for _, in := range r.instances {
			if in.Rule.Class == class {
				list = append(list, in)
			}
		}
	}
	return list
}

// next is the tick of the first revision after a tick.
func (s *Schedule) next(tick int64) (int64, bool) {
	if i := s.index(tick) + 1; i < len(s.revisions) {
		return s.revisions[i].tick, true
	}
	return 0, false
}

// Instance finds an instance by its ID, as the last revision that has it says,
// or nil.
func (s *Schedule) Instance(id string) *Instance {
	for _, r := range slices.Backward(s.revisions) {
		for _, in := range r.instances {
			if in.ID == id {
				return in
			}
		}
	}
	return nil
}

// Opened gives the tick from which a partition is open.
func (s *Schedule) Opened(p schemas.Partition) (tick int64, ok bool) {
	tick, ok = s.open[p]
	return tick, ok
}

// Partitions are those of a class that were opened, ascending, also those whose
// tick is still to come.
func (s *Schedule) Partitions(class schemas.Class) []schemas.Partition {
	var list []schemas.Partition
	for p := range s.open {
		if p.Class() == class {
			list = append(list, p)
		}
	}
	slices.Sort(list)
	return list
}

// Floor is the arrival that a partition begins with, in Unix nanoseconds: its
// events belong to ticks from its opening on, whatever the clocks say.
func (s *Schedule) Floor(p schemas.Partition) int64 {
	return s.timing.End(s.open[p] + s.timing.Lateness)
}

// First is the tick at which the first rule set or partition came in force.
func (s *Schedule) First() (tick int64, ok bool) {
	tick = math.MaxInt64
	for _, t := range s.open {
		tick = min(tick, t)
	}
	if len(s.revisions) > 0 {
		tick = min(tick, s.revisions[0].tick)
	}
	return tick, tick < math.MaxInt64
}

// Source is the last rule set of the control log, whether it is in force yet or
// not.
func (s *Schedule) Source() schemas.RuleSource {
	if n := len(s.revisions); n > 0 {
		return s.revisions[n-1].source
	}
	return schemas.RuleSource{}
}
