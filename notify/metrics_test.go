package notify_test

import (
	"context"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/dermai/millrace/notify"
	"github.com/dermai/millrace/schemas"
)

// TestMetrics counts what one planner and one sender did.
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
