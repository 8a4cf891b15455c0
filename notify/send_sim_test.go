package notify_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/notify"
	"github.com/dermai/millrace/schemas"
)

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
	order   []string          // of first effects
	said    map[string]string // what was sent, by ID
	calls   []time.Time       // of attempts that arrived, or may have
	first   map[string]uint64 // sequences of NOTIFY
	limit   int               // messages a minute
	follows int
	digests int
	poison  map[string]bool
	q       *quarantine
	crashes int
	zombies int
}

func (s *sending) start(i int) {
	s.logs[i] = &dying{Log: s.log}
	send, err := notify.NewSend(notify.SendConfig{
		Name: "team", Receiver: followers{s, i}, Log: s.logs[i], Claims: s.claim, Quarantine: s.q, Clock: s.clock,
		Rand: s.rng.Float64, Active: func() bool { return i == s.active }, PerMinute: s.limit,
	})
	if err != nil {
		s.t.Fatal(err)
	}
	s.senders[i] = send
}

// followers is the other side as a notify.Follower. What it calls a notification
// tells which it was.
type followers struct {
	s *sending
	i int // the sender that it answers
}

func (f followers) Send(_ context.Context, n schemas.Notification) (string, error) {
	f.s.t.Helper()
	if n.Thread != n.ID && f.s.inside == 0 && f.s.delivered(n.Thread) {
		f.s.t.Errorf("%s is sent, though its thread %s was delivered", n.ID, n.Thread)
	}
	return f.s.receive(f.i, n)
}

func (f followers) Follow(_ context.Context, n schemas.Notification, first string) (string, error) {
	f.s.t.Helper()
	f.s.follows++
	if first != "ref-"+n.Thread || n.Thread == n.ID {
		f.s.t.Errorf("%s of thread %s follows %s", n.ID, n.Thread, first)
	}
	return f.s.receive(f.i, n)
}

// delivered tells that a notification is recorded as delivered by itself.
func (s *sending) delivered(id string) bool {
	return slices.ContainsFunc(stored[schemas.Delivery](s.world, "deliveries.team", schemas.TypeDelivery), func(d schemas.Delivery) bool {
		return d.Notification == id && d.Outcome == schemas.DeliveryDelivered
	})
}

// next is a notification of one of a few threads; a fourth ends its thread.
func (s *sending) next(i int) schemas.Notification {
	id := func(i int) string { return fmt.Sprintf("%032x", i+1) }
	n := schemas.Notification{ID: id(i), Receiver: "team", Status: "firing", Thread: id(i - i/3%4*3), GroupKey: id(i - i/3%4*3)}
	if i/3%4 == 3 {
		n.Status = "resolved"
	}
	n.Alerts = []schemas.Alert{{Alert: n.GroupKey, Rule: fmt.Sprint("R", i%2), Status: n.Status}}
	return n
}

// receive is the other side: it does something with the notification, or not,
// and says so, or not.
func (s *sending) receive(i int, n schemas.Notification) (string, error) {
	called := s.now
	s.inside++
	defer func() { s.inside-- }()
	if s.inside == 1 && s.rng.Float64() < s.faults/2 {
		// This process is paused; the other one takes over meanwhile.
		s.zombies++
		s.active = 1 - i
		for range s.rng.IntN(30) {
			s.step(1 - i)
			s.now = s.now.Add(time.Minute)
		}
	}
	if text := asJSON(s.t, n); s.said[n.ID] == "" {
		s.said[n.ID] = text
	} else if text != s.said[n.ID] {
		s.t.Errorf("%s says\n%s\nafter\n%s", n.ID, text, s.said[n.ID])
	}
	if n.Reason == "digest" {
		s.digests++
		s.poison[n.ID] = n.ID[0] == '0'
	}
	if s.poison[n.ID] {
		return "", answer{permanent: true}
	}
	dice := s.rng.Float64() / s.faults
	if dice < 0.3 { // not now
		return "", answer{after: time.Second}
	}
	s.calls = append(s.calls, called)
	switch {
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
		s.logs[i].dead = true
	}
	return "ref-" + n.ID, nil
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
	met, extra, crashes, zombies, follows, digests := 0, 0, 0, 0, 0, 0
	for seed := range uint64(200) {
		w := newWorld(t, seed)
		s := &sending{
			world: w, logs: make([]*dying, 2), senders: make([]*notify.Send, 2),
			effects: map[string]int{}, poison: map[string]bool{}, q: &quarantine{},
			said: map[string]string{}, first: map[string]uint64{}, limit: []int{0, 1, 3, 5}[seed%4],
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
				s.first[id] = w.put("notify.team", schemas.TypeNotification, s.next(len(sent)-1))
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
		follows, digests = follows+s.follows, digests+s.digests
	}
	if follows < 100 || digests < 50 {
		t.Errorf("%d follow, %d digests: the test tests too little", follows, digests)
	}
	if met < 500 || extra < 50 || crashes < 200 || zombies < 100 {
		t.Errorf("%d faults, %d extra sends, %d crashes, %d zombies: the test tests too little", met, extra, crashes, zombies)
	}
}

// check compares what the receiver saw with what is recorded.
func (s *sending) check(seed uint64, sent []string) (extra int) {
	s.t.Helper()
	ambiguous, attempts, open := map[string]int{}, map[string]int{}, false
	var ended, told []string // and the notifications in them
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
			ended, told = append(ended, id), append(told, s.covered(d, sent)...)
			if s.effects[id] == 0 {
				s.t.Errorf("seed %d: %s is recorded as delivered, and never arrived", seed, id)
			}
		case schemas.DeliveryRejected:
			ended, told = append(ended, id), append(told, s.covered(d, sent)...)
			if s.q.kept[id].ID != id {
				s.t.Errorf("seed %d: %s is rejected, and not in quarantine", seed, id)
			}
		}
		if !open || d.Attempt != attempts[id] {
			s.t.Errorf("seed %d: %s of attempt %d of %s, which is not open", seed, d.Outcome, d.Attempt, id)
		}
		open = false
	}
	if diff := cmp.Diff(sent, told); diff != "" {
		s.t.Errorf("seed %d: told (-sent +told):\n%s", seed, diff)
	}
	slices.SortFunc(s.calls, time.Time.Compare)
	for i := s.limit; s.limit > 0 && i < len(s.calls); i++ {
		if within := s.calls[i].Sub(s.calls[i-s.limit]); within < time.Minute {
			s.t.Errorf("seed %d: %d messages within %v", seed, s.limit+1, within)
		}
	}
	var arrived []string
	for _, id := range ended {
		if s.effects[id] > 0 {
			arrived = append(arrived, id)
		}
		n := s.effects[id]
		if !s.poison[id] && n == 0 {
			s.t.Errorf("seed %d: %s never arrived", seed, id)
		}
		if n > 1+ambiguous[id] {
			s.t.Errorf("seed %d: %s arrived %d times, with %d ambiguous attempts", seed, id, n, ambiguous[id])
		}
		extra += max(0, n-1)
	}
	if diff := cmp.Diff(arrived, s.order); diff != "" {
		s.t.Errorf("seed %d: arrived in another order (-ended +arrived):\n%s", seed, diff)
	}
	return extra
}

// covered lists the notifications that a delivery is about.
func (s *sending) covered(d schemas.Delivery, sent []string) []string {
	if d.From == 0 {
		return []string{d.Notification}
	}
	var out []string
	for _, id := range sent {
		if d.From <= s.first[id] && s.first[id] <= d.Seq {
			out = append(out, id)
		}
	}
	return out
}
