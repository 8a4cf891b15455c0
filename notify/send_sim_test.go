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
