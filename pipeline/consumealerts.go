package pipeline

import (
	"context"
	"errors"
	"fmt"

	"github.com/dermai/millrace/schemas"
)

// AlertDelivery is a change of an alert as a handler gets it. It belongs to the
// handler.
type AlertDelivery struct {
	Transition schemas.Transition
	Class      schemas.Class
	Position   Position // Index counts all changes of the decision, the quiet ones too
	Arrival    int64    // when the decision was stored, Unix ns
	Attempt    int      // by this process: 1, 2, 3, ...
	Redriven   int      // times that it was taken out of quarantine for this consumer
}

// AlertHandler is a Handler for changes of alerts.
type AlertHandler func(ctx context.Context, d AlertDelivery) error

// ConsumeAlerts is Consume for the changes of alerts that somebody is notified
// of, or with Subscription.Quiet all of them. Kinds, Services and Where are for
// events. Order is promised within a class, on the terms of Consume.
func ConsumeAlerts(ctx context.Context, s Subscription, h AlertHandler) error {
	s = s.withDefaults()
	if s.Kinds != nil || s.Services != nil || s.Where != nil {
		return fmt.Errorf("consume alerts as %s: %w", s.Name, errors.New("kinds, services and where are for events; choose in the handler"))
	}
	c := &consumption[AlertDelivery]{
		sub: s, most: 1, redrives: "alerts", open: openAlerts, decode: decodeAlert,
		handle: func(ctx context.Context, batch []AlertDelivery) error { return h(ctx, batch[0]) },
		where:  func(d *AlertDelivery) bool { return s.Quiet || !d.Transition.Quiet() },
	}
	if err := c.run(ctx); err != nil {
		return fmt.Errorf("consume alerts as %s: %w", s.Name, err)
	}
	return nil
}

// openAlerts finds the changes of a decision.
func openAlerts(m *held) {
	if m.header.Get(schemas.HeaderType) != schemas.TypeDecision {
		return
	}
	var d schemas.Decision
	if m.bad = schemas.DecodeInto(m.data, &d); m.bad != nil {
		return
	}
	for _, t := range d.Transitions {
		line, err := schemas.Encode(t)
		if err == nil {
			line, err = schemas.Unpack(nil, line, len(m.data)+schemas.FrameDecoded) // for people to read
		}
		if m.bad = err; err != nil {
			return
		}
		m.lines = append(m.lines, line)
	}
}

// decodeAlert reads a change.
func decodeAlert(d *AlertDelivery, it *item) error {
	*d = AlertDelivery{
		Class: schemas.Telemetry, Position: it.position(), Arrival: it.of.arrival,
		Attempt: it.attempts + 1, Redriven: it.of.redriven,
	}
	if it.of.name == schemas.AuditTrail.Alerts() {
		d.Class = schemas.AuditTrail
	}
	return schemas.DecodeInto(it.line, &d.Transition)
}
