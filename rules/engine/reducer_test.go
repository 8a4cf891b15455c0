package engine_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dermai/millrace/rules"
	"github.com/dermai/millrace/rules/engine"
	"github.com/dermai/millrace/schemas"
)

// rulesOf is a rule set of rules as they stand in a file, each in braces.
func rulesOf(list ...string) *schemas.RuleSource {
	text := "groups: [{name: g, rules: [\n" + strings.Join(list, ",\n") + "\n]}]\n"
	return &schemas.RuleSource{Files: []schemas.RuleFile{{Name: "t.yaml", Text: text}}}
}

// begun is a schedule with rules in force and partition 0 open from tick 105
// on, settled below a tick.
func begun(t *testing.T, limit int64, list ...string) *engine.Schedule {
	t.Helper()
	s := engine.NewSchedule()
	apply(t, s, at{100, genesis},
		at{100, schemas.ControlEntry{Rules: rulesOf(list...), Open: []schemas.Partition{0}}},
		at{limit - 5, schemas.ControlEntry{}})
	return s
}

func logAt(second int64, service string) *schemas.Event {
	return &schemas.Event{Kind: schemas.KindLog, Service: service, Time: second * 1e9}
}

const countByService = `{alert: C, on: log, by: [service], count: true, window: 10s, fire: "> 3"}`

func TestReducer(t *testing.T) {
	s := begun(t, 130, countByService, `{alert: M, on: metric, avg: value, window: 10s, fire: "> 3"}`)
	r := engine.NewReducer(s, 0)
	arrive := func(seq uint64, second int64) {
		t.Helper()
		if !r.Arrive(seq, second*1e9, nil) {
			t.Fatalf("message %d was held back", seq)
		}
	}
	arrive(1, 110)
	r.Fold(0, logAt(109, "a"))
	r.Fold(1, logAt(109, "a"))
	r.Fold(2, nil) // quarantined
	r.Fold(3, logAt(108, "b"))
	r.Fold(4, logAt(110, "a"))
	r.Fold(5, logAt(400, "a")) // happened at 110, when it arrived
	r.Fold(6, logAt(99, "a"))  // its pane has left every window
	arrive(2, 107)             // the clock stepped back; a tick frame
	arrive(5, 112)
	r.Fold(0, logAt(100, "a")) // would leave the window in which it becomes visible
	r.Fold(1, logAt(102, "a")) // in its last window
	size := r.Size()
	if size == 0 {
		t.Error("open rows take no bytes")
	}
	p := r.Cut()
	in := s.At(110)[0].ID
	row := func(group string, pane, visible, n int64) schemas.Row {
		return schemas.Row{RowKey: schemas.RowKey{Instance: in, Group: "service=" + group, Pane: pane, Visible: visible}, Fold: schemas.Fold{N: n}}
	}
	want := schemas.Partial{
		Partition:   0,
		To:          schemas.Position{Seq: 5, Index: 2},
		ArrivalFrom: 106e9,
		ArrivalTo:   112e9,
		Rows: []schemas.Row{
			row("a", 102, 111, 1), row("a", 109, 109, 2), row("a", 110, 110, 2), row("b", 108, 109, 1),
		},
		Lost:    2,
		Losses:  []schemas.Loss{{Messages: 2, From: 110e9, To: 112e9}},
		Events:  8,
		TooLate: map[string]int64{in: 2},
	}
	for i := range p.Rows {
		p.Rows[i].Fold.Evidence = nil
	}
	if diff := cmp.Diff(want, p); diff != "" {
		t.Errorf("partial (-want +got):\n%s", diff)
	}

	// The next begins where this one ended, empty.
	if r.Size() != 0 {
		t.Errorf("size %d after Cut", r.Size())
	}
	r.Fold(2, logAt(112, "b"))
	next := r.Cut()
	if next.From != p.To || next.ArrivalFrom != p.ArrivalTo || len(next.Rows) != 1 {
		t.Errorf("the next partial does not continue the chain: %+v", next)
	}
}

