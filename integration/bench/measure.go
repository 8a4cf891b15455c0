package main

import (
	"context"
	"time"
)

// part of a measurement: what one process used for the events of it.
type part struct {
	Name string        `json:"name"`
	CPU  time.Duration `json:"cpu"`
	Peak int64         `json:"peak_bytes"` // resident memory since its start
}

// meter tells what processes use from its start on.
type meter struct {
	begun time.Time
	of    []*process
	cpu   []time.Duration
}

func newMeter(of ...*process) (*meter, error) {
	m := &meter{begun: time.Now(), of: of}
	for _, p := range of {
		u, err := p.used()
		if err != nil {
			return nil, err
		}
		m.cpu = append(m.cpu, u.CPU)
	}
	return m, nil
}

func (m *meter) read() (elapsed time.Duration, parts []part, err error) {
	elapsed = time.Since(m.begun)
	for i, p := range m.of {
		u, err := p.used()
		if err != nil {
			return 0, nil, err
		}
		parts = append(parts, part{p.name, u.CPU - m.cpu[i], u.Peak})
	}
	return elapsed, parts, nil
}

// moved is how fast something moved frames or events, and what that took.
type moved struct {
	What    string        `json:"what"`
	Events  int64         `json:"events"`
	Frames  int64         `json:"frames"`
	Bytes   int64         `json:"bytes"` // of frames
	Elapsed time.Duration `json:"elapsed"`
	Parts   []part        `json:"parts"`
}

func (m moved) perSecond() float64 { return float64(m.Events) / m.Elapsed.Seconds() }

// cpu is in seconds per million events; "": of all processes.
func (m moved) cpu(name string) float64 {
	var sum time.Duration
	for _, p := range m.Parts {
		if name == "" || p.Name == name {
			sum += p.CPU
		}
	}
	return sum.Seconds() * 1e6 / float64(m.Events)
}

// plain moves with plain nats.go what the deployment has stored: published with
// one and with four in flight, and consumed.
func (d *deployment) plain(ctx context.Context) ([]moved, error) {
	var all []moved
	for _, run := range []struct {
		what string
		args []string
	}{
		{"nats.go publishes, 1 in flight", []string{"--in-flight", "1"}},
		{"nats.go publishes, 4 in flight", []string{"--in-flight", "4"}},
		{"nats.go consumes", nil},
	} {
		args := append([]string{"raw", "--nats", d.url, "--for", d.Short.String()}, run.args...)
		l, err := startLoad(ctx, args...)
		if err != nil {
			return nil, err
		}
		m, err := newMeter(d.brokers[0])
		if err != nil {
			return nil, err
		}
		p, err := l.wait(ctx)
		if err != nil {
			return nil, err
		}
		_, parts, err := m.read()
		if err != nil {
			return nil, err
		}
		all = append(all, moved{run.what, p.Events, p.Frames, p.Bytes, p.Elapsed, append(parts, part{Name: "client", CPU: p.CPU})})
	}
	return all, d.js.DeleteStream(ctx, rawStream)
}
