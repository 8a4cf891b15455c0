package main

import (
	"context"
	"errors"
)

// publishResult is each stage alone, as fast as it can, beside plain nats.go.
type publishResult struct {
	Stages []moved `json:"stages"`
	Plain  []moved `json:"plain"`
	count
}

// count is what became of the events.
type count struct {
	Published int64 `json:"published"`
	Reduced   int64 `json:"reduced"`
	Archived  int64 `json:"archived"`
}

// measurePublish publishes at full speed with nobody else there; what was stored
// is then reduced, archived, and moved by plain nats.go.
func measurePublish(ctx context.Context, c config) (_ *publishResult, err error) {
	d, err := deploy(ctx, c, "publish")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.close()) }()
	r := new(publishResult)
	l, err := startLoad(ctx, "drive", "--nats", d.url, "--for", c.Short.String())
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
	all, err := d.stored(ctx)
	if err != nil {
		return nil, err
	}
	r.Published = p.Events
	r.Stages = []moved{{"publish", p.Events, all.Messages, all.Bytes, p.Elapsed, append(parts, part{Name: "client", CPU: p.CPU})}}
	if r.Plain, err = d.plain(ctx); err != nil {
		return nil, err
	}

	processor, reduce, err := d.catchUp(ctx, "processor", func(p *process) (err error) {
		r.Reduced, err = d.settle(ctx, p, r.Published)
		return err
	})
	if err != nil {
		return nil, err
	}
	// All that it had to write is written: it leaves the machine to the next.
	if err := processor.stop(ctx); err != nil {
		return nil, err
	}
	archiver, keep, err := d.catchUp(ctx, "archiver", func(p *process) error {
		return until(ctx, "everything is read", func() (bool, error) {
			m, err := p.metrics(ofEvents)
			return int64(m["millrace_read_messages_total"]) >= all.Messages, err
		})
	})
	if err != nil {
		return nil, err
	}
	if err := archiver.stop(ctx); err != nil {
		return nil, err
	}
	for _, s := range []*moved{reduce, keep} {
		s.Events, s.Frames, s.Bytes = r.Published, all.Messages, all.Bytes
		r.Stages = append(r.Stages, *s)
	}
	r.Archived, _, err = d.archived(ctx)
	return r, err
}

// catchUp starts a daemon and measures from then on until done returns.
func (d *deployment) catchUp(ctx context.Context, name string, done func(*process) error) (*process, *moved, error) {
	m, err := newMeter(d.brokers[0])
	if err != nil {
		return nil, nil, err
	}
	p, err := d.start(ctx, name)
	if err != nil {
		return nil, nil, err
	}
	if err := done(p); err != nil {
		return nil, nil, err
	}
	elapsed, parts, err := m.read()
	if err != nil {
		return nil, nil, err
	}
	u, err := p.used()
	if err != nil {
		return nil, nil, err
	}
	return p, &moved{What: name, Elapsed: elapsed, Parts: append(parts, part{"client", u.CPU, u.Peak})}, nil
}
