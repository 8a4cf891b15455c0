package engine_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/dermai/millrace/rules"
	"github.com/dermai/millrace/rules/engine"
	"github.com/dermai/millrace/rules/engine/oracle"
	"github.com/dermai/millrace/schemas"
)

// world is everything that is stored: the control log and the partitions.
type world struct {
	*rand.Rand
	dep     schemas.Deployment
	control []controlMessage
	streams map[schemas.Partition][]frame
	parts   []schemas.Partition
	end     int64 // last moment, Unix ns
	pool    []string
	folded  *engine.Schedule // control
	cache   *rules.Cache
	lossy   bool
}

type controlMessage struct {
	ts    int64
	entry schemas.ControlEntry
}

type frame struct {
	seq    uint64
	ts     int64
	events []schemas.Event // empty: a tick frame
	tells  bool            // of messages that are lost elsewhere
}

// read lets a reducer arrive at a frame.
func (f *frame) read(r *engine.Reducer) bool {
	var header map[string]string
	if f.tells {
		header = schemas.FrameHeader{Counter: 1, After: schemas.LaneEnd{Lane: "another", Batch: 1}}.Map()
	}
	return r.Arrive(f.seq, f.ts, header)
}

// newWorld makes a world from a seed. Times are multiples of a quarter tick, so
// that ties and exact borders are frequent.
func newWorld(seed uint64) *world {
	w := &world{Rand: rand.New(rand.NewPCG(seed, 2)), streams: map[schemas.Partition][]frame{}}
	w.cache = &rules.Cache{}
	w.lossy = w.one(4)
	w.folded = w.newSchedule()
	w.dep = schemas.Deployment{
		Engine:   schemas.Engine,
		Tick:     pick(w, time.Second, time.Second, 100*time.Millisecond),
		Lateness: int64(pick(w, 0, 1, 1, 2)),
		Delay:    int64(1 + w.IntN(5)),
	}
	for i := range 3 + w.IntN(5) {
		w.pool = append(w.pool, w.rule(i))
	}
	quarter := int64(w.dep.Tick) / 4
	now := int64(1_700_000_000_000_000_000) + w.Int64N(8)*quarter
	w.end = now + quarter*int64(160+w.IntN(480))
	w.parts = []schemas.Partition{0, schemas.Audit}
	w.append(now, 0, schemas.ControlEntry{Deployment: &w.dep})
	w.append(now, 0, schemas.ControlEntry{Rules: w.ruleSet(), Open: []schemas.Partition{schemas.Audit, 0}})
	waiting := []schemas.Partition{1, 2}
	last := []schemas.Event{}
	for ; now < w.end; now += quarter {
		if w.one(50) {
			entry := schemas.ControlEntry{Rules: w.ruleSet()}
			w.append(now, w.skew(quarter), entry)
			if w.one(3) { // a second one for the same tick, more often than not
				w.append(now, 0, schemas.ControlEntry{Rules: w.ruleSet()})
			}
		}
		if len(waiting) > 0 && w.one(60) {
			w.append(now, 0, schemas.ControlEntry{Open: waiting[:1]})
			w.parts = append(w.parts, waiting[0])
			waiting = waiting[1:]
		}
		if w.one(5) {
			w.append(now, w.skew(quarter), schemas.ControlEntry{})
		}
		if w.one(150) {
			w.snapshot(now)
		}
		for _, p := range w.parts {
			if !w.one(5) {
				continue
			}
			f := frame{ts: now + w.skew(quarter)}
			for range w.IntN(4) {
				e := w.event(p, f.ts, quarter)
				if len(last) > 0 && w.one(6) { // the same moment as another event
					e.Time = last[w.IntN(len(last))].Time
				}
				f.events = append(f.events, e)
				last = append(last, e)
			}
			w.store(p, f)
		}
	}
	// Everything is settled at the end, and a little beyond.
	after := w.end + int64(w.dep.Tick)*(w.dep.Delay+w.dep.Lateness+60)
	w.append(after, 0, schemas.ControlEntry{})
	for _, p := range w.parts {
		w.store(p, frame{ts: after})
	}
	slices.Sort(w.parts)
	return w
}

