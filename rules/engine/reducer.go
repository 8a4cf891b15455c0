package engine

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/dermai/millrace/internal/chaos"
	"github.com/dermai/millrace/rules"
	"github.com/dermai/millrace/schemas"
)

// Reducer folds the events of one partition into rows. It is pure: how far the
// partition was read is its only clock. It is used by one goroutine.
type Reducer struct {
	schedule  *Schedule
	partition schemas.Partition
	env       *rules.Env

	position schemas.Position
	arrival  int64

	from        schemas.Position // of the last Cut
	arrivalFrom int64

	tick  int64                    // arrival tick of the current frame
	rules []*Instance              // in force at tick
	kinds map[schemas.Kind][]*tray // those of them that look at a kind; nil: not looked up

	trays  map[string]*tray // by instance
	events int64
	size   int

	losses []schemas.Loss
	torn   bool // what comes next lies behind a loss, whatever its sequence
	tear   uint64
}

// tray holds the open rows of one rule instance.
type tray struct {
	in         *Instance
	rows       map[cell]*schemas.Fold
	tooLate    int64
	mismatched int64

	cell cell // the row that was used last
	fold *schemas.Fold
}

type cell struct {
	group         string
	pane, visible int64
}

// NewReducer returns the reducer of a partition that the schedule knows, at the
// partition's beginning.
func NewReducer(s *Schedule, p schemas.Partition) *Reducer {
	if _, ok := s.Opened(p); !ok {
		panic(fmt.Sprintf("engine: partition %v is reduced before it is open", p))
	}
	r := &Reducer{schedule: s, partition: p, env: rules.NewEnv(), trays: map[string]*tray{}}
	r.Resume(schemas.Position{}, s.Floor(p))
	return r
}

// Resume moves to a position that was reached before, with the running maximum
// of the arrivals up to there, in Unix nanoseconds (To and ArrivalTo of the
// last partial). Open rows are forgotten. Inside a frame, the next Fold goes on
// with the frame's event to.Index, once the reducer is Settled.
func (r *Reducer) Resume(to schemas.Position, arrival int64) {
	r.position, r.arrival = to, arrival
	r.from, r.arrivalFrom = to, arrival
	r.torn, r.tear = false, 0
	r.clear()
}

// Tear says that messages behind the position are lost though the next sequence
// may not show it, and how many as far as is known: the rest of a frame, or what a
// restored stream had given.
func (r *Reducer) Tear(messages uint64) { r.torn, r.tear = true, messages }

// Settled tells that the control log was read far enough to fold events of the
// current frame. After Arrive it always was.
func (r *Reducer) Settled() bool { return r.settled(r.arrival) }

func (r *Reducer) settled(arrival int64) bool {
	return r.schedule.timing.Arrival(arrival) < r.schedule.Limit() || chaos.Bug("rules switched on notice")
}

// Arrive moves to the next message of the partition, a frame or a tick frame,
// with its sequence, the broker's timestamp in Unix nanoseconds, and its header.
// Sequences that are left out were lost; a header that tells of a loss
// (schemas.LostBefore), in this partition or another of its class, does not say how
// much: that counts as one message. It changes nothing and returns false while the
// control log must be read further first.
func (r *Reducer) Arrive(seq uint64, ts int64, header map[string]string) bool {
	if seq <= r.position.Seq {
		panic(fmt.Sprintf("engine: partition %v: message %d arrives after %d", r.partition, seq, r.position.Seq))
	}
	arrival := max(r.arrival, ts)
	if !r.settled(arrival) {
		return false
	}
	if n := seq - r.position.Seq - 1; n > 0 || r.torn {
		r.lose(schemas.Loss{Messages: n + r.tear, From: r.arrival, To: arrival})
		r.torn, r.tear = false, 0
	}
	if schemas.LostBefore(header) {
		r.lose(schemas.Loss{Messages: 1, From: arrival, To: arrival})
	}
	r.position, r.arrival = schemas.Position{Seq: seq}, arrival
	r.enter()
	return true
}

func (r *Reducer) lose(l schemas.Loss) {
	r.losses = append(r.losses, l)
	r.size += lossSize
}

// enter looks up the rules of the current arrival tick.
func (r *Reducer) enter() {
	r.tick = r.schedule.timing.Arrival(r.arrival)
	in := r.schedule.At(r.tick)
	if r.kinds != nil && slices.Equal(in, r.rules) {
		return
	}
	r.rules, r.kinds = in, map[schemas.Kind][]*tray{}
	for _, in := range r.rules {
		if in.Rule.Class != r.partition.Class() {
			continue
		}
		t := r.trays[in.ID]
		if t == nil {
			t = &tray{rows: map[cell]*schemas.Fold{}}
			r.trays[in.ID] = t
		}
		t.in = in
		for _, kind := range in.Rule.Kinds {
			r.kinds[kind] = append(r.kinds[kind], t)
		}
	}
}