// A loss that no sequence shows is told once, with the message behind it.
func TestReducerTear(t *testing.T) {
	r := engine.NewReducer(begun(t, 130, countByService), 0)
	r.Arrive(1, 110e9, nil)
	r.Tear(1)
	if lost := r.Cut().Losses; lost != nil {
		t.Errorf("lost %+v before the message behind it is there", lost)
	}
	r.Arrive(3, 111e9, nil)
	r.Arrive(4, 112e9, nil)
	if diff := cmp.Diff([]schemas.Loss{{Messages: 2, From: 110e9, To: 111e9}}, r.Cut().Losses); diff != "" {
		t.Errorf("losses (-want +got):\n%s", diff)
	}
}

// A loss that a message tells of is where the message is.
func TestReducerTold(t *testing.T) {
	r := engine.NewReducer(begun(t, 130, countByService), 0)
	r.Arrive(1, 110e9, nil)
	r.Arrive(2, 111e9, schemas.FrameHeader{Counter: 1, After: schemas.LaneEnd{Lane: "events.0.log.shop.l1", Batch: 1}}.Map())
	if diff := cmp.Diff([]schemas.Loss{{Messages: 1, From: 111e9, To: 111e9}}, r.Cut().Losses); diff != "" {
		t.Errorf("losses (-want +got):\n%s", diff)
	}
}

// TestReducerHoldsBack shows that no event is folded by rules that may still
// change, not even after a restart inside a frame.
func TestReducerHoldsBack(t *testing.T) {
	s := begun(t, 120, countByService)
	r := engine.NewReducer(s, 0)
	if !r.Arrive(1, 120e9, nil) { // arrival tick 119
		t.Fatal("message 1 was held back")
	}
	r.Fold(0, logAt(120, "a"))
	if r.Arrive(2, 120e9+1, nil) { // arrival tick 120
		t.Error("message 2 was not held back")
	}
	if r.Position() != (schemas.Position{Seq: 1, Index: 1}) || r.Arrival() != 120e9 {
		t.Errorf("what was held back moved the reducer to %+v, %d", r.Position(), r.Arrival())
	}
	apply(t, s, at{116, schemas.ControlEntry{}})
	if !r.Arrive(2, 120e9+1, nil) {
		t.Error("message 2 is still held back")
	}
	r.Fold(0, logAt(120, "a"))
	p := r.Cut()

	behind := begun(t, 120, countByService)
	again := engine.NewReducer(behind, 0)
	again.Resume(p.To, p.ArrivalTo)
	if again.Settled() {
		t.Error("a reducer that knows less of the control log goes on inside the frame")
	}
	if !panics(func() { again.Fold(1, logAt(120, "a")) }) {
		t.Error("an event was folded by rules that are not settled")
	}
	apply(t, behind, at{116, schemas.ControlEntry{}})
	if !again.Settled() {
		t.Error("the reducer is not settled")
	}
}

func TestReducerRefuses(t *testing.T) {
	s := begun(t, 150, countByService)
	r := engine.NewReducer(s, 0)
	r.Arrive(7, 110e9, nil)
	r.Fold(0, logAt(110, "a"))
	for name, f := range map[string]func(){
		"an event twice":             func() { r.Fold(0, logAt(110, "a")) },
		"a message twice":            func() { r.Arrive(7, 110e9, nil) },
		"a partition that is closed": func() { engine.NewReducer(s, 3) },
	} {
		if !panics(f) {
			t.Errorf("%s was taken", name)
		}
	}
}

func panics(f func()) (yes bool) {
	defer func() { yes = recover() != nil }()
	f()
	return false
}

