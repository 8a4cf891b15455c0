package main

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"time"

	"github.com/dermai/millrace/archive/compact"
	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/rules"
	"github.com/dermai/millrace/schemas"
	"github.com/dermai/millrace/stages"
)

// partitions is how many telemetry partitions a run has; the last is opened
// while it is under way.
const partitions = 3

// deployment has a short delay for control entries, so that a run sees many.
var deployment = schemas.Deployment{Engine: schemas.Engine, Tick: time.Second, Lateness: 1, Delay: 2}

// Stats counts what happened in a run.
type Stats struct {
	Events, Frames, Late, Future, Refused          int
	Crashes, Zombies, EvaluatorCrashes, Outages    int
	Unknown, Stale, Fenced, Backward               int
	Reloads, Snapshots, Ticks, Transitions         int
	Tallied, Unheard                               int
	Full, GivenUp, Accepted                        int
	TellerCrashes, Notifications, Digests, Repeats int
	KeeperCrashes, Objects, Purged                 int
	Segments, Removed, Slept, Ghosts               int
	Looks, Meanwhile, Tails                        int
	Rewinds, Recreated, Noticed, Lost, Suspect     int
	Cut, Remade, Ended                             int
	Choices                                        int
}

// Add adds the counts of another run.
func (s *Stats) Add(o Stats) {
	a, b := reflect.ValueOf(s).Elem(), reflect.ValueOf(o)
	for i := range a.NumField() {
		a.Field(i).SetInt(a.Field(i).Int() + b.Field(i).Int())
	}
}

// world is one run.
type world struct {
	ctx       context.Context
	dice      *dice
	broker    *broker
	stats     Stats
	claims    int
	rules     *rules.Cache
	errs      []error // incidents
	stall     [partitions]int64
	outage    int64
	workers   []*worker
	evals     []*evaluator
	snapshot  *stages.Snapshot // of the control log
	tellers   []*teller
	keepers   []*keeper
	compacts  []*compact.Compactor
	segment   int64          // bytes of objects that make one
	hour      time.Duration  // of a deployment, by the clock of archivers
	acting    []any          // who waits for the store, and who acts meanwhile
	found     map[string]int // messages of a stream that somebody found in the archive
	store     *store
	lanes     []*lane
	events    int            // sent
	accepted  []string       // ids of those that were acknowledged
	perMinute int            // messages
	told      map[string]int // times that a notification arrived, by id
	aside     map[aside]bool // what is in quarantine
	opened    bool           // the last partition
	sources   []schemas.RuleSource
	tallied   map[string]int    // events counted, by id
	last      board             // of the evaluator that decided last
	low       map[string]uint64 // first sequence that each stream kept at the end
}

// worker is a process that reduces; it may own any partition, and another may
// believe the same.
type worker struct {
	slot  int
	skew  int64
	red   [partitions]*stages.Reduce
	logs  [partitions]reader // that they read
	until int64              // a zombie dies then; 0: alive
	pause int64
}

// evaluator is a process that evaluates.
type evaluator struct {
	machine *stages.Evaluate
	log     reader
	active  bool
	pause   int64
	board   board
	seen    bool // it was stepped since active changed
}

func (w *world) claim() string { w.claims++; return fmt.Sprintf("c%d", w.claims) }

func (w *world) clock(skew int64) stages.Clock {
	return func() time.Time { return time.Unix(0, w.broker.now+skew) }
}

func (w *world) newWorker(slot int) *worker {
	return &worker{slot: slot, skew: int64(w.dice.Intn(17)-8) * unit}
}

func (w *world) newEvaluator() *evaluator {
	e := &evaluator{active: true, log: w.broker.reader()}
	e.machine = stages.NewEvaluate(stages.EvaluateConfig{
		Class: schemas.Telemetry, Log: e.log, Trimmer: w.broker, Ticker: w.broker,
		Clock: w.clock(int64(w.dice.Intn(17)-8) * unit), Claims: w.claim, Rules: w.rules,
		Active: func() bool { return e.active }, PartBytes: 1500, Checkpoint: 4 * time.Second, Board: &e.board,
	})
	return e
}

