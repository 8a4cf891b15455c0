package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/integration/reference"
	"github.com/dermai/millrace/schemas"
	"github.com/dermai/millrace/stages"
)

// others are the streams beside those of events, of which each run loses one.
var others = []string{
	schemas.StreamPartials, schemas.StreamAlerts, schemas.StreamControl, schemas.StreamCheckpoint, schemas.StreamNotify, schemas.StreamDeliveries,
}

// actor is a machine in a process of its own.
type actor struct {
	what    string
	log     reader
	machine stages.Machine
	err     error // the incident that ended it
	// The last message of the stream that it had read, and that it had written.
	read, wrote uint64
}

// losing is a copy of the world whose machines lose a stream.
type losing struct {
	*world
	name   string
	actors []*actor
	old    []fence.Entry // what the stream had
	kept   int           // messages of it that are still there
	again  bool          // it was made again
	lost   bool          // it happened
}

// lose deletes a stream and makes it again, empty or as a backup has it, or takes its
// tail away, under machines that are in the middle of it: in a copy of the world, which
// the checks behind this one do not see. Every machine that goes on with what it had read
// or written of what is gone ends with an incident that names the stream; whatever others
// decide, plan and tell, started before or after it, is what would have been without.
func (w *world) lose() error {
	l := &losing{world: w.fork(), name: others[w.dice.Intn(len(others))]}
	defer func() { w.stats.Add(l.stats) }()
	for range 2 {
		l.start()
	}
	l.busy(20 + l.dice.Intn(80))
	for _, a := range l.actors {
		if a.err != nil {
			return fmt.Errorf("before %s is lost, %s: %w", l.name, a.what, a.err)
		}
	}
	l.vanish()
	l.busy(10 + l.dice.Intn(80))
	l.start()
	l.busy(150)
	if err := l.check(); err != nil {
		how := "lost what was behind"
		if l.again {
			how = "was made again with"
		}
		return fmt.Errorf("%s %s message %d of %d: %w", l.name, how, l.kept, len(l.old), err)
	}
	return nil
}

// fork is a copy of what is stored and told, in which nobody runs and nothing fails.
func (w *world) fork() *world {
	f, b := *w, *w.broker
	f.broker, f.stats, f.errs, f.workers, f.evals, f.tellers, f.lanes = &b, Stats{}, nil, nil, nil, nil, nil
	f.told, f.tallied, f.aside = maps.Clone(w.told), maps.Clone(w.tallied), maps.Clone(w.aside)
	b.stats, b.streams = &f.stats, map[string]*stream{}
	for name, s := range w.broker.streams {
		c := *s
		c.entries, c.low = slices.Clip(s.entries), w.low[name]
		c.heads, c.trimmed = maps.Clone(s.heads), maps.Clone(s.trimmed)
		b.streams[name] = &c
	}
	return &f
}

// start starts a process of each kind.
func (l *losing) start() {
	k := l.newWorker(0)
	for p := range partitions {
		m := l.reducer(k, p)
		l.actors = append(l.actors, &actor{what: fmt.Sprintf("reducer %d", p), log: k.logs[p], machine: m})
	}
	e, t := l.newEvaluator(), l.newTeller()
	log := l.broker.reader()
	snapshot := stages.NewSnapshot(stages.SnapshotConfig{Log: log, Trimmer: keeping{l.world}, Clock: l.clock(0), Rules: l.rules, Every: 8, Keep: 2e9})
	l.evals, l.tellers = append(l.evals, e), append(l.tellers, t)
	l.actors = append(l.actors,
		&actor{what: "an evaluator", log: e.log, machine: e.machine}, &actor{what: "a planner", log: t.planLog.reader, machine: t.plan},
		&actor{what: "a sender", log: t.sendLog.reader, machine: t.send}, &actor{what: "who keeps the control log", log: log, machine: snapshot})
}

// busy lets publishers and all machines act in any order. Of those that decide, plan and
// send one is assigned, and not always the same.
func (l *losing) busy(moments int) {
	for range moments {
		l.broker.now += unit
		if l.dice.chance(3) {
			newLane(l.world, 300+l.events, schemas.Partition(l.dice.Intn(partitions-1))).publish(l.world)
		}
		if l.dice.chance(20) {
			one := l.dice.Intn(len(l.evals))
			for i := range l.evals {
				l.evals[i].active, l.tellers[i].active = i == one, i == one
			}
		}
		for _, i := range l.dice.Perm(len(l.actors)) {
			for range 3 {
				l.step(l.actors[i])
			}
		}
	}
}

// step steps a machine that has not ended.
func (l *losing) step(a *actor) {
	if a.err != nil {
		return
	}
	if _, err := a.machine.Step(l.ctx); fence.IsIncident(err) {
		a.err = err
		l.broker.note("%s ends: %v", a.what, err)
	}
}

