package notify_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/notify"
	"github.com/dermai/millrace/schemas"
)

// answer is an error as receivers give it.
type answer struct {
	permanent, ambiguous bool
	after                time.Duration
}

func (a answer) Error() string             { return fmt.Sprintf("answer %v", a.permanent) }
func (a answer) Permanent() bool           { return a.permanent }
func (a answer) Ambiguous() bool           { return a.ambiguous }
func (a answer) RetryAfter() time.Duration { return a.after }

// receiver is a function.
type receiver func(ctx context.Context, n schemas.Notification) (string, error)

func (f receiver) Send(ctx context.Context, n schemas.Notification) (string, error) { return f(ctx, n) }

// quarantine keeps what it is given.
type quarantine struct {
	fail func() bool
	kept map[string]schemas.Quarantined
}

func (q *quarantine) Put(_ context.Context, item schemas.Quarantined) error {
	if q.fail != nil && q.fail() {
		return errors.New("quarantine is full")
	}
	if q.kept == nil {
		q.kept = map[string]schemas.Quarantined{}
	}
	q.kept[item.ID] = item
	return nil
}

func (w *world) send(log fence.Log, r notify.Receiver, q notify.Quarantine, active func() bool, m *notify.Metrics) *notify.Send {
	w.t.Helper()
	s, err := notify.NewSend(notify.SendConfig{
		Name: "team", Receiver: r, Log: log, Claims: w.claim, Quarantine: q, Clock: w.clock,
		Rand: w.rng.Float64, Active: active, Metrics: m,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

// dying is the log as a process sees it that dies in the middle of something.
type dying struct {
	fence.Log
	dead bool
}

func (d *dying) Append(ctx context.Context, m fence.Message, prev uint64) (uint64, error) {
	if d.dead {
		return 0, fence.ErrUnknown
	}
	return d.Log.Append(ctx, m, prev)
}

func (d *dying) Head(ctx context.Context, subject string) (fence.Entry, error) {
	if d.dead {
		return fence.Entry{}, errors.New("dead")
	}
	return d.Log.Head(ctx, subject)
}

// sending is a simulation of two senders of one receiver.
type sending struct {
	*world
	logs    []*dying
	senders []*notify.Send
	active  int
	inside  int // calls of Send that have not returned
	effects map[string]int
	order   []string // of first effects
	poison  map[string]bool
	q       *quarantine
	crashes int
	zombies int
}

func (s *sending) start(i int) {
	s.logs[i] = &dying{Log: s.log}
	s.senders[i] = s.world.send(s.logs[i], receiver(s.receive), s.q, func() bool { return i == s.active }, nil)
}

// receive is the other side: it does something with the notification, or not,
// and says so, or not.
func (s *sending) receive(_ context.Context, n schemas.Notification) (string, error) {
	s.inside++
	defer func() { s.inside-- }()
	if s.inside == 1 && s.rng.Float64() < s.faults/2 {
		// This process is paused; the other one takes over meanwhile.
		s.zombies++
		s.active = 1 - s.active
		for range s.rng.IntN(30) {
			s.step(s.active)
			s.now = s.now.Add(time.Minute)
		}
	}
	if s.poison[n.ID] {
		return "", answer{permanent: true}
	}
	dice := s.rng.Float64() / s.faults
	switch {
	case dice < 0.3: // not now
		return "", answer{after: time.Second}
	case dice < 0.4: // never arrived
		return "", answer{ambiguous: true}
	case dice < 0.45: // an error that says nothing
		return "", errors.New("\xff")
	}
	if s.effects[n.ID]++; s.effects[n.ID] == 1 {
		s.order = append(s.order, n.ID)
	}
	switch {
	case dice < 0.6: // arrived, but the answer is lost
		return "", answer{ambiguous: true}
	case dice < 0.8 && s.inside == 1: // arrived, and the process dies
		s.logs[s.active].dead = true
	}
	return "ref", nil
}

func (s *sending) step(i int) {
	s.t.Helper()
	if _, err := s.senders[i].Step(s.t.Context()); fence.IsIncident(err) {
		s.t.Fatal(err)
	}
	if s.logs[i].dead && s.inside == 0 {
		s.crashes++
		s.start(i)
	}
}

// TestSendSurvives checks promise 4 with two senders that crash, freeze and
// lose answers.
func TestSendSurvives(t *testing.T) {
	met, extra, crashes, zombies := 0, 0, 0, 0
	for seed := range uint64(200) {
		w := newWorld(t, seed)
		s := &sending{
			world: w, logs: make([]*dying, 2), senders: make([]*notify.Send, 2),
			effects: map[string]int{}, poison: map[string]bool{}, q: &quarantine{},
		}
		s.q.fail = func() bool { return w.rng.Float64() < w.faults }
		w.faults = 0.01 + 0.3*w.rng.Float64()
		s.start(0)
		s.start(1)
		var sent []string
		for range 200 {
			switch dice := w.rng.Float64(); {
			case dice < 0.1:
				id := fmt.Sprintf("%032x", len(sent)+1)
				sent = append(sent, id)
				s.poison[id] = w.rng.Float64() < 0.1
				w.put("notify.team", schemas.TypeNotification, schemas.Notification{ID: id, Receiver: "team"})
			case dice < 0.15:
				w.put("notify.other", schemas.TypeNotification, schemas.Notification{ID: "other"})
			case dice < 0.17:
				w.put("notify.team", schemas.TypeCheckpoint, schemas.CheckpointPart{Part: 1, Of: 1})
			case dice < 0.19:
				s.active = 1 - s.active
			case dice < 0.21:
				s.crashes++
				s.start(w.rng.IntN(2))
			case dice < 0.25:
				w.deliver()
			default:
				s.step(w.rng.IntN(2))
				w.now = w.now.Add(time.Duration(w.rng.IntN(60)) * time.Second)
			}
		}
		w.faults = 1e-9
		for w.log.Delayed() > 0 {
			w.log.Deliver(0)
		}
		w.settle(s.senders[s.active])
		extra += s.check(seed, sent)
		met, crashes, zombies = met+w.met, crashes+s.crashes, zombies+s.zombies
	}
	if met < 500 || extra < 50 || crashes < 200 || zombies < 100 {
		t.Errorf("%d faults, %d extra sends, %d crashes, %d zombies: the test tests too little", met, extra, crashes, zombies)
	}
}

// check compares what the receiver saw with what is recorded.
func (s *sending) check(seed uint64, sent []string) (extra int) {
	s.t.Helper()
	ambiguous, attempts, open := map[string]int{}, map[string]int{}, false
	var ended []string
	for _, d := range stored[schemas.Delivery](s.world, "deliveries.team", schemas.TypeDelivery) {
		id := d.Notification
		switch d.Outcome {
		case schemas.DeliveryStarted:
			if attempts[id]++; d.Attempt != attempts[id] || open {
				s.t.Errorf("seed %d: attempt %d of %s started as number %d", seed, attempts[id], id, d.Attempt)
			}
			open = true
			continue
		case schemas.DeliveryAmbiguous:
			ambiguous[id]++
		case schemas.DeliveryDelivered:
			ended = append(ended, id)
			if s.effects[id] == 0 {
				s.t.Errorf("seed %d: %s is recorded as delivered, and never arrived", seed, id)
			}
		case schemas.DeliveryRejected:
			ended = append(ended, id)
			if s.q.kept[id].ID != id {
				s.t.Errorf("seed %d: %s is rejected, and not in quarantine", seed, id)
			}
		}
		if !open || d.Attempt != attempts[id] {
			s.t.Errorf("seed %d: %s of attempt %d of %s, which is not open", seed, d.Outcome, d.Attempt, id)
		}
		open = false
	}
	if diff := cmp.Diff(sent, ended); diff != "" {
		s.t.Errorf("seed %d: ended (-sent +ended):\n%s", seed, diff)
	}
	for _, id := range sent {
		n := s.effects[id]
		if !s.poison[id] && n == 0 {
			s.t.Errorf("seed %d: %s never arrived", seed, id)
		}
		if n > 1+ambiguous[id] {
			s.t.Errorf("seed %d: %s arrived %d times, with %d ambiguous attempts", seed, id, n, ambiguous[id])
		}
		extra += max(0, n-1)
	}
	if !slices.IsSorted(s.order) {
		s.t.Errorf("seed %d: arrived in the order %v", seed, s.order)
	}
	return extra
}

// TestSendOutcomes shows the record of each kind of answer, and when the next
// attempt is made.
func TestSendOutcomes(t *testing.T) {
	ok := error(nil)
	for name, c := range map[string]struct {
		answers []error
		panics  bool
		want    string
		waits   []time.Duration // least and most before the second attempt
	}{
		"delivered": {answers: []error{ok}, want: "1 started, 1 delivered ref"},
		"not now": {answers: []error{answer{}, ok}, want: "1 started, 1 retry answer false, 2 started, 2 delivered ref",
			waits: []time.Duration{500 * time.Millisecond, time.Second}},
		"later": {answers: []error{answer{after: 90 * time.Second}, ok}, want: "1 started, 1 retry answer false, 2 started, 2 delivered ref",
			waits: []time.Duration{90 * time.Second, 90 * time.Second}},
		"much later": {answers: []error{answer{after: 1e6 * time.Hour}, ok}, want: "1 started, 1 retry answer false, 2 started, 2 delivered ref",
			waits: []time.Duration{time.Hour, time.Hour}},
		"no answer":      {answers: []error{answer{ambiguous: true}, ok}, want: "1 started, 1 ambiguous answer false, 2 started, 2 delivered ref"},
		"unknown error":  {answers: []error{errors.New("x\xff"), ok}, want: "1 started, 1 ambiguous x\uFFFD, 2 started, 2 delivered ref"},
		"never":          {answers: []error{answer{permanent: true, ambiguous: true}}, want: "1 started, 1 rejected answer true"},
		"wrapped":        {answers: []error{fmt.Errorf("post: %w", answer{permanent: true})}, want: "1 started, 1 rejected post: answer true"},
		"panic":          {panics: true, want: "1 started, 1 rejected the receiver panicked with a string"},
		"very long text": {answers: []error{errors.New(strings.Repeat("x", 5000)), ok}, want: "1 started, 1 ambiguous " + strings.Repeat("x", 1021) + "..., 2 started, 2 delivered ref"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 1)
			var calls []time.Time
			r := receiver(func(_ context.Context, n schemas.Notification) (string, error) {
				calls = append(calls, w.now)
				if c.panics {
					panic("with a secret")
				}
				if err := c.answers[len(calls)-1]; err != nil {
					return "", err
				}
				return "ref", nil
			})
			q := &quarantine{}
			s := w.send(w.log, r, q, nil, nil)
			w.put("notify.team", schemas.TypeNotification, schemas.Notification{ID: "a"})
			for range 2000 {
				if _, err := s.Step(t.Context()); err != nil {
					t.Fatal(err)
				}
				w.now = w.now.Add(2 * time.Second)
				if len(calls) == 1 && len(c.waits) > 0 && c.waits[0] < 10*time.Second {
					w.now = w.now.Add(-1950 * time.Millisecond)
				}
			}
			var got []string
			for _, d := range stored[schemas.Delivery](w, "deliveries.team", schemas.TypeDelivery) {
				got = append(got, strings.TrimSpace(fmt.Sprintf("%d %s %s%s", d.Attempt, d.Outcome, d.Detail, d.Reference)))
			}
			if diff := cmp.Diff(c.want, strings.Join(got, ", ")); diff != "" {
				t.Errorf("recorded (-want +got):\n%s", diff)
			}
			if rejected := strings.Contains(c.want, "rejected"); rejected != (len(q.kept) == 1) {
				t.Errorf("%d in quarantine", len(q.kept))
			}
			if c.waits != nil {
				if waited := calls[1].Sub(calls[0]); waited < c.waits[0] || waited > c.waits[1]+4*time.Second {
					t.Errorf("waited %v, want %v to %v", waited, c.waits[0], c.waits[1])
				}
			}
		})
	}
}

// TestSendBackoff grows to its limit and spreads.
func TestSendBackoff(t *testing.T) {
	w := newWorld(t, 1)
	var calls []time.Time
	s := w.send(w.log, receiver(func(context.Context, schemas.Notification) (string, error) {
		calls = append(calls, w.now)
		return "", answer{}
	}), &quarantine{}, nil, nil)
	w.put("notify.team", schemas.TypeNotification, schemas.Notification{ID: "a"})
	for len(calls) < 15 {
		if _, err := s.Step(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.now = w.now.Add(50 * time.Millisecond)
	}
	for i := range 14 {
		most := min(time.Second<<i, 5*time.Minute)
		if waited := calls[i+1].Sub(calls[i]); waited < most/2 || waited > most+200*time.Millisecond {
			t.Errorf("after attempt %d: waited %v, want %v to %v", i+1, waited, most/2, most)
		}
	}
}

// TestSendFinishesItsAttempt stops the machine in the middle of a send.
func TestSendFinishesItsAttempt(t *testing.T) {
	w := newWorld(t, 1)
	ctx, cancel := context.WithCancel(t.Context())
	s := w.send(w.log, receiver(func(inner context.Context, _ schemas.Notification) (string, error) {
		cancel()
		return "ref", inner.Err()
	}), &quarantine{}, nil, nil)
	w.put("notify.team", schemas.TypeNotification, schemas.Notification{ID: "a"})
	for ctx.Err() == nil {
		if _, err := s.Step(ctx); err != nil {
			t.Fatal(err)
		}
	}
	got := stored[schemas.Delivery](w, "deliveries.team", schemas.TypeDelivery)
	if n := len(got); n != 2 || got[1].Outcome != schemas.DeliveryDelivered {
		t.Errorf("recorded %v", got)
	}
}

// TestSendUnreadable takes a notification that is none out of the way.
func TestSendUnreadable(t *testing.T) {
	w := newWorld(t, 1)
	w.log.Put(fence.Message{Subject: "notify.team", Header: fence.Header{schemas.HeaderType: schemas.TypeNotification}, Data: []byte("{no")})
	w.put("notify.team", schemas.TypeNotification, schemas.Notification{ID: "b"})
	var arrived []string
	q := &quarantine{}
	w.settle(w.send(w.log, receiver(func(_ context.Context, n schemas.Notification) (string, error) {
		arrived = append(arrived, n.ID)
		return "", nil
	}), q, nil, nil))
	if diff := cmp.Diff([]string{"b"}, arrived); diff != "" {
		t.Errorf("arrived (-want +got):\n%s", diff)
	}
	if got := q.kept["NOTIFY/2"]; string(got.Data) != "{no" || got.Seq != 2 || got.Stage != "send" {
		t.Errorf("quarantined %+v", q.kept)
	}
}

// TestSendExpired: NOTIFY forgot what was being tried.
func TestSendExpired(t *testing.T) {
	w := newWorld(t, 1)
	w.put("notify.team", schemas.TypeNotification, schemas.Notification{ID: "a"})
	down := receiver(func(context.Context, schemas.Notification) (string, error) { return "", answer{} })
	s := w.send(w.log, down, &quarantine{}, nil, nil)
	for range 10 {
		if _, err := s.Step(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	w.put("notify.team", schemas.TypeNotification, schemas.Notification{ID: "b"})
	if err := w.log.Trim(t.Context(), schemas.StreamNotify, "", 3); err != nil {
		t.Fatal(err)
	}
	var arrived []string
	m := notify.NewMetrics(nil)
	w.settle(w.send(w.log, receiver(func(_ context.Context, n schemas.Notification) (string, error) {
		arrived = append(arrived, n.ID)
		return "", nil
	}), &quarantine{}, nil, m))
	if diff := cmp.Diff([]string{"b"}, arrived); diff != "" {
		t.Errorf("arrived (-want +got):\n%s", diff)
	}
}

// TestSendIncidents breaks what the log has promised.
func TestSendIncidents(t *testing.T) {
	w := newWorld(t, 1)
	w.put("notify.team", schemas.TypeNotification, schemas.Notification{ID: "a"})
	fine := receiver(func(context.Context, schemas.Notification) (string, error) { return "", nil })
	w.settle(w.send(w.log, fine, &quarantine{}, nil, nil))
	w.log.Rewind(schemas.StreamNotify, 1)
	if _, err := w.send(w.log, fine, &quarantine{}, nil, nil).Step(t.Context()); !fence.IsIncident(err) {
		t.Errorf("NOTIFY rewound: %v", err)
	}
	w.log.Recreate(schemas.StreamDeliveries)
	if _, err := w.send(w.log, fine, &quarantine{}, nil, nil).Step(t.Context()); !fence.IsIncident(err) {
		t.Errorf("DELIVERIES emptied: %v", err)
	}
}

func TestMetrics(t *testing.T) {
	w := newWorld(t, 1)
	reg := prometheus.NewPedanticRegistry()
	m := notify.NewMetrics(reg)
	p, err := notify.NewPlan(notify.PlanConfig{
		Receiver: "team", Config: config(t, "receivers: [{name: team, console: {}}]\nroute: {receiver: team}"), Tick: time.Second,
		Log: w.log, Claims: w.claim, Clock: w.clock, Metrics: m,
	})
	if err != nil {
		t.Fatal(err)
	}
	w.settle(p)
	tick := w.now.Unix() + 36000
	for i, change := range []string{"fire", "end"} {
		at := tick + int64(i)*100
		w.put("alerts.telemetry", schemas.TypeDecision, schemas.Decision{Class: schemas.Telemetry, Tick: at, Done: true,
			Transitions: []schemas.Transition{transition(at, change, "R", "1", nil)}})
	}
	w.settle(p)
	answers := []error{answer{}, answer{ambiguous: true}, nil, answer{permanent: true}}
	rng := rand.New(rand.NewPCG(1, 1))
	s, err := notify.NewSend(notify.SendConfig{
		Name: "team", Log: w.log, Claims: w.claim, Clock: w.clock, Rand: rng.Float64, Quarantine: &quarantine{}, Metrics: m,
		Receiver: receiver(func(context.Context, schemas.Notification) (string, error) {
			err := answers[0]
			answers = answers[1:]
			return "", err
		}),
	})
	if err != nil {
		t.Fatal(err)
	}
	w.settle(s)
	want := `# HELP millrace_notification_attempts_total Attempts to deliver by outcome: delivered, retry, ambiguous, rejected.
# TYPE millrace_notification_attempts_total counter
millrace_notification_attempts_total{outcome="ambiguous",receiver="team"} 1
millrace_notification_attempts_total{outcome="delivered",receiver="team"} 1
millrace_notification_attempts_total{outcome="rejected",receiver="team"} 1
millrace_notification_attempts_total{outcome="retry",receiver="team"} 1
# HELP millrace_notifications_planned_total Notifications appended to NOTIFY.
# TYPE millrace_notifications_planned_total counter
millrace_notifications_planned_total{reason="new",receiver="team"} 1
millrace_notifications_planned_total{reason="resolved",receiver="team"} 1
`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "millrace_notification_attempts_total", "millrace_notifications_planned_total"); err != nil {
		t.Error(err)
	}
	if n, err := testutil.GatherAndCount(reg, "millrace_notification_latency_seconds", "millrace_notification_send_seconds"); n != 2 || err != nil {
		t.Errorf("%d histograms, %v", n, err)
	}
}
