package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sort"
	"time"

	"github.com/dermai/millrace/archive/compact"
	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/integration/reference"
	"github.com/dermai/millrace/rules"
	"github.com/dermai/millrace/rules/engine"
	"github.com/dermai/millrace/rules/engine/oracle"
	"github.com/dermai/millrace/schemas"
)

const (
	start  = 1000 * unit // 100 s after the epoch
	length = 420 * unit  // 42 s under faults
)

// Options say which run to make.
type Options struct {
	Seed int64  `json:"seed"`
	Hush []span `json:"hush,omitempty"` // choices that come out quiet
	// Trace is told of every fault; nil: nobody.
	Trace io.Writer `json:"-"`
}

// Run makes one run. The error says what contradicts what; nil: everything
// agrees.
func Run(o Options) (Stats, error) {
	w := &world{ctx: context.Background(), rules: new(rules.Cache), dice: newDice(o.Seed, o.Hush), tallied: map[string]int{}, told: map[string]int{}, aside: map[aside]bool{}, found: map[string]int{}}
	w.broker = &broker{dice: w.dice, now: start, streams: map[string]*stream{}, stats: &w.stats, unsure: map[string]bool{}, trace: o.Trace}
	w.store = &store{w: w, objects: map[string][]byte{}, removed: map[string]bool{}}
	w.begin()
	w.faulty()
	err := w.finish()
	if err == nil {
		p := schemas.Partition(w.dice.Intn(partitions - 1))
		err = errors.Join(w.lose(), w.rewind(p), w.recreate(1-p))
	}
	w.stats.Choices = w.dice.n
	if o.Trace != nil {
		w.broker.note("the run stored %s", w.digest())
	}
	if err != nil {
		return w.stats, fmt.Errorf("seed %d: %w", o.Seed, err)
	}
	return w.stats, nil
}

// begin makes the deployment and every process.
func (w *world) begin() {
	w.genesis(someRules(w.dice))
	for i := range 3 + w.dice.Intn(3) {
		w.lanes = append(w.lanes, newLane(w, i, schemas.Partition(i%(partitions-1))))
	}
	w.hour = []time.Duration{time.Second, time.Second / 100}[w.dice.Intn(2)]
	w.segment = int64(1000 + w.dice.Intn(12000))
	w.perMinute = []int{2, 10, 0}[w.dice.Intn(3)]
	w.workers = []*worker{w.newWorker(0), w.newWorker(1), w.newWorker(2)}
	w.evals = []*evaluator{w.newEvaluator(), w.newEvaluator()}
	w.snapshot = w.newSnapshot()
	w.tellers = []*teller{w.newTeller(), w.newTeller()}
	w.keepers = []*keeper{w.newKeeper(), w.newKeeper(), w.newKeeper()}
	w.compacts = []*compact.Compactor{w.newCompactor(), w.newCompactor()}
}

// faulty is the time under faults.
func (w *world) faulty() {
	b := w.broker
	quiet, until := -1, int64(0)
	for ; b.now < start+length && len(w.errs) == 0; b.now += unit {
		b.deliver()
		if b.now > until && w.dice.chance(60) {
			quiet, until = w.dice.Intn(partitions), b.now+int64(20+w.dice.Intn(80))*unit
		}
		if w.opened && len(w.lanes) < 8 {
			w.lanes = append(w.lanes, newLane(w, len(w.lanes), partitions-1))
		}
		for _, l := range w.lanes {
			if l.step(w); w.dice.chance(5) && (int(l.partition) != quiet || b.now >= until) {
				l.publish(w)
			}
		}
		w.disturb()
		if b.now >= w.outage {
			w.work()
			w.tell()
			w.archive()
			w.compact()
			w.look()
		}
	}
}