// Fold consumes the current frame's event with an index, ascending from 0. Its
// Time is filled. Events that were set aside are nil: consumed, not counted.
func (r *Reducer) Fold(index int, e *schemas.Event) {
	if index < r.position.Index {
		panic(fmt.Sprintf("engine: partition %v: event %d of message %d is folded again", r.partition, index, r.position.Seq))
	}
	order := schemas.Order{Partition: r.partition, Seq: r.position.Seq, Index: index}
	r.position.Index = index + 1
	if e == nil {
		return
	}
	r.events++
	if r.kinds == nil {
		if !r.Settled() {
			panic(fmt.Sprintf("engine: partition %v: message %d is folded before its rules are settled", r.partition, r.position.Seq))
		}
		r.enter()
	}
	trays := r.kinds[e.Kind]
	if len(trays) == 0 {
		return
	}
	order.Time = min(e.Time, r.arrival)
	tick := r.schedule.timing.Sec(order.Time)
	visible := max(tick, r.tick)
	r.env.Set(e)
	for _, t := range trays {
		sample, ok, mismatch := t.in.Rule.Sample(r.env)
		if mismatch {
			t.mismatched++
		}
		if ok {
			r.add(t, sample, order, cell{sample.Group, paneEnd(tick, t.in.Pane), visible})
		}
	}
}

func (r *Reducer) add(t *tray, sample rules.Sample, order schemas.Order, c cell) {
	in := t.in
	if r.tick < in.Born || c.pane-in.Pane >= r.tick+r.schedule.timing.Lateness {
		panic(fmt.Sprintf("engine: partition %v: event %+v of arrival tick %d has no place in %s", r.partition, order, r.tick, in.ID))
	}
	if c.visible-c.pane >= in.Window {
		t.tooLate++
		return
	}
	if t.fold == nil || t.cell != c {
		f := t.rows[c]
		if f == nil {
			f = new(schemas.Fold)
			t.rows[c] = f
			r.size += rowSize + len(in.ID) + len(c.group)
		}
		t.cell, t.fold = c, f
	}
	r.size += observe(t.fold, in.Rule, sample, order)
	if in.Rule.Aggregate == rules.Ratio && !sample.Hit {
		return
	}
	if wanted(t.fold, schemas.Evidence{Order: order, Rank: in.Rule.Rank(r.env)}) {
		ev := in.Rule.Evidence(r.env, order)
		note(t.fold, ev)
		r.size += sizeOf(ev)
	}
}

// Position is how far the partition is folded.
func (r *Reducer) Position() schemas.Position { return r.position }

// Arrival is the running maximum of the timestamps at Position, in Unix
// nanoseconds.
func (r *Reducer) Arrival() int64 { return r.arrival }

// Size is roughly how many bytes the open rows take in a partial, before
// compression.
func (r *Reducer) Size() int { return r.size }

// Cut takes what was folded since the last Cut. The caller fills Created and
// ToID, and keeps the partial until it is stored: the reducer has forgotten it.
func (r *Reducer) Cut() schemas.Partial {
	p := schemas.Partial{
		Partition:   r.partition,
		From:        r.from,
		To:          r.position,
		ArrivalFrom: r.arrivalFrom,
		ArrivalTo:   r.arrival,
		Events:      r.events,
		Losses:      r.losses,
	}
	for _, l := range r.losses {
		p.Lost += l.Messages
	}
	for id, t := range r.trays {
		for c, f := range t.rows {
			key := schemas.RowKey{Instance: id, Group: c.group, Pane: c.pane, Visible: c.visible}
			p.Rows = append(p.Rows, schemas.Row{RowKey: key, Fold: *f})
		}
		count(&p.TooLate, id, t.tooLate)
		count(&p.Mismatched, id, t.mismatched)
	}
	slices.SortFunc(p.Rows, func(a, b schemas.Row) int { return compareKeys(a.RowKey, b.RowKey) })
	r.from, r.arrivalFrom = r.position, r.arrival
	r.clear()
	return p
}

func (r *Reducer) clear() {
	clear(r.trays)
	r.events, r.size, r.losses = 0, 0, nil
	r.kinds = nil
}

func count(m *map[string]int64, key string, n int64) {
	if n == 0 {
		return
	}
	if *m == nil {
		*m = map[string]int64{}
	}
	(*m)[key] += n
}

func compareKeys(a, b schemas.RowKey) int {
	return cmp.Or(
		strings.Compare(a.Instance, b.Instance),
		strings.Compare(a.Group, b.Group),
		cmp.Compare(a.Pane, b.Pane),
		cmp.Compare(a.Visible, b.Visible),
	)
}