// TestReducerClasses shows that audit rules never see telemetry, and conditions
// that lack an attribute are counted.
func TestReducerClasses(t *testing.T) {
	s := begun(t, 150,
		`{alert: T, on: [log, metric], where: attributes.v > 1, count: true, window: 10s, fire: "> 3"}`,
		`{alert: A, on: audit, count: true, window: 10s, fire: "> 3"}`)
	apply(t, s, at{145, schemas.ControlEntry{Open: []schemas.Partition{schemas.Audit}}}, at{160, schemas.ControlEntry{}})
	got := map[string]int{}
	for _, p := range []schemas.Partition{0, schemas.Audit} {
		r := engine.NewReducer(s, p)
		r.Arrive(1, 155e9, nil)
		r.Fold(0, &schemas.Event{Kind: schemas.KindLog, Time: 155e9, Attributes: map[string]any{"v": 2.0}})
		r.Fold(1, &schemas.Event{Kind: schemas.KindMetric, Time: 155e9})
		r.Fold(2, &schemas.Event{Kind: schemas.KindAudit, Time: 155e9})
		part := r.Cut()
		for _, row := range part.Rows {
			got[p.String()+" "+s.Instance(row.Instance).Rule.Name] += int(row.Fold.N)
		}
		for id, n := range part.Mismatched {
			got[p.String()+" mismatched "+s.Instance(id).Rule.Name] += int(n)
		}
	}
	want := map[string]int{"0 T": 1, "0 mismatched T": 1, "audit A": 1}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("samples (-want +got):\n%s", diff)
	}
}

// TestReducerCounts checks in random worlds that partials form a chain and
// count every sample once, however they were cut (promise 2).
func TestReducerCounts(t *testing.T) {
	for seed := range uint64(30) {
		w := newWorld(1000 + seed)
		for _, p := range w.parts {
			want, got := map[string]int64{}, map[string]int64{}
			env := rules.NewEnv()
			for _, e := range w.events() {
				if e.Order.Partition != p {
					continue
				}
				env.Set(&e.Event)
				for _, in := range w.folded.At(w.folded.Timing().Arrival(e.Arrival)) {
					if in.Rule.Class != p.Class() {
						continue
					}
					if _, ok, _ := in.Rule.Sample(env); ok {
						want[in.ID]++
					}
				}
			}
			r := engine.NewReducer(w.folded, p)
			last := schemas.Partial{ArrivalTo: w.folded.Floor(p)}
			for i, f := range w.streams[p] {
				r.Arrive(uint64(i+1), f.ts, nil)
				for k := range f.events {
					if w.one(4) { // killed: what was not cut is folded again
						again := engine.NewReducer(w.folded, p)
						again.Resume(last.To, last.ArrivalTo)
						r = again
						refold(w, r, p, i, k)
					}
					r.Fold(k, &f.events[k])
					if w.one(3) {
						last = cut(t, r, last, got)
					}
				}
			}
			cut(t, r, last, got)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("seed %d, partition %v: samples by instance (-want +got):\n%s", seed, p, diff)
			}
		}
	}
}

// refold brings a resumed reducer to event k of frame i.
func refold(w *world, r *engine.Reducer, p schemas.Partition, i, k int) {
	for at := r.Position(); ; at = r.Position() {
		switch {
		case at.Seq == uint64(i+1) && at.Index == k:
			return
		case at.Seq > 0 && at.Index < len(w.streams[p][at.Seq-1].events):
			r.Fold(at.Index, &w.streams[p][at.Seq-1].events[at.Index])
		default:
			r.Arrive(at.Seq+1, w.streams[p][at.Seq].ts, nil)
		}
	}
}

func cut(t *testing.T, r *engine.Reducer, last schemas.Partial, got map[string]int64) schemas.Partial {
	t.Helper()
	p := r.Cut()
	if p.From != last.To || p.ArrivalFrom != last.ArrivalTo || p.ArrivalTo < p.ArrivalFrom {
		t.Fatalf("the chain is broken: %+v after %+v", p, last)
	}
	for _, row := range p.Rows {
		got[row.Instance] += row.Fold.N
	}
	for id, n := range p.TooLate {
		got[id] += n
	}
	return p
}