// vanish makes the fault.
func (l *losing) vanish() {
	s := l.broker.stream(l.name)
	l.old, l.lost, l.again = s.entries, true, l.dice.chance(2)
	l.kept = len(l.old) - 1 - l.dice.Intn(min(20, len(l.old)))
	if l.again {
		l.stats.Remade++
		if l.dice.chance(2) {
			l.kept = 0
		}
		l.broker.now += unit
		*s = stream{created: l.broker.now, entries: s.entries, low: s.low, heads: map[string]uint64{}, trimmed: s.trimmed, skew: s.skew}
	} else {
		l.stats.Cut++
	}
	s.lose(l.kept)
	s.low = min(s.low, uint64(l.kept)+1)
	if l.kept == 0 {
		clear(s.trimmed)
	}
	for _, a := range l.actors {
		a.read, a.wrote = a.log.last[l.name].Seq, a.log.acked[l.name]
		clear(a.log.asked)
	}
	l.broker.note("%s, which has %d messages, keeps %d; made again: %t", l.name, len(l.old), l.kept, l.again)
}

// check says what is wrong in the end.
func (l *losing) check() error {
	return errors.Join(l.ended(), l.joined(), l.decided(), l.notified())
}

// ended checks that all incidents name the stream, and that whoever uses it and knows
// what is gone has met one.
func (l *losing) ended() error {
	for _, a := range l.actors {
		// Where others have gone on beyond what it knew, it may have loaded from that, like one
		// that is started anew.
		used := max(a.read, a.wrote)
		knows := used > uint64(l.kept) && (l.again || used > uint64(len(l.broker.stream(l.name).entries)))
		switch {
		case a.err != nil && !strings.Contains(strings.ToLower(a.err.Error()), strings.ToLower(l.name)):
			return fmt.Errorf("%s names another: %w", a.what, a.err)
		case a.err != nil:
			l.stats.Ended++
		case knows && a.log.asked[l.name] > 3 && l.name != schemas.StreamCheckpoint: // which may be lost
			return fmt.Errorf("%s had read up to %d and written %d, asked %d times since, and does not say so", a.what, a.read, a.wrote, a.log.asked[l.name])
		}
	}
	return nil
}

// joined checks that the commits of each partition are a chain without a gap. If PARTIALS
// lost the last commit of one of two reducers of a partition, and the other's took its very
// sequence, the first one's next joins that by the sequence alone: then evaluators end.
func (l *losing) joined() error {
	evaluator := l.actors[len(l.actors)-4]
	to := map[schemas.Partition]schemas.Position{}
	for _, part := range l.partials() {
		if last, ok := to[part.Partition]; ok && part.From != last && evaluator.err == nil {
			return fmt.Errorf("partial %d covers from %v, and the one before it to %v", part.entry.Seq, part.From, last)
		}
		to[part.Partition] = part.To
	}
	return nil
}

// whole are all messages that a stream ever had.
func (l *losing) whole(name string) []fence.Entry {
	entries := l.broker.stream(name).entries
	if name == l.name {
		return append(slices.Clip(l.old), entries[l.kept:]...)
	}
	return entries
}

// decided compares every change that was ever logged with those of a run that lost
// nothing: over the same events, and the control log as it was.
func (l *losing) decided() error {
	truth := &broker{dice: l.dice, now: l.broker.now, streams: map[string]*stream{}, calm: true}
	for name, s := range l.broker.streams {
		c := *s
		c.low, c.trimmed = 1, nil
		if name == l.name && name == schemas.StreamControl {
			c.entries = l.old
		}
		truth.streams[name] = &c
	}
	schedule, messages, err := l.read(truth)
	if err != nil {
		return err
	}
	logged := map[string]schemas.Transition{}
	var last int64
	for _, e := range l.whole(schemas.StreamAlerts) {
		if e.Header[schemas.HeaderType] != schemas.TypeDecision {
			continue
		}
		var d schemas.Decision
		must(schemas.DecodeInto(e.Data, &d))
		last = max(last, d.Tick)
		for _, t := range d.Transitions {
			key := fmt.Sprintf("%020d %s %s", t.Tick, t.Instance, t.Group)
			if before, ok := logged[key]; ok {
				if err := reference.Differ("what was decided before", []schemas.Transition{t}, []schemas.Transition{before}); err != nil {
					return err
				}
			}
			logged[key] = t
		}
	}
	if l.name == schemas.StreamControl && !l.again {
		// Who had not read what is gone goes on with what the log has instead.
		last = min(last, schedule.Limit()-1)
		maps.DeleteFunc(logged, func(_ string, t schemas.Transition) bool { return t.Tick > last })
	}
	if last >= schedule.Limit() {
		return fmt.Errorf("tick %d is decided, and the control log settles those before %d", last, schedule.Limit())
	}
	want, _ := l.undisturbed(schedule, messages, last)
	for _, t := range want {
		key := fmt.Sprintf("%020d %s %s", t.Tick, t.Instance, t.Group)
		got, ok := logged[key]
		delete(logged, key)
		if !ok {
			if t.Tick == last {
				continue // of a tick whose writer did not end it
			}
			return fmt.Errorf("tick %d of %d: the change of %s is not logged", t.Tick, last, t.Instance)
		}
		if err := reference.Differ("a run that lost nothing", []schemas.Transition{got}, []schemas.Transition{t}); err != nil {
			return err
		}
	}
	for key := range logged {
		return fmt.Errorf("change %s is logged, and a run that lost nothing has none", key)
	}
	return nil
}
