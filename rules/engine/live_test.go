package engine_test

import (
	"bytes"
	"maps"
	"math"
	"slices"

	"github.com/go-json-experiment/json"

	"github.com/dermai/millrace/rules/engine"
	"github.com/dermai/millrace/schemas"
)

// live runs the engine over a world as the distributed system does, with
// processes that read in any order, stop anywhere and start again from what is
// stored.
type live struct {
	*world
	partials map[schemas.Partition][][]byte // stored, as JSON
	alerts   []schemas.Decision             // stored
	shared   reader                         // of the workers, which share a process
	workers  map[schemas.Partition]*worker
	eval     evaluator
	stored   []storedCheckpoint
	calm     bool
}

// reader folds the control log.
type reader struct {
	*engine.Schedule
	read int
}

type worker struct {
	*engine.Reducer
	frame int // index of the frame it stands in, -1 before the first
}

type evaluator struct {
	reader
	*engine.Decider
	class    schemas.Class
	taken    map[schemas.Partition]int
	frontier map[schemas.Partition]int64
	saving   *saving // nil: no checkpoint is being written
}

// saving is a checkpoint that is being written while the evaluator goes on.
type saving struct {
	*engine.Snapshot
	state bytes.Buffer
	storedCheckpoint
}

// save writes a piece of a checkpoint, which is stored with its last.
func (l *live) save(v *evaluator) {
	if v.saving == nil {
		return
	}
	done, err := v.saving.Write(l.IntN(100))
	if err != nil {
		panic(err)
	}
	if done {
		v.saving.data = v.saving.state.Bytes()
		l.stored = append(l.stored, v.saving.storedCheckpoint)
		v.saving = nil
	}
}

type storedCheckpoint struct {
	data     []byte
	taken    map[schemas.Partition]int
	frontier map[schemas.Partition]int64
	read     int // of the control log
}

// reader starts a process: it reads the control log from its beginning or from
// a snapshot.
func (l *live) reader(from int) reader {
	return reader{l.newSchedule(), from}
}

// anchor is the index of a control message that a fresh reader may begin with.
func (l *live) anchor(upTo int) int {
	for i := upTo - 1; i > 0; i-- {
		if l.control[i].entry.Snapshot != nil && l.one(2) {
			return i
		}
	}
	return 0
}

func (l *live) follow(r *reader, n int) {
	for ; n > 0 && r.read < len(l.control); n-- {
		m := l.control[r.read]
		if err := r.Apply(uint64(r.read+1), m.ts, &m.entry); err != nil {
			panic(err)
		}
		r.read++
	}
}

// run gives the transitions of a class and the last tick decided. Without
// faults, everybody knows the whole control log from the start and nobody is
// killed; events are still split into partials as it comes.
func (w *world) run(class schemas.Class, faults bool) ([]schemas.Transition, int64) {
	l := &live{world: w, partials: map[schemas.Partition][][]byte{}, workers: map[schemas.Partition]*worker{}}
	l.shared = l.reader(0)
	l.eval = evaluator{reader: l.reader(0), class: class}
	if !faults {
		l.calm = true
		l.shared = reader{w.folded, len(w.control)}
		l.eval.reader = l.shared
	}
	for steps := 0; ; steps++ {
		if steps > 3000 {
			l.calm = true
		}
		for _, p := range w.parts {
			if p.Class() == class && (steps > 3000 || !l.one(3)) {
				l.work(p)
			}
		}
		if l.evaluate() {
			break
		}
	}
	var all []schemas.Transition
	for _, d := range l.alerts {
		all = append(all, d.Transitions...)
	}
	return all, l.eval.Tick()
}

// find is the index of the frame with a sequence, -1 for that before the first.
func (w *world) find(p schemas.Partition, seq uint64) int {
	return slices.IndexFunc(w.streams[p], func(f frame) bool { return f.seq == seq })
}

// work moves the worker of a partition on by a little.
func (l *live) work(p schemas.Partition) {
	l.follow(&l.shared, l.IntN(4))
	if !l.calm && l.one(200) { // the process was killed, and knows less than the one before, or more
		most := l.IntN(len(l.control) + 1)
		l.shared = l.reader(l.anchor(most))
		l.follow(&l.shared, most-l.shared.read)
		clear(l.workers)
	}
	if _, ok := l.shared.Opened(p); !ok {
		return
	}
	k := l.workers[p]
	if k == nil || !l.calm && l.one(25) { // starts, or was fenced
		k = &worker{engine.NewReducer(l.shared.Schedule, p), -1}
		if head := l.partials[p]; len(head) > 0 {
			last := l.decode(head[len(head)-1])
			k.Resume(last.To, last.ArrivalTo)
			k.frame = l.find(p, last.To.Seq)
		}
		l.workers[p] = k
	}
	for n := 1 + l.IntN(6); n > 0; n-- {
		at := k.Position()
		if k.frame >= 0 && at.Index < len(l.streams[p][k.frame].events) {
			if !k.Settled() {
				break
			}
			k.Fold(at.Index, &l.streams[p][k.frame].events[at.Index])
			continue
		}
		if k.frame+1 == len(l.streams[p]) || !l.streams[p][k.frame+1].read(k.Reducer) {
			break
		}
		k.frame++
	}
	if l.one(3) || k.frame+1 == len(l.streams[p]) {
		l.partials[p] = append(l.partials[p], l.encode(k.Cut()))
	}
}

