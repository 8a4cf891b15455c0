package stages

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics counts what the machines of a process do. It is safe for concurrent
// use; nil counts nothing.
type Metrics struct {
	events      *prometheus.CounterVec
	lost        *prometheus.CounterVec
	frontier    *prometheus.GaugeVec
	decided     *prometheus.GaugeVec
	lag         *prometheus.GaugeVec
	transitions *prometheus.CounterVec
	asked       *prometheus.CounterVec
	fenced      *prometheus.CounterVec
	busy        *prometheus.CounterVec
}

// NewMetrics makes the metrics and registers them where reg is not nil.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, labels)
	}
	m := &Metrics{
		events:      counter("millrace_reduce_events_total", "Events folded and committed.", "partition"),
		lost:        counter("millrace_reduce_lost_messages_total", "Messages that were gone when they were to be read.", "partition"),
		frontier:    gauge("millrace_reduce_frontier_seconds", "Arrival up to which a partition is reduced, Unix seconds.", "partition"),
		decided:     gauge("millrace_decided_seconds", "End of the last decided tick, Unix seconds.", "class"),
		lag:         gauge("millrace_decide_lag_seconds", "How long the tick that something waits for could have been decided; 0 while nothing waits.", "class"),
		transitions: counter("millrace_transitions_total", "Changes of alert states.", "class", "to"),
		asked:       counter("millrace_ticks_asked_total", "Tick frames published.", "class"),
		fenced:      counter("millrace_fenced_total", "Appends refused because another writer has the subject.", "subject"),
		busy:        counter("millrace_busy_seconds_total", "Time in the steps of a machine, by the subject that it owns: of one that is at its limit, every second.", "subject"),
	}
	if reg != nil {
		reg.MustRegister(m.events, m.lost, m.frontier, m.decided, m.lag, m.transitions, m.asked, m.fenced, m.busy)
	}
	return m
}

func (m *Metrics) orNone() *Metrics {
	if m == nil {
		return NewMetrics(nil)
	}
	return m
}

// Timed is a machine whose time in steps is counted, with what it waits for there.
func (m *Metrics) Timed(machine Machine, subject string, clock Clock) Machine {
	return timed{machine, clock, m.orNone().busy.WithLabelValues(subject)}
}

type timed struct {
	Machine
	clock Clock
	busy  prometheus.Counter
}

func (t timed) Step(ctx context.Context) (bool, error) {
	began := t.clock()
	defer func() { t.busy.Add(t.clock().Sub(began).Seconds()) }()
	return t.Machine.Step(ctx)
}
