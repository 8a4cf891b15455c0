package notify_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/notify"
	"github.com/dermai/millrace/schemas"
)

func (w *world) plan(cfg notify.Config, log fence.Log, active func() bool, every int) *notify.Plan {
	w.t.Helper()
	p, err := notify.NewPlan(notify.PlanConfig{
		Receiver: "team", Config: cfg, Tick: time.Second, Log: log, Claims: w.claim, Clock: w.clock,
		Active: active, CheckpointEvery: every,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return p
}

// want plans what ALERTS holds after sequence from, without any machine.
func (w *world) want(cfg notify.Config, from uint64) []schemas.Notification {
	w.t.Helper()
	p := newPlanner(w.t, cfg)
	var out []schemas.Notification
	for _, e := range w.entries(schemas.StreamAlerts) {
		if e.Seq <= from || e.Header[schemas.HeaderType] != schemas.TypeDecision {
			continue
		}
		var d schemas.Decision
		if err := schemas.DecodeInto(e.Data, &d); err != nil {
			w.t.Fatal(err)
		}
		out = append(out, p.Feed(e.Seq, &d)...)
	}
	return out
}

// TestPlanSurvives lets two processes plan, crash, come back and lose answers.
// What is stored in the end is what one planner would have planned.
func TestPlanSurvives(t *testing.T) {
	met, planned, crashes := 0, 0, 0
	for seed := range uint64(60) {
		w := newWorld(t, seed)
		cfg := randomConfig(t, w.rng)
		input := decisions(w.rng, history(w.rng, 8, 120), 200)
		for range w.rng.IntN(20) { // history that a new receiver is not told
			w.put("alerts.telemetry", schemas.TypeDecision, input[0])
			input = input[1:]
		}
		active := 0
		start := func(i int) *notify.Plan {
			return w.plan(cfg, w.log, func() bool { return i == active || w.rng.Float64() < 0.05 }, 1+w.rng.IntN(40))
		}
		plans := []*notify.Plan{start(0), start(1)}
		w.settle(plans[0])
		from := w.entries(schemas.StreamAlerts)
		begin := from[len(from)-1].Seq
		w.faults = 0.15 * w.rng.Float64()
		for len(input) > 0 {
			switch dice := w.rng.Float64(); {
			case dice < 0.15:
				kind, subject := schemas.TypeDecision, "alerts.telemetry"
				if w.rng.Float64() < 0.2 {
					kind, subject = schemas.TypeCheckpoint, "alerts.audit"
				} else if d := input[0]; true {
					input = input[1:]
					w.put(subject, kind, d)
					break
				}
				w.put(subject, kind, schemas.CheckpointPart{Part: 1, Of: 1})
			case dice < 0.18:
				i := w.rng.IntN(2)
				plans[i] = start(i)
				crashes++
			case dice < 0.2:
				active = 1 - active
			case dice < 0.25:
				w.put("notify.other", schemas.TypeNotification, schemas.Notification{ID: "x"})
			case dice < 0.3:
				w.deliver()
			default:
				if _, err := plans[w.rng.IntN(2)].Step(t.Context()); fence.IsIncident(err) {
					t.Fatalf("seed %d: %v", seed, err)
				}
			}
		}
		w.faults = 0
		for w.log.Delayed() > 0 {
			w.log.Deliver(0)
		}
		w.settle(plans[active])
		got := stored[schemas.Notification](w, "notify.team", schemas.TypeNotification)
		if diff := cmp.Diff(w.want(cfg, begin), got); diff != "" {
			t.Fatalf("seed %d: stored (-planned +stored):\n%s", seed, diff)
		}
		met, planned = met+w.met, planned+len(got)
	}
	if met < 200 || planned < 1000 || crashes < 200 {
		t.Errorf("%d faults, %d crashes, %d notifications: the test tests too little", met, crashes, planned)
	}
}

// reads notes from where ALERTS was read.
type reads struct {
	fence.Log
	least uint64
}

func (r *reads) Read(ctx context.Context, stream string, from uint64, most int) ([]fence.Entry, error) {
	if stream == schemas.StreamAlerts {
		r.least = min(r.least, from)
	}
	return r.Log.Read(ctx, stream, from, most)
}

const oneGroup = "receivers: [{name: team, console: {}}]\nroute: {receiver: team, group_by: [], group_interval: 0s, repeat_interval: 0s}"

// TestPlanRestartIsBounded counts what a restart reads again.
func TestPlanRestartIsBounded(t *testing.T) {
	w := newWorld(t, 1)
	cfg := config(t, oneGroup)
	w.settle(w.plan(cfg, w.log, nil, 30))
	p := w.plan(cfg, w.log, nil, 30)
	w.settle(p)
	for i := range int64(150) {
		change := []string{"fire", "end"}[i%2]
		w.put("alerts.telemetry", schemas.TypeDecision, schemas.Decision{Class: schemas.Telemetry, Tick: i + 1, Done: true,
			Transitions: []schemas.Transition{transition(i+1, change, "R", "1", nil)}})
		w.settle(p)
	}
	last := w.entries(schemas.StreamAlerts)
	r := &reads{Log: w.log, least: 1 << 60}
	w.settle(w.plan(cfg, r, nil, 30))
	if end := last[len(last)-1].Seq; r.least < end-30 {
		t.Errorf("read again from %d, ALERTS ends at %d", r.least, end)
	}
	if got := stored[schemas.Notification](w, "notify.team", schemas.TypeNotification); len(got) != 150 {
		t.Errorf("%d notifications, want 150", len(got))
	}
	// A planner state of several parts is put together again.
	d := schemas.Decision{Class: schemas.Telemetry, Tick: 2000, Done: true}
	for i := range 1500 {
		d.Transitions = append(d.Transitions, transition(2000, "fire", "R", "1", map[string]string{"x": noise(w.rng, 900), "n": fmt.Sprint(i)}))
	}
	w.put("alerts.telemetry", schemas.TypeDecision, d)
	p = w.plan(cfg, w.log, nil, 1)
	w.settle(p)
	parts := stored[schemas.CheckpointPart](w, "notify.team", schemas.TypeCheckpoint)
	if of := parts[len(parts)-1].Of; of < 2 {
		t.Fatalf("the state has %d part", of)
	}
	end := w.put("alerts.telemetry", schemas.TypeDecision, schemas.Decision{Class: schemas.Telemetry, Tick: 9000, Done: true,
		Transitions: []schemas.Transition{transition(9000, "fire", "R", "1", nil)}})
	w.settle(p)
	r = &reads{Log: w.log, least: 1 << 60}
	w.settle(w.plan(cfg, r, nil, 100))
	if r.least < end {
		t.Errorf("read again from %d, though there is a checkpoint of %d", r.least, end-1)
	}
	got := stored[schemas.Notification](w, "notify.team", schemas.TypeNotification)
	if n := got[len(got)-1]; len(n.Alerts)+n.Truncated != 1501 {
		t.Errorf("after the restart a group has %d alerts, want 1501", len(n.Alerts)+n.Truncated)
	}
}

func noise(rng *rand.Rand, n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte('!' + rng.IntN(90))
	}
	return string(b)
}

// TestPlanNewRoutes changes the routes while a message of ALERTS is half
// planned: the rest of it is planned by the old ones.
func TestPlanNewRoutes(t *testing.T) {
	w := newWorld(t, 1)
	old := config(t, "receivers: [{name: team, console: {}}]\nroute: {receiver: team, group_by: [service]}")
	next := config(t, "receivers: [{name: team, console: {}}]\nroute: {receiver: team, group_by: [alertname]}")
	p := w.plan(old, w.log, nil, 0)
	w.settle(p)
	d := decision(t, strings.Fields("100 fire R service=a, fire R service=b, fire R service=c"))
	w.put("alerts.telemetry", schemas.TypeDecision, d)
	for len(stored[schemas.Notification](w, "notify.team", schemas.TypeNotification)) < 2 {
		if _, err := p.Step(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	w.settle(w.plan(next, w.log, nil, 0))
	d = decision(t, strings.Fields("200 end R service=a, fire R service=d"))
	w.put("alerts.telemetry", schemas.TypeDecision, d)
	w.settle(w.plan(next, w.log, nil, 0)) // the routes are in the checkpoint now
	var got strings.Builder
	for _, n := range stored[schemas.Notification](w, "notify.team", schemas.TypeNotification) {
		got.WriteString(told(n))
	}
	want := `100 new firing: firing R{service=a} 100 (/{}:{service="a"})
100 new firing: firing R{service=b} 100 (/{}:{service="b"})
100 new firing: firing R{service=c} 100 (/{}:{service="c"})
200 changed firing: firing R{service=d} 200, resolved R{service=a} 100-200, firing R{service=b} 100, firing R{service=c} 100 (/{}:{alertname="R"})
`
	if diff := cmp.Diff(want, got.String()); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
}

// TestPlanNewSilence silences while a message of ALERTS is half planned, and
// crashes: the rest of it is planned without, what follows with the silence, also
// by a planner that does not hear of it.
func TestPlanNewSilence(t *testing.T) {
	w := newWorld(t, 1)
	cfg := config(t, "receivers: [{name: team, console: {}}]\nroute: {receiver: team, group_by: [service]}")
	quiet := silences(t, []string{"0-300", "service=~b|c|d"})
	plan := func(revision uint64) *notify.Plan {
		p, err := notify.NewPlan(notify.PlanConfig{
			Receiver: "team", Config: cfg, Tick: time.Second, Log: w.log, Claims: w.claim, Clock: w.clock,
			Silences: func() (uint64, []schemas.Silence) { return revision, quiet },
		})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	w.settle(plan(0))
	p := plan(0)
	w.put("alerts.telemetry", schemas.TypeDecision, decision(t, strings.Fields("100 fire R service=a, fire R service=b, fire R service=c")))
	for len(stored[schemas.Notification](w, "notify.team", schemas.TypeNotification)) < 2 {
		if _, err := p.Step(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	w.settle(plan(7))
	w.put("alerts.telemetry", schemas.TypeDecision, decision(t, strings.Fields("200 end R service=c, fire R service=d, end R service=a")))
	w.settle(plan(0))
	w.put("alerts.telemetry", schemas.TypeDecision, schemas.Decision{Class: schemas.Telemetry, Tick: 400, Done: true})
	w.settle(plan(0))
	var got strings.Builder
	for _, n := range stored[schemas.Notification](w, "notify.team", schemas.TypeNotification) {
		got.WriteString(told(n))
	}
	want := `100 new firing: firing R{service=a} 100 (/{}:{service="a"})
100 new firing: firing R{service=b} 100 (/{}:{service="b"})
100 new firing: firing R{service=c} 100 (/{}:{service="c"})
200 resolved resolved: resolved R{service=a} 100-200 (/{}:{service="a"})
300 resolved resolved: resolved R{service=c} 100-200 (/{}:{service="c"})
300 new firing: firing R{service=d} 200 (/{}:{service="d"})
`
	if diff := cmp.Diff(want, got.String()); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
}

// TestPlanIncidents breaks what the log has promised.
func TestPlanIncidents(t *testing.T) {
	cfg := config(t, oneGroup)
	for name, c := range map[string]struct {
		harm func(w *world)
		want string
	}{
		"alerts rewound":            {func(w *world) { w.log.Rewind(schemas.StreamAlerts, 2) }, "lost its tail"},
		"alerts rewound and filled": {func(w *world) { w.log.Rewind(schemas.StreamAlerts, 2); fill(w, 20) }, "is another"},
		"alerts recreated":          {func(w *world) { w.log.Recreate(schemas.StreamAlerts); fill(w, 20) }, "made again"},
		"notify emptied":            {func(w *world) { w.log.Recreate(schemas.StreamNotify) }, "genesis"},
		"not a decision": {func(w *world) {
			w.log.Put(fence.Message{Subject: "alerts.audit", Header: fence.Header{schemas.HeaderType: schemas.TypeDecision}, Data: []byte("{")})
		}, "alerts.audit"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 1)
			w.settle(w.plan(cfg, w.log, nil, 1))
			fill(w, 5)
			w.settle(w.plan(cfg, w.log, nil, 1))
			c.harm(w)
			p := w.plan(cfg, w.log, nil, 1)
			var err error
			for range 20 {
				if _, err = p.Step(t.Context()); err != nil {
					break
				}
			}
			if !fence.IsIncident(err) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an incident that says %q", err, c.want)
			}
		})
	}
}

func fill(w *world, n int) {
	for i := range n {
		w.put("alerts.telemetry", schemas.TypeDecision, schemas.Decision{Class: schemas.Telemetry, Tick: int64(i + 1), Done: true,
			Transitions: []schemas.Transition{transition(int64(i+1), "fire", "R", "1", map[string]string{"n": fmt.Sprint(i)})}})
	}
}

// TestPlanExpired lets ALERTS forget what was not planned: planning goes on.
func TestPlanExpired(t *testing.T) {
	w := newWorld(t, 1)
	cfg := config(t, oneGroup)
	w.settle(w.plan(cfg, w.log, nil, 1000))
	fill(w, 10)
	w.settle(w.plan(cfg, w.log, nil, 1000))
	fill(w, 10)
	if err := w.log.Trim(t.Context(), schemas.StreamAlerts, "", 18); err != nil {
		t.Fatal(err)
	}
	w.settle(w.plan(cfg, w.log, nil, 1000))
	got := stored[schemas.Notification](w, "notify.team", schemas.TypeNotification)
	if last := got[len(got)-1]; last.Covers != 22 || last.Tick != 10 {
		t.Errorf("the last notification covers %d, want 22:\n%s", last.Covers, asJSON(t, last))
	}
}

// TestPlanKeepsItsHead writes now and then though nothing happens: NOTIFY
// forgets what is 90 days old.
func TestPlanKeepsItsHead(t *testing.T) {
	w := newWorld(t, 1)
	p := w.plan(config(t, oneGroup), w.log, nil, 0)
	w.settle(p)
	before := len(w.entries(schemas.StreamNotify))
	w.now = w.now.Add(23 * time.Hour)
	for range 3 {
		if _, err := p.Step(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(w.entries(schemas.StreamNotify)); n != before {
		t.Errorf("%d messages, want %d before a day has passed", n, before)
	}
	w.now = w.now.Add(2 * time.Hour)
	for range 3 {
		if _, err := p.Step(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(w.entries(schemas.StreamNotify)); n != before+1 {
		t.Errorf("%d messages, want one more than %d after a day", n, before)
	}
}