func (l *live) encode(p schemas.Partial) []byte {
	data, err := json.Marshal(p)
	if err != nil {
		panic(err)
	}
	return data
}

func (l *live) decode(data []byte) schemas.Partial {
	var p schemas.Partial
	if err := json.Unmarshal(data, &p); err != nil {
		panic(err)
	}
	return p
}

// evaluate moves the evaluator on by a little; true: everything is decided.
func (l *live) evaluate() bool {
	v := &l.eval
	if v.Decider == nil || !l.calm && l.one(40) {
		l.start(v)
	}
	l.follow(&v.reader, l.IntN(6))
	for p := range l.partials {
		for n := l.IntN(4); n > 0 && v.taken[p] < len(l.partials[p]); n-- {
			part := l.decode(l.partials[p][v.taken[p]])
			v.taken[p]++
			v.frontier[p] = part.ArrivalTo
			if err := v.Add(part.Rows, part.Losses); err != nil {
				panic(err)
			}
		}
	}
	for n := l.IntN(8); n > 0; n-- {
		settled := l.settled(v)
		if l.one(2) {
			v.SkipTo(settled)
		}
		if v.Tick() >= settled {
			break
		}
		v.PartBytes = 1 + l.IntN(3000)
		parts := engine.Rest(v.Decide(), l.head())
		for i, part := range parts {
			l.alerts = append(l.alerts, part)
			if !l.calm && i+1 < len(parts) && l.one(4) { // killed between two parts
				l.start(v)
				return false
			}
		}
		if !l.calm && v.saving == nil && l.one(15) {
			v.saving = &saving{storedCheckpoint: storedCheckpoint{taken: maps.Clone(v.taken), frontier: maps.Clone(v.frontier), read: v.read}}
			v.saving.Snapshot = v.Snapshot(&v.saving.state)
		}
		l.save(v)
	}
	for p, list := range l.partials {
		if v.taken[p] < len(list) {
			return false
		}
	}
	for _, p := range l.parts {
		if k := l.workers[p]; p.Class() == v.class && (k == nil || k.frame+1 < len(l.streams[p])) {
			return false
		}
	}
	return v.read == len(l.control) && v.Tick() >= l.last(v)
}

// last is the tick up to which the world can be decided.
func (l *live) last(v *evaluator) int64 {
	return v.Timing().Sec(l.end) + 50
}

func (l *live) head() schemas.Decision {
	if len(l.alerts) == 0 {
		return schemas.Decision{Tick: math.MinInt64, Done: true}
	}
	return l.alerts[len(l.alerts)-1]
}

// settled is the last tick that may be decided.
func (l *live) settled(v *evaluator) int64 {
	settled := min(v.Limit()-1, l.last(v))
	for _, p := range v.Partitions(v.class) {
		opened, _ := v.Opened(p)
		frontier, ok := v.frontier[p]
		if !ok {
			frontier = v.Floor(p)
		}
		settled = min(settled, max(opened-1, v.Timing().Decidable(frontier)))
	}
	return settled
}

// start begins with a stored checkpoint, or with nothing; mostly in the same
// process, since reading the control log again takes the longest.
func (l *live) start(v *evaluator) {
	*v = evaluator{reader: v.reader, class: v.class, taken: map[schemas.Partition]int{}, frontier: map[schemas.Partition]int64{}}
	if len(l.stored) == 0 || l.one(8) {
		if !l.calm {
			v.reader = l.reader(0)
			l.follow(&v.reader, 2) // the genesis, and the first rules and partitions
		}
		v.Decider = engine.NewDecider(v.Schedule, v.class)
		return
	}
	from := l.stored[len(l.stored)-1-l.IntN(min(2, len(l.stored)))]
	v.taken, v.frontier = maps.Clone(from.taken), maps.Clone(from.frontier)
	if v.read < from.read || l.one(5) {
		v.reader = l.reader(l.anchor(from.read))
		l.follow(&v.reader, from.read-v.read)
	}
	v.Decider = engine.NewDecider(v.Schedule, v.class)
	if err := v.Restore(bytes.NewReader(from.data)); err != nil {
		panic(err)
	}
}
