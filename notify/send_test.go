package notify_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

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
			for _, item := range q.kept { // whole, so that it can be given back
				var n schemas.Notification
				if err := schemas.DecodeInto(item.Data, &n); err != nil || n.ID != "a" || item.Stage != schemas.StageSend {
					t.Errorf("quarantined %+v, %v", item, err)
				}
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
	fine := receiver(func(context.Context, schemas.Notification) (string, error) { return "", nil })
	for name, harm := range map[string]func(w *world){
		"NOTIFY rewound": func(w *world) { w.log.Rewind(schemas.StreamNotify, 1) },
		"NOTIFY rewound, and longer again": func(w *world) {
			w.log.Rewind(schemas.StreamNotify, 1)
			w.put("notify.team", schemas.TypeNotification, schemas.Notification{ID: "b"})
			w.put("notify.team", schemas.TypeNotification, schemas.Notification{ID: "c"})
		},
		"NOTIFY made again": func(w *world) {
			w.log.Recreate(schemas.StreamNotify)
			for range 5 {
				w.put("notify.team", schemas.TypeNotification, schemas.Notification{ID: "b"})
			}
		},
		"DELIVERIES emptied": func(w *world) { w.log.Recreate(schemas.StreamDeliveries) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 1)
			w.put("notify.team", schemas.TypeNotification, schemas.Notification{ID: "a"})
			w.settle(w.send(w.log, fine, &quarantine{}, nil, nil))
			harm(w)
			if _, err := w.send(w.log, fine, &quarantine{}, nil, nil).Step(t.Context()); !fence.IsIncident(err) {
				t.Errorf("got %v, want an incident", err)
			}
		})
	}
}
