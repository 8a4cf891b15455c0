package app

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/pipeline"
	"github.com/dermai/millrace/schemas"
)

// alertsCommand groups what is about alerts.
type alertsCommand struct {
	Ls   alertsLs   `cmd:"" help:"List the alerts that are pending or firing."`
	Show alertsShow `cmd:"" help:"Show what became of an alert: its changes, their evidence, and who was told."`
}

// alertsLs lists alerts by what ALERTS says of them.
type alertsLs struct {
	All    bool `help:"List those that are over, too."`
	Shadow bool `help:"List those of rules in shadow, of which nobody is told."`
}

func (c *alertsLs) Run(ctx context.Context, s *session) error {
	conn, err := s.connect(ctx, "millrace alerts", nil, nil)
	if err != nil {
		return err
	}
	defer conn.Close()
	log := conn.Log()
	defer log.Close()
	last := map[string]schemas.Transition{}
	err = scanAs(ctx, log, schemas.StreamAlerts, "alerts.", schemas.TypeDecision, func(_ fence.Entry, d *schemas.Decision) error {
		for _, t := range d.Transitions {
			last[t.Alert] = t
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := s.out.header("STATE", "SINCE", "ALERT", "VALUE", "SUMMARY"); err != nil {
		return err
	}
	byAlert := func(a, b schemas.Transition) int {
		return cmp.Or(cmp.Compare(a.Rule, b.Rule), cmp.Compare(a.Alert, b.Alert))
	}
	for _, t := range slices.SortedFunc(maps.Values(last), byAlert) {
		if t.To == schemas.Inactive && !c.All || t.Shadow != c.Shadow {
			continue
		}
		if err := s.out.print(t, string(t.To), clock(t.Time), t.Alert, valueText(t.Value), summary(&t)); err != nil {
			return err
		}
	}
	return nil
}

// alertsShow shows an alert's history.
type alertsShow struct {
	Alert string `arg:"" help:"As alerts ls shows it, or the name of a rule for all its alerts."`
}

func (c *alertsShow) Run(ctx context.Context, s *session) error {
	conn, err := s.connect(ctx, "millrace alerts", nil, nil)
	if err != nil {
		return err
	}
	defer conn.Close()
	log := conn.Log()
	defer log.Close()

	found := false
	err = scanAs(ctx, log, schemas.StreamAlerts, "alerts.", schemas.TypeDecision, func(_ fence.Entry, d *schemas.Decision) error {
		for _, t := range d.Transitions {
			if t.Alert != c.Alert && t.Rule != c.Alert {
				continue
			}
			found = true
			if err := s.printChange(&t); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if !found {
		return findingsError(fmt.Sprintf("there is no change of %s; millrace alerts ls --all lists the alerts", c.Alert))
	}
	return c.told(ctx, s, log)
}

// printChange prints a change of an alert and its evidence.
func (s *session) printChange(t *schemas.Transition) error {
	if err := s.printTransition(*t); err != nil || s.out.json {
		return err
	}
	for _, e := range t.Evidence {
		where := fmt.Sprintf("%s %d/%d", e.Partition.Stream(), e.Seq, e.Index)
		cells := []any{"", "  evidence", clock(e.Time), where, e.ID}
		for _, name := range slices.Sorted(maps.Keys(e.Fields)) {
			cells = append(cells, name+"="+e.Fields[name])
		}
		if err := s.out.print(nil, cells...); err != nil {
			return err
		}
	}
	return nil
}

// told prints the notifications that tell of the alert, each with its outcome.
func (c *alertsShow) told(ctx context.Context, s *session, log *pipeline.Log) error {
	last := map[string]schemas.Delivery{}               // by notification
	digests := map[string]map[uint64]schemas.Delivery{} // by receiver and first notification
	err := scanAs(ctx, log, schemas.StreamDeliveries, "deliveries.", schemas.TypeDelivery, func(e fence.Entry, d *schemas.Delivery) error {
		last[d.Notification] = *d
		if d.From > 0 {
			receiver := strings.TrimPrefix(e.Subject, "deliveries.")
			if digests[receiver] == nil {
				digests[receiver] = map[uint64]schemas.Delivery{}
			}
			digests[receiver][d.From] = *d
		}
		return nil
	})
	if err != nil {
		return err
	}
	return scanAs(ctx, log, schemas.StreamNotify, "notify.", schemas.TypeNotification, func(e fence.Entry, n *schemas.Notification) error {
		if !slices.ContainsFunc(n.Alerts, func(a schemas.Alert) bool { return a.Alert == c.Alert || a.Rule == c.Alert }) {
			return nil
		}
		d, ok := last[n.ID]
		if !ok {
			d.Outcome = "waiting"
		}
		for _, digest := range digests[n.Receiver] {
			if digest.From <= e.Seq && e.Seq <= digest.Seq {
				d = digest
			}
		}
		if d.From > 0 {
			d.Outcome += " in a digest"
		}
		t := toldOf{Notification: n.ID, Receiver: n.Receiver, Time: n.Time, Status: n.Status, Reason: n.Reason, Outcome: d.Outcome, Attempts: d.Attempt, Detail: d.Detail}
		attempts := ""
		if d.Attempt > 1 {
			attempts = plural(d.Attempt, "attempt")
		}
		return s.out.print(t, clock(n.Time), "told "+n.Receiver, n.Status+" ("+n.Reason+")", d.Outcome, attempts, d.Detail)
	})
}

// toldOf is a notification about an alert as JSON.
type toldOf struct {
	Notification string `json:"notification"`
	Receiver     string `json:"receiver"`
	Time         int64  `json:"time"`
	Status       string `json:"status"`
	Reason       string `json:"reason"`
	Outcome      string `json:"outcome"` // waiting, or as schemas.Delivery, perhaps "in a digest"
	Attempts     int    `json:"attempts"`
	Detail       string `json:"detail,omitempty"`
}