func (w *world) newSchedule() *engine.Schedule {
	s := engine.NewSchedule()
	s.Parse = w.cache.Parse
	return s
}

// store appends a frame. Some worlds lose messages, now and then several in a row.
func (w *world) store(p schemas.Partition, f frame) {
	f.seq = 1
	if n := len(w.streams[p]); n > 0 {
		f.seq += w.streams[p][n-1].seq
	}
	for w.lossy && w.one(25) {
		f.seq += 1 + w.Uint64N(3)
	}
	f.tells = w.lossy && w.one(40)
	w.streams[p] = append(w.streams[p], f)
}

func pick[T any](w *world, from ...T) T { return from[w.IntN(len(from))] }

func (w *world) one(in int) bool { return w.IntN(in) == 0 }

// skew is a broker's clock that steps, rarely.
func (w *world) skew(quarter int64) int64 {
	if w.one(8) {
		return quarter * int64(w.IntN(17)-8)
	}
	return 0
}

func (w *world) append(now, skew int64, e schemas.ControlEntry) {
	w.control = append(w.control, controlMessage{now + skew, e})
	if err := w.folded.Apply(uint64(len(w.control)), now+skew, &e); err != nil {
		panic(err)
	}
}

// snapshot appends the control log so far as one entry.
func (w *world) snapshot(now int64) {
	snap := w.folded.Snapshot(0)
	w.append(now, 0, schemas.ControlEntry{Snapshot: &snap})
}

// ruleSet is some of the pool's rules; their labels change from set to set.
func (w *world) ruleSet() *schemas.RuleSource {
	var b strings.Builder
	b.WriteString("groups:\n  - name: random\n    rules:\n")
	n := 0
	for _, rule := range w.pool {
		if !w.one(3) {
			n++
			b.WriteString(rule)
			fmt.Fprintf(&b, "        labels: {team: t%d}\n        mode: %s\n", w.IntN(2), pick(w, "live", "live", "shadow"))
		}
	}
	if n == 0 {
		b.WriteString(w.pool[0])
	}
	return &schemas.RuleSource{Files: []schemas.RuleFile{{Name: "random.yaml", Text: b.String()}}}
}

// rule writes a random rule.
func (w *world) rule(i int) string {
	var b strings.Builder
	put := func(format string, args ...any) { fmt.Fprintf(&b, "        "+format+"\n", args...) }
	fmt.Fprintf(&b, "      - alert: R%d\n", i)
	audit := w.one(6)
	if audit {
		put("on: audit")
	} else {
		put("on: %s", pick(w, "log", "log", "metric", "[log, metric]"))
	}
	root := "attributes"
	if audit {
		root = "details"
	}
	if w.one(3) {
		put("where: %s", pick(w, root+".v > 20", root+`.user != "u1"`, `service == "s1"`, "not ("+root+".v == 0.1)"))
	}
	by := pick(w, "", "service", root+".user", "service, "+root+".user")
	if by != "" {
		put("by: [%s]", by)
	}
	ticks := pick(w, 1, 2, 3, 5, 8, 13, 20, 70, 130)
	if w.dep.Tick < time.Second {
		ticks = pick(w, 10, 12, 17, 20, 33, 61, 130)
	}
	window := w.duration(ticks)
	put("for: %s", w.duration(pick(w, 0, 0, 1, 2, 3, 5)))
	put("keep_firing_for: %s", w.duration(pick(w, 0, 0, 1, 2, 4)))
	if w.one(3) {
		put("cap: %d", 1+w.IntN(3))
	}
	if w.one(2) {
		put("evidence: {worst: %s.v, fields: [%s.user]}", root, root)
	}
	if w.one(5) {
		put("expect: every %s", window)
		if by == "service" {
			put("keys: [{service: s0}, {service: never}]")
		}
		return b.String()
	}
	put("window: %s", window)
	aggregate := pick(w, "count: true", "count: true", "rate: true", "ratio: X.v > 50", "ratio: X.v > 50", "sum: X.v", "avg: X.v",
		"min: X.v", "max: X.v", "last: X.v", "last: X.v > 50", "p50: X.v", "p95: X.v", "p99.9: X.v")
	put("%s", strings.ReplaceAll(aggregate, "X", root))
	fire, resolve := w.thresholds(aggregate, ticks)
	put("fire: %q", fire)
	if w.one(2) {
		put("resolve: %q", resolve)
	}
	if w.one(3) {
		put("min_samples: %d", 1+w.IntN(4))
	}
	if w.one(2) {
		put("no_data: %s", pick(w, "resolve", "hold", "fire"))
	}
	return b.String()
}

