package sinks

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/dermai/millrace/schemas"
)

// Tally is what one reducer counts. It implements stages.Tally.
type Tally struct {
	p       *Prometheus
	pending map[series]*sum
}

// series names what samples are added to.
type series struct {
	kind    tallied
	a, b, c string // labels
}

type tallied byte

const (
	ofRequests tallied = iota
	ofQueries
	ofGauges
	ofCounters
	ofHistograms
	ofUnusable
)

// sum is what is noted of a series and not stored yet.
type sum struct {
	n      float64
	values []float64 // of histograms
	at     int64     // of a gauge
}

// Tally makes a counter for one reducer.
func (p *Prometheus) Tally() *Tally { return &Tally{p: p, pending: map[series]*sum{}} }

func (t *Tally) note(s series) *sum {
	to := t.pending[s]
	if to == nil {
		to = &sum{}
		t.pending[s] = to
	}
	return to
}

// Count notes an event.
func (t *Tally) Count(e *schemas.Event) {
	switch {
	case e.Kind == schemas.KindLog && e.Message == "API request":
		method, _ := e.Attributes["method"].(string)
		path, _ := e.Attributes["path"].(string)
		to := t.note(series{ofRequests, listed(methods, method), t.p.endpoint(path), status(e.Attributes["status_code"])})
		to.n++
		if s, ok := seconds(e); ok {
			to.values = append(to.values, s)
		}
	case e.Kind == schemas.KindLog && e.Message == "Slow database query":
		if s, ok := seconds(e); ok {
			to := t.note(series{kind: ofQueries, a: t.service(e)})
			to.values = append(to.values, s)
		}
	case e.Kind == schemas.KindMetric:
		t.metric(e)
	}
}

func (t *Tally) service(e *schemas.Event) string {
	return t.p.among(t.p.services, maxServices, e.Service)
}

func (t *Tally) metric(e *schemas.Event) {
	if !t.p.names[e.Name] || e.Type == "counter" && e.Value < 0 {
		t.note(series{kind: ofUnusable}).n++
		return
	}
	s := series{a: t.service(e), b: e.Name}
	switch e.Type {
	case "counter":
		s.kind = ofCounters
		t.note(s).n += e.Value
	case "histogram":
		s.kind = ofHistograms
		to := t.note(s)
		to.values = append(to.values, e.Value)
	default: // a metric event without a type is a gauge
		s.kind = ofGauges
		if to := t.note(s); e.Time >= to.at {
			to.n, to.at = e.Value, e.Time
		}
	}
}

// Commit counts what was noted.
func (t *Tally) Commit() {
	p := t.p
	for s, sum := range t.pending {
		var to prometheus.Observer
		switch s.kind {
		case ofRequests:
			p.requests.WithLabelValues(s.a, s.b, s.c).Add(sum.n)
			to = p.duration.WithLabelValues(s.a, s.b)
		case ofQueries:
			to = p.queries.WithLabelValues(s.a)
		case ofGauges:
			p.gauge(s.a, s.b, sum)
		case ofCounters:
			p.counters.WithLabelValues(s.a, s.b).Add(sum.n)
		case ofHistograms:
			to = p.histograms.WithLabelValues(s.a, s.b)
		case ofUnusable:
			p.unusable.Add(sum.n)
		}
		for _, v := range sum.values {
			to.Observe(v)
		}
	}
	clear(t.pending)
}

// Drop forgets what was noted.
func (t *Tally) Drop() { clear(t.pending) }

func (p *Prometheus) gauge(service, name string, s *sum) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if key := [2]string{service, name}; s.at >= p.at[key] {
		p.at[key] = s.at
		p.gauges.WithLabelValues(service, name).Set(s.n)
		p.gaugesAt.WithLabelValues(service, name).Set(float64(s.at) / 1e9)
	}
}
