package sinks

import (
	"cmp"

	"github.com/dermai/millrace/schemas"
)

// Board is what one evaluator shows. It implements stages.Board.
type Board struct {
	p      *Prometheus
	class  schemas.Class
	alerts map[string][4]string // labels, by instance and group
}

// Board makes the board of an evaluator.
func (p *Prometheus) Board(class schemas.Class) *Board {
	return &Board{p: p, class: class, alerts: map[string][4]string{}}
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
		labels := [4]string{
			b.p.among(b.p.rules, maxRules, t.Rule), listed(severities, cmp.Or(t.Labels["severity"], Other)), string(b.class), string(t.To),
		}
		b.alerts[key] = labels
		b.p.move(labels, 1)
	}
}

// Hide ends it.
func (b *Board) Hide() {
	for _, labels := range b.alerts {
		b.p.move(labels, -1)
	}
	clear(b.alerts)
}

// move adds to the number of alerts with these labels. What is none is not shown.
func (p *Prometheus) move(labels [4]string, by int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.levels[labels] += by
	if n := p.levels[labels]; n > 0 {
		p.alerts.WithLabelValues(labels[:]...).Set(float64(n))
		return
	}
	delete(p.levels, labels)
	p.alerts.DeleteLabelValues(labels[:]...)
}