func (w *world) duration(ticks int) string {
	return fmt.Sprintf("%dms", (time.Duration(ticks) * w.dep.Tick).Milliseconds())
}

// thresholds are near what the events give, so that they are crossed often.
func (w *world) thresholds(aggregate string, ticks int) (fire, resolve string) {
	middle, step := 50.0, 10.0
	switch aggregate[:3] {
	case "cou":
		middle, step = float64(1+w.IntN(2+ticks/4)), 1
	case "rat":
		middle, step = 0.5, 0.1
	}
	if strings.HasSuffix(aggregate, "v > 50") && aggregate[:3] == "las" {
		middle, step = 0.5, 0.1
	}
	switch w.IntN(8) {
	case 0, 1:
		return fmt.Sprintf("< %v", middle), fmt.Sprintf(">= %v", middle+step)
	case 2:
		return fmt.Sprintf("<= %v", middle), fmt.Sprintf("> %v", middle)
	case 3:
		return fmt.Sprintf("== %v", middle), fmt.Sprintf("!= %v", middle)
	case 4:
		return fmt.Sprintf(">= %v", middle), fmt.Sprintf("< %v", middle-step)
	}
	return fmt.Sprintf("> %v", middle), fmt.Sprintf("<= %v", middle-step)
}

// event is a random event of a partition's class around a moment.
func (w *world) event(p schemas.Partition, ts, quarter int64) schemas.Event {
	e := schemas.Event{
		Kind:    pick(w, schemas.KindLog, schemas.KindMetric),
		Service: fmt.Sprintf("s%d", w.IntN(3)),
		ID:      fmt.Sprintf("e%d", w.IntN(1000)),
		Time:    ts - int64(w.IntN(8))*quarter,
	}
	if w.one(6) {
		e.Time -= int64(w.IntN(200)) * quarter // late
	}
	if w.one(10) {
		e.Time += int64(w.IntN(100)) * quarter // from the future
	}
	if w.one(20) {
		e.Time++ // just past a border
	}
	values := map[string]any{"user": fmt.Sprintf("u%d", w.IntN(5))}
	switch w.IntN(12) {
	case 0: // none
	case 1:
		values["v"] = "text"
	case 2:
		values["v"] = pick(w, 0.1, 1e17, -1e17, 1e-12, -0.3, 0, 9e18, 4.656612873077393e-10/2)
	default:
		values["v"] = float64(w.IntN(21)) * 5
	}
	e.Attributes = values
	if p == schemas.Audit {
		e.Kind, e.Attributes, e.Details = schemas.KindAudit, nil, values
		e.User, e.Action, e.Resource = "u", "read", "r"
	}
	return e
}

// events are all stored events as the oracle takes them.
func (w *world) events() []oracle.Event {
	var list []oracle.Event
	for _, p := range w.parts {
		arrival := w.folded.Floor(p)
		for _, f := range w.streams[p] {
			arrival = max(arrival, f.ts)
			for k, e := range f.events {
				list = append(list, oracle.Event{Event: e, Order: schemas.Order{Partition: p, Seq: f.seq, Index: k}, Arrival: arrival})
			}
		}
	}
	w.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	return list
}

// lost are the losses of a class as the oracle takes them.
func (w *world) lost(class schemas.Class) []schemas.Loss {
	var list []schemas.Loss
	for _, p := range w.parts {
		seq, arrival := uint64(0), w.folded.Floor(p)
		for _, f := range w.streams[p] {
			if behind := max(arrival, f.ts); p.Class() == class && f.seq > seq+1 {
				list = append(list, schemas.Loss{Messages: f.seq - seq - 1, From: arrival, To: behind})
			}
			seq, arrival = f.seq, max(arrival, f.ts)
			if p.Class() == class && f.tells {
				list = append(list, schemas.Loss{Messages: 1, From: arrival, To: arrival})
			}
		}
	}
	return list
}