// finish lets everything arrive, be decided, told and archived, and checks it.
func (w *world) finish() error {
	if len(w.errs) > 0 {
		return errors.Join(w.errs...)
	}
	end := engine.Timing{Deployment: deployment}.Sec(start + length)
	decided := func() bool { tick, whole := w.decided(); return tick >= end && whole }
	if !w.drain(decided) && len(w.errs) == 0 {
		tick, _ := w.decided()
		w.errs = append(w.errs, fmt.Errorf("stuck: decided up to tick %d, wanted %d", tick, end))
	}
	w.rest()
	if err := errors.Join(append(w.errs, w.broker.errs...)...); err != nil {
		return err
	}
	w.apply(w.sources[len(w.sources)-1]) // what settles the last ticks waits for something to be stored with
	kept, err := w.archived()
	if err != nil {
		return err
	}
	low := map[string]uint64{}
	for name, s := range w.broker.streams {
		low[name], s.low = s.low, 1 // what was purged, the references read nevertheless
	}
	w.low = low
	return w.check(kept)
}

// decided is the last tick of which a decision is logged; whole: to its end.
func (w *world) decided() (tick int64, whole bool) {
	entries := w.broker.stream(schemas.StreamAlerts).entries
	for _, entrie := range slices.Backward(entries) {
		if entrie.Header[schemas.HeaderType] == schemas.TypeDecision {
			var d schemas.Decision
			must(schemas.DecodeInto(entrie.Data, &d))
			return d.Tick, d.Done
		}
	}
	return 0, false
}

// check compares what is logged with the references. kept is the archive.
func (w *world) check(kept fence.Log) error {
	live, last, err := reference.Decided(w.ctx, w.broker, schemas.Telemetry)
	if err != nil {
		return err
	}
	schedule, messages, err := w.read(w.broker)
	if err != nil {
		return err
	}
	events := reference.Events(messages)
	w.stats.Transitions, w.stats.Events, w.stats.Frames = len(live), len(events), len(messages)
	for i := range live {
		if live[i].Suspect {
			w.stats.Suspect++
		}
	}
	undisturbed, rows := w.undisturbed(schedule, messages, last)
	archived, recorded, err := w.read(kept)
	if err != nil {
		return err
	}
	partials := w.partials()
	return errors.Join(
		reference.Differ("oracle", live, oracle.Transitions(schedule, events, reference.Losses(messages), schemas.Telemetry, last)),
		reference.Differ("undisturbed run", live, undisturbed),
		reference.Differ("backtest", live, w.backtest(archived, recorded, last)),
		w.lossless(messages),
		w.setAside(messages, partials),
		w.counted(rows, partials, last),
		w.counts(partials, stored(messages)),
		w.shows(live),
		w.planned(),
		w.delivered(),
	)
}

// read gives what references need of a log.
func (w *world) read(log fence.Log) (*engine.Schedule, []reference.Message, error) {
	schedule, err := reference.Schedule(w.ctx, log, w.rules)
	if err != nil {
		return nil, nil, err
	}
	messages, err := reference.Messages(w.ctx, log, schedule, schemas.Telemetry)
	return schedule, messages, err
}

// lossless checks that each event that was acknowledged is stored, and that no
// event is stored twice.
func (w *world) lossless(messages []reference.Message) error {
	times := map[string]int{}
	for _, m := range messages {
		for _, e := range m.Events {
			if e != nil {
				times[e.ID]++
			}
		}
	}
	w.stats.Accepted += len(w.accepted)
	for _, id := range w.accepted {
		if times[id] == 0 {
			return fmt.Errorf("lost: event %s was acknowledged, and is not stored", id)
		}
	}
	for id, n := range times {
		if n > 1 {
			return fmt.Errorf("double: event %s is stored %d times", id, n)
		}
	}
	return nil
}

// partial is a commit of a reducer, and the message that holds it.
type partial struct {
	schemas.Partial
	entry fence.Entry
}

// partials are all commits of reducers, in order.
func (w *world) partials() (list []partial) {
	for _, e := range w.broker.stream(schemas.StreamPartials).entries {
		if e.Header[schemas.HeaderType] != schemas.TypeGenesis {
			p := partial{entry: e}
			must(schemas.DecodeInto(e.Data, &p.Partial))
			list = append(list, p)
		}
	}
	return list
}

// setAside checks that each line that is no event is in quarantine, as far as the
// partitions are reduced.
func (w *world) setAside(messages []reference.Message, partials []partial) error {
	to := map[schemas.Partition]schemas.Position{}
	for _, part := range partials {
		to[part.Partition] = part.To
	}
	for _, m := range messages {
		for i, e := range m.Events {
			at := schemas.Position{Seq: m.Entry.Seq, Index: i}
			if e == nil && before(at, to[m.Partition]) && !w.aside[aside{m.Partition.Stream(), at}] {
				return fmt.Errorf("quarantine: line %d of message %d of %s is no event, and is not there", i, at.Seq, m.Partition.Stream())
			}
		}
	}
	return nil
}

