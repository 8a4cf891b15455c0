package notify_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/dermai/millrace/notify"
	"github.com/dermai/millrace/schemas"
)

// TestStorm lets 10,000 groups fire at once: all are planned, the receiver gets
// five messages in any minute, and every notification is in one of them.
func TestStorm(t *testing.T) {
	const groups = 10_000
	w := newWorld(t, 1)
	cfg := config(t, "receivers: [{name: team, console: {}}]\nroute: {receiver: team}")
	p := w.plan(cfg, w.log, nil, 0)
	w.settle(p)
	for i := range 10 {
		d := schemas.Decision{Class: schemas.Telemetry, Tick: 100, Done: i == 9}
		for j := range groups / 10 {
			d.Transitions = append(d.Transitions, transition(100, "fire", fmt.Sprint("R", j%13), "1", map[string]string{"n": fmt.Sprint(i, "-", j)}))
		}
		w.put("alerts.telemetry", schemas.TypeDecision, d)
	}
	w.settle(p)
	planned := map[uint64]bool{}
	for _, e := range w.entries(schemas.StreamNotify) {
		if e.Header[schemas.HeaderType] == schemas.TypeNotification {
			planned[e.Seq] = true
		}
	}
	if len(planned) != groups {
		t.Fatalf("%d notifications are in NOTIFY, want %d", len(planned), groups)
	}

	var calls []time.Time
	var digest schemas.Notification
	s, err := notify.NewSend(notify.SendConfig{
		Name: "team", Log: w.log, Claims: w.claim, Clock: w.clock, Rand: w.rng.Float64, Quarantine: &quarantine{},
		PerMinute: cfg.PerMinute("team"),
		Receiver: receiver(func(_ context.Context, n schemas.Notification) (string, error) {
			if calls = append(calls, w.now); n.Reason == "digest" {
				digest = n
			}
			return "", nil
		}),
	})
	if err != nil {
		t.Fatal(err)
	}
	for range 1000 {
		if _, err := s.Step(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.now = w.now.Add(20 * time.Millisecond)
	}
	if len(calls) != notify.DefaultPerMinute {
		t.Errorf("%d messages, want %d", len(calls), notify.DefaultPerMinute)
	}
	told := map[uint64]int{}
	for _, d := range stored[schemas.Delivery](w, "deliveries.team", schemas.TypeDelivery) {
		if d.Outcome != schemas.DeliveryDelivered {
			continue
		}
		if d.From == 0 {
			d.From = d.Seq
		}
		for seq := d.From; seq <= d.Seq; seq++ {
			if planned[seq] {
				told[seq]++
			}
		}
	}
	for seq := range planned {
		if told[seq] != 1 {
			t.Fatalf("notification %d is in %d messages", seq, told[seq])
		}
	}
	sum := digest.Digest
	if sum == nil || sum.Notifications != groups-4 || sum.Firing != groups-4 || sum.Resolved != 0 || len(sum.Rules) != 10 || sum.OtherRules != 3 {
		t.Errorf("the digest sums up as %s", asJSON(t, sum))
	}
	if digest.Status != "firing" || len(digest.Alerts) != notify.MaxAlerts || digest.Truncated != groups-4-notify.MaxAlerts {
		t.Errorf("%s, %d alerts listed, %d left out", digest.Status, len(digest.Alerts), digest.Truncated)
	}
}
