package main

import (
	"fmt"
	"slices"

	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/notify"
	"github.com/dermai/millrace/schemas"
)

// notified lets the processes that were started last plan and tell all that is decided, or
// end, and compares what was ever planned and told with what a planner plans that lost
// nothing: nothing else, nothing twice but as recorded, and everything unless they ended.
func (l *losing) notified() error {
	end := len(l.tellers) - 1
	var alive []*actor
	for i, t := range l.tellers {
		t.active = i == end
	}
	for _, a := range l.actors[len(l.actors)-4:] {
		if a.what == "a planner" || a.what == "a sender" {
			alive = append(alive, a)
		}
	}
	for range 70 {
		l.broker.now += 10 * unit
		for range 12 {
			for _, a := range alive {
				l.step(a)
			}
		}
	}
	planned, err := l.plans()
	if err != nil {
		return err
	}
	done, ambiguous := map[string]bool{}, map[string]int{}
	var ranges []schemas.Delivery
	each(l.whole(schemas.StreamDeliveries), schemas.TypeDelivery, func(_ fence.Entry, d schemas.Delivery) {
		switch d.Outcome {
		case schemas.DeliveryDelivered, schemas.DeliveryRejected:
			if done[d.Notification] = true; d.From > 0 {
				ranges = append(ranges, d)
			}
		case schemas.DeliveryAmbiguous:
			ambiguous[d.Notification]++
		}
	})
	again := 0
	if l.name == schemas.StreamDeliveries { // what is not recorded any more is told again, under its id
		again = len(l.tellers)
	}
	for id, n := range l.told {
		if n > 1+ambiguous[id]+again {
			return fmt.Errorf("told: %s arrived %d times, with %d ambiguous attempts on record", id, n, ambiguous[id])
		}
		if !planned[id] && !done[id] && again == 0 {
			return fmt.Errorf("told: %s arrived, and nobody planned it", id)
		}
	}
	missing := planned
	if slices.ContainsFunc(alive, func(a *actor) bool { return a.err != nil }) {
		clear(missing) // which an operator sees to
	}
	each(l.whole(schemas.StreamNotify), schemas.TypeNotification, func(e fence.Entry, n schemas.Notification) {
		for _, d := range ranges {
			if d.From <= e.Seq && e.Seq <= d.Seq {
				delete(missing, n.ID)
			}
		}
		if done[n.ID] {
			delete(missing, n.ID)
		}
	})
	for id := range missing {
		return fmt.Errorf("told: %s is planned, and was never told", id)
	}
	return nil
}

// plans gives what a planner plans of all that was ever decided, and checks that nobody
// has planned anything else.
func (l *losing) plans() (map[string]bool, error) {
	planner, err := notify.NewPlanner(team, routes(), deployment.Tick)
	must(err)
	planner.Pass(l.since(schemas.StreamNotify))
	want, whole := map[string]bool{}, int64(0) // the last tick that was decided to its end before
	if l.name == schemas.StreamAlerts {
		each(l.old, schemas.TypeDecision, func(_ fence.Entry, d schemas.Decision) {
			if d.Done {
				whole = d.Tick
			}
		})
	}
	for i, e := range l.whole(schemas.StreamAlerts) {
		if e.Header[schemas.HeaderType] != schemas.TypeDecision || uint64(i) < planner.Seq() {
			continue
		}
		var d schemas.Decision
		must(schemas.DecodeInto(e.Data, &d))
		if l.name == schemas.StreamAlerts && i >= l.kept && (i < len(l.old)) == (d.Tick > whole) {
			continue // decided again, or going to be
		}
		for _, n := range planner.Feed(uint64(i)+1, &d) {
			want[n.ID] = true
		}
	}
	each(l.whole(schemas.StreamNotify), schemas.TypeNotification, func(e fence.Entry, n schemas.Notification) {
		if !want[n.ID] {
			err = fmt.Errorf("planned: notification %d, %s, follows from nothing that was decided", e.Seq, n.ID)
		}
	})
	return want, err
}

// since is the message of ALERTS that the receiver began behind.
func (l *losing) since(name string) (seq uint64) {
	for _, e := range l.whole(name) {
		if e.Header[schemas.HeaderType] == schemas.TypeClaim {
			_, err := fmt.Sscanf(e.Header[schemas.HeaderCovers], "%d,", &seq)
			must(err)
			return seq
		}
	}
	return 0
}

// each decodes the messages of a type.
func each[T any](entries []fence.Entry, kind string, fn func(fence.Entry, T)) {
	for _, e := range entries {
		if e.Header[schemas.HeaderType] == kind {
			var v T
			must(schemas.DecodeInto(e.Data, &v))
			fn(e, v)
		}
	}
}