// newSnapshot takes snapshots of the control log, which archivers trim.
func (w *world) newSnapshot() *stages.Snapshot { return stages.NewSnapshot(w.snapshots(nil)) }

// snapshots are so many that a run sees many.
func (w *world) snapshots(trimmer fence.Trimmer) stages.SnapshotConfig {
	return stages.SnapshotConfig{Log: w.broker.reader(), Trimmer: trimmer, Clock: w.clock(0), Rules: w.rules, Every: 8, Keep: 2 * time.Second}
}

// keeping purges streams for the machines, and keeps the whole for the
// references.
type keeping struct{ w *world }

func (k keeping) Trim(_ context.Context, name, _ string, seq uint64) error {
	s := k.w.broker.stream(name)
	switch {
	case seq <= s.low:
	case name == schemas.StreamControl:
		k.w.stats.Snapshots++
	default:
		k.w.stats.Purged += int(seq - s.low)
	}
	s.low = max(s.low, seq)
	return nil
}

// quarantine refuses now and then.
type quarantine struct{ w *world }

func (q quarantine) Put(_ context.Context, put schemas.Quarantined) error {
	if !q.w.broker.calm && q.w.dice.chance(4) {
		return errors.New("quarantine: not now")
	}
	q.w.stats.Refused++
	q.w.aside[aside{put.Stream, schemas.Position{Seq: put.Seq, Index: put.Index}}] = true
	return nil
}

// aside is where something lies that is in quarantine.
type aside struct {
	stream string
	at     schemas.Position
}

// step steps a machine and keeps what may not happen.
func (w *world) step(m stages.Machine) {
	_, err := m.Step(w.ctx)
	switch {
	case fence.IsIncident(err):
		w.errs = append(w.errs, err)
	case errors.Is(err, fence.ErrFenced):
		w.stats.Fenced++
	}
}

// reduce lets a worker work on a partition.
func (w *world) reduce(k *worker, p int) { w.step(w.reducer(k, p)) }

// reducer is a worker's for a partition.
func (w *world) reducer(k *worker, p int) *stages.Reduce {
	if k.red[p] == nil {
		k.logs[p] = w.broker.reader()
		k.red[p] = stages.NewReduce(stages.ReduceConfig{
			Partition: schemas.Partition(p), Log: k.logs[p], Quarantine: quarantine{w},
			Clock: w.clock(k.skew), Claims: w.claim, Rules: w.rules, Events: 2, Tally: &tally{w: w},
		})
	}
	return k.red[p]
}

// genesis makes the deployment: every fenced subject gets its first message
// before the control entry that opens it.
func (w *world) genesis(first schemas.RuleSource) {
	subjects := []string{
		schemas.Telemetry.Alerts(), schemas.Telemetry.Checkpoints(), schemas.NotifySubject(team), schemas.DeliveriesSubject(team),
	}
	for p := range partitions {
		subjects = append(subjects, schemas.Partition(p).Partials())
	}
	for _, s := range subjects {
		w.put(fence.Message{Subject: s, Header: fence.Header{schemas.HeaderType: schemas.TypeGenesis}})
	}
	d := deployment
	w.control(schemas.ControlEntry{Deployment: &d})
	w.apply(first, 0, 1)
}

// put stores a message without a fault.
func (w *world) put(m fence.Message) {
	_, err := w.broker.put(m, -1)
	must(err)
}

func (w *world) control(e schemas.ControlEntry) {
	data, err := schemas.Encode(e)
	must(err)
	w.put(fence.Message{Subject: schemas.SubjectControl, Header: fence.Header{schemas.HeaderType: schemas.TypeControl}, Data: data})
}

func (w *world) apply(source schemas.RuleSource, open ...schemas.Partition) {
	w.control(schemas.ControlEntry{Rules: &source, Open: open})
	w.sources = append(w.sources, source)
}

