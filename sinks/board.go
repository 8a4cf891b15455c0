package sinks

import (
	"cmp"

	"github.com/dermai/millrace/schemas"
)

// Board is what one evaluator shows. It implements stages.Board.
type Board struct {
	p      *Prometheus
	class  schemas.Class
	alerts map[string]level // by instance and group
}

// level is what alerts are counted by.
type level struct {
	labels [4]string // alertname, severity, class and state
	shadow bool
}

// Board makes the board of an evaluator.
func (p *Prometheus) Board(class schemas.Class) *Board {
	return &Board{p: p, class: class, alerts: map[string]level{}}
}

// Show begins to show.
func (b *Board) Show(alerts []schemas.Transition) {
	b.Hide()
	b.Change(alerts)
}

// Change enters what a stored decision changed.
func (b *Board) Change(made []schemas.Transition) {
	for i := range made {
		t := &made[i]
		key := t.Instance + "|" + t.Group
		if old, ok := b.alerts[key]; ok {
			b.p.move(old, -1)
			delete(b.alerts, key)
		}
		if t.To == schemas.Inactive {
			continue
		}
		is := level{[4]string{
			b.p.among(b.p.rules, maxRules, t.Rule), listed(severities, cmp.Or(t.Labels["severity"], Other)), string(b.class), string(t.To),
		}, t.Shadow}
		b.alerts[key] = is
		b.p.move(is, 1)
	}
}

// Hide ends it.
func (b *Board) Hide() {
	for _, was := range b.alerts {
		b.p.move(was, -1)
	}
	clear(b.alerts)
}

// move adds to the number of alerts that are counted alike. What is none is not
// shown.
func (p *Prometheus) move(is level, by int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	gauge := p.alerts
	if is.shadow {
		gauge = p.shadows
	}
	p.levels[is] += by
	if n := p.levels[is]; n > 0 {
		gauge.WithLabelValues(is.labels[:]...).Set(float64(n))
		return
	}
	delete(p.levels, is)
	gauge.DeleteLabelValues(is.labels[:]...)
}
