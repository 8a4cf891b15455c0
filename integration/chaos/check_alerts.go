package main

import (
	"context"

	"github.com/dermai/millrace/integration/reference"
	"github.com/dermai/millrace/rules/engine/oracle"
	"github.com/dermai/millrace/schemas"
)

// checkTransitions: what was decided is what the naive oracle decides over the
// same stored streams, byte for byte.
func checkTransitions(e *evidence, c *Counts, fault func(string, ...any)) {
	for _, class := range schemas.Classes {
		live, last, err := reference.Decided(context.Background(), e.streams, class)
		if err != nil {
			fault("%s: %v", class, err)
			continue
		}
		want := oracle.Transitions(e.schedule, reference.Events(e.messages[class]), reference.Losses(e.messages[class]), class, last)
		if err := reference.Differ("the oracle", live, want); err != nil {
			fault("%s: %v", class, err)
		}
		c.Transitions += len(live)
		due, there := identities(want), identities(live)
		for id := range due {
			if !there[id] {
				c.Missed++
			}
		}
		for id := range there {
			if !due[id] {
				c.Phantom++
			}
		}
	}
}

// identity of a transition: an alert changes at most once a tick.
type identity struct {
	alert string
	tick  int64
	to    string
}

func identities(list []schemas.Transition) map[identity]bool {
	set := map[identity]bool{}
	for _, t := range list {
		set[identity{t.Alert, t.Tick, string(t.To)}] = true
	}
	return set
}

// checkNotifications: each planned notification was taken by its receiver under
// its id or was refused by it for good and is in quarantine; none was invented, and
// it was sent again only after an attempt that is not recorded as delivered.
func checkNotifications(e *evidence, c *Counts, fault func(string, ...any)) {
	planned, unsure := map[string]bool{}, map[string]int{}
	due := map[string]bool{} // others were planned while everything ended
	for _, n := range e.planned {
		if planned[n.ID] {
			fault("notification %s is planned twice", n.ID)
		}
		planned[n.ID] = true
		due[n.ID] = n.seq <= e.times.Told
	}
	rejected, ends := map[string]bool{}, map[string]int{}
	for _, d := range e.outcomes {
		switch d.Outcome {
		case schemas.DeliveryAmbiguous, schemas.DeliveryRetry:
			unsure[d.Notification]++
		case schemas.DeliveryRejected:
			rejected[d.Notification] = true
			ends[d.Notification]++
		case schemas.DeliveryDelivered:
			ends[d.Notification]++
		}
	}
	quarantined := map[string]bool{}
	for _, q := range e.quarantined {
		quarantined[q.ID] = q.Stage == schemas.StageSend
	}
	sent, taken := map[string]int{}, map[string]int{}
	refused, answered := map[string]bool{}, map[string]bool{}
	for _, t := range e.told {
		if t.ID == "" {
			fault("%s was told something without an id: %.200s", t.Receiver, t.Body)
			continue
		}
		sent[t.ID]++
		if t.Taken {
			taken[t.ID]++
		}
		refused[t.ID] = refused[t.ID] || t.Mode == receiver400
		answered[t.ID] = answered[t.ID] || t.Mode == receiverWell && t.At.Before(e.times.Silence)
	}
	for id := range planned {
		if due[id] && taken[id] == 0 && !(refused[id] && rejected[id] && quarantined[id]) {
			c.Missed++
			fault("notification %s never arrived; refused by its receiver: %t, recorded: %t, in quarantine: %t",
				id, refused[id], rejected[id], quarantined[id])
		}
		if answered[id] && ends[id] == 0 {
			fault("notification %s arrived, and its delivery is not recorded", id)
		}
		if ends[id] > 1 {
			fault("notification %s is recorded as ended %d times", id, ends[id])
		}
		c.Repeats += max(0, sent[id]-1)
		if sent[id] > 1+unsure[id] {
			fault("notification %s was sent %d times, but %d attempts are recorded as unsure or refused", id, sent[id], unsure[id])
		}
		if len(e.fired) == 0 && due[id] && sent[id] != 1 {
			fault("notification %s was sent %d times, though nothing was wrong", id, sent[id])
		}
	}
	for id := range sent {
		if !planned[id] {
			c.Phantom++
			fault("notification %s was sent and never planned", id)
		}
	}
	c.Notifications = len(planned)
}