// disturb makes the faults of one moment.
func (w *world) disturb() {
	b := w.broker
	if w.dice.chance(45) { // another rule set, often an earlier one
		source := someRules(w.dice)
		if n := len(w.sources); n > 1 && w.dice.chance(2) {
			source = w.sources[n-2]
		}
		w.apply(source)
		w.stats.Reloads++
		b.note("other rules")
	}
	if !w.opened && b.now > start+80*unit && w.dice.chance(60) {
		w.opened = true
		w.apply(w.sources[len(w.sources)-1], partitions-1)
		b.note("partition %d opens", partitions-1)
	}
	if w.dice.chance(50) { // another leader, with another clock
		names := []string{schemas.StreamControl}
		for p := range partitions {
			names = append(names, schemas.Partition(p).Stream())
		}
		name := names[w.dice.Intn(len(names))]
		s, skew := b.stream(name), int64(w.dice.Intn(41)-20)*unit
		b.note("%s has another leader, %+.1f s", name, float64(skew-s.skew)/1e9)
		if skew < s.skew {
			w.stats.Backward++
		}
		s.skew = skew
	}
	if w.dice.chance(150) {
		w.stall[w.dice.Intn(partitions)] = b.now + int64(20+w.dice.Intn(120))*unit
	}
	if w.dice.chance(700) {
		w.outage = b.now + int64(60+w.dice.Intn(160))*unit
		w.stats.Outages++
		b.note("no process runs until %.1f", float64(w.outage-start)/1e9)
	}
}

// work lets the workers and evaluators do something, or crash, or sleep.
func (w *world) work() {
	b := w.broker
	for i := 0; i < len(w.workers); i++ {
		k := w.workers[i]
		if k.until > 0 && b.now > k.until {
			w.workers = append(w.workers[:i], w.workers[i+1:]...)
			i--
			continue
		}
		if k.until == 0 && w.dice.chance(40) {
			w.stats.Crashes++
			b.note("reducer %d dies", i)
			if w.dice.chance(2) { // it only looks dead, and lives on beside its successor
				w.stats.Zombies++
				b.note("not yet: it lives on beside its successor")
				k.until = b.now + int64(1+w.dice.Intn(80))*unit
				w.workers = append(w.workers, w.newWorker(k.slot))
			} else {
				k = w.newWorker(k.slot)
				w.workers[i] = k
			}
		}
		if b.now < k.pause {
			continue
		}
		if w.dice.chance(80) {
			k.pause = b.now + int64(w.dice.Intn(60))*unit
		}
		for n := w.dice.Intn(5); n >= 0; n-- {
			p := (k.slot + w.dice.Intn(2)*w.dice.Intn(partitions)) % partitions // its own, or somebody else's
			if b.now >= w.stall[p] {
				w.reduce(k, p)
			}
		}
	}
	if w.dice.chance(40) {
		w.snapshot = w.newSnapshot()
	}
	if w.dice.chance(4) {
		w.step(w.snapshot)
	}
	for i, e := range w.evals {
		if w.dice.chance(60) {
			w.stats.EvaluatorCrashes++
			b.note("evaluator %d dies", i)
			w.evals[i] = w.newEvaluator()
			if w.dice.chance(3) {
				w.evals[i].pause = b.now + int64(w.dice.Intn(140))*unit
			}
			continue
		}
		if w.dice.chance(80) {
			e.pause = b.now + int64(w.dice.Intn(60))*unit
		}
		if w.dice.chance(30) {
			e.active, e.seen = !e.active, false
		}
		if b.now >= e.pause {
			for n := w.dice.Intn(6); n >= 0; n-- {
				w.step(e.machine)
				e.seen = true
			}
		}
	}
}

// drain lets everything arrive and be decided, without faults.
func (w *world) drain(until func() bool) bool {
	w.broker.calm = true
	w.broker.deliver()
	k, e := w.newWorker(0), w.newEvaluator()
	w.workers = append(w.workers, k)
	// One more event of the kind that SilentAll expects: whatever state the alert
	// is in, it changes within three ticks.
	for w.lanes[0].lane.Unsettled() {
		w.lanes[0].step(w)
	}
	w.lanes[0].send(w, line(w.broker.now, "b", 0, 0, true, 1))
	for range 400 {
		w.broker.now += unit
		for _, l := range w.lanes {
			l.step(w)
		}
		for p := range partitions {
			for range 12 {
				w.reduce(k, p)
			}
		}
		for range 12 {
			w.step(e.machine)
		}
		if len(w.errs) > 0 {
			return false
		}
		if until() {
			w.last = e.board
			return true
		}
	}
	return false
}