// undisturbed reduces and decides the stored streams in one go, with other
// commit boundaries, and gives the rows too.
func (w *world) undisturbed(s *engine.Schedule, messages []reference.Message, last int64) ([]schemas.Transition, []schemas.Row) {
	d := engine.NewDecider(s, schemas.Telemetry)
	var rows []schemas.Row
	var lost []schemas.Loss
	cut := func(r *engine.Reducer) {
		part := r.Cut()
		rows, lost = append(rows, part.Rows...), append(lost, part.Losses...)
	}
	reducers := map[schemas.Partition]*engine.Reducer{}
	for _, m := range messages {
		r := reducers[m.Partition]
		if r == nil {
			r = engine.NewReducer(s, m.Partition)
			reducers[m.Partition] = r
		}
		if !r.Arrive(m.Entry.Seq, m.Entry.Time, m.Entry.Header) {
			continue // beyond what the control log settles, and so beyond last
		}
		for i, e := range m.Events {
			r.Fold(i, e)
			if w.dice.chance(3) {
				cut(r)
			}
		}
	}
	for _, r := range reducers {
		cut(r)
	}
	must(d.Add(rows, lost))
	return decideTo(d, last), rows
}

// backtest folds archived messages by their arrival alone: it sees no timestamps.
func (w *world) backtest(s *engine.Schedule, messages []reference.Message, last int64) []schemas.Transition {
	d := engine.NewDecider(s, schemas.Telemetry)
	for _, p := range w.dice.Perm(partitions) {
		if _, open := s.Opened(schemas.Partition(p)); !open {
			continue
		}
		r := engine.NewReducer(s, schemas.Partition(p))
		for _, m := range messages {
			if m.Partition != schemas.Partition(p) {
				continue
			}
			if !r.Arrive(m.Entry.Seq, m.Arrival, m.Entry.Header) {
				break // beyond what the control log settles, and so beyond last
			}
			for i, e := range m.Events {
				r.Fold(i, e)
			}
		}
		part := r.Cut()
		must(d.Add(part.Rows, part.Losses))
	}
	return decideTo(d, last)
}

// stored lists the ids of a partition's events between two positions.
func stored(messages []reference.Message) func(schemas.Partition, schemas.Position, schemas.Position) []string {
	type event struct {
		at schemas.Position
		id string
	}
	events := map[schemas.Partition][]event{}
	for _, m := range messages {
		for i, e := range m.Events {
			if e != nil {
				events[m.Partition] = append(events[m.Partition], event{schemas.Position{Seq: m.Entry.Seq, Index: i}, e.ID})
			}
		}
	}
	return func(p schemas.Partition, from, to schemas.Position) (ids []string) {
		list := events[p]
		first := sort.Search(len(list), func(i int) bool { return !before(list[i].at, from) })
		for _, e := range list[first:] {
			if !before(e.at, to) {
				break
			}
			ids = append(ids, e.id)
		}
		return ids
	}
}

// before tells whether an event lies before a position, which says how many
// events of its message were read.
func before(event, at schemas.Position) bool {
	return event.Seq < at.Seq || event.Seq == at.Seq && event.Index < at.Index
}

func decideTo(d *engine.Decider, last int64) (list []schemas.Transition) {
	for d.Tick() < last {
		for _, part := range d.Decide() {
			list = append(list, part.Transitions...)
		}
	}
	return list
}

// counted compares the rows that the reducers committed with those of the
// undisturbed run: the same samples in the same panes.
func (w *world) counted(want []schemas.Row, partials []partial, last int64) error {
	count := map[schemas.RowKey]int64{}
	for _, r := range want {
		count[r.RowKey] += r.Fold.N
	}
	for _, part := range partials {
		for _, r := range part.Rows {
			count[r.RowKey] -= r.Fold.N
		}
	}
	for key, n := range count {
		if n > 0 && key.Visible <= last || n < 0 {
			return fmt.Errorf("row %+v: counted %d samples too few", key, n)
		}
	}
	return nil
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
