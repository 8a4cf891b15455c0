package main

import (
	"context"
	"errors"
	"strconv"
	"time"
)

// mainResult is the main job in the shipped setting.
type mainResult struct {
	Via     string        `json:"via"`
	Events  moved         `json:"events"` // published, with what every process used until all was reduced
	Text    int64         `json:"text_bytes"`
	Drained time.Duration `json:"drained"` // from the last event's storing until all were reduced
	Lag     []lag         `json:"lag"`
	Archive int64         `json:"archive_bytes"`
	Plain   []moved       `json:"plain"`
	count
}

// lag is how far the stages are behind the publisher, at a moment.
type lag struct {
	Published int64   `json:"published"`
	Reduced   int64   `json:"reduced"`
	Decided   float64 `json:"decided"`  // seconds that a tick is overdue
	Archived  int64   `json:"archived"` // messages that are in no object yet
}

// measureMain publishes at a steady rate while a processor with the default
// rules and an archiver work.
func measureMain(ctx context.Context, c config, via string) (_ *mainResult, err error) {
	d, err := deploy(ctx, c, via)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.close()) }()
	processor, err := d.start(ctx, "processor")
	if err != nil {
		return nil, err
	}
	archiver, err := d.start(ctx, "archiver")
	if err != nil {
		return nil, err
	}
	of := []*process{d.brokers[0], processor, archiver}
	args := []string{}
	if via == "door" {
		door, err := d.start(ctx, "publisher")
		if err != nil {
			return nil, err
		}
		of = append(of, door)
		args = append(args, "--door", door.http)
	}
	m, err := newMeter(of...)
	if err != nil {
		return nil, err
	}
	l, err := d.drive(ctx, args...)
	if err != nil {
		return nil, err
	}
	r := &mainResult{Via: via}
	if err := r.watch(ctx, l, processor, archiver); err != nil {
		return nil, err
	}
	p, err := l.wait(ctx)
	if err != nil {
		return nil, err
	}
	r.Published, r.Text = p.Events, p.Bytes
	ended := time.Now()
	if r.Reduced, err = d.settle(ctx, processor, r.Published); err != nil {
		return nil, err
	}
	r.Drained = time.Since(ended)
	_, parts, err := m.read()
	if err != nil {
		return nil, err
	}
	all, err := d.stored(ctx)
	if err != nil {
		return nil, err
	}
	r.Events = moved{"main job", p.Events, all.Messages, all.Bytes, p.Elapsed, append(parts, part{Name: "driver", CPU: p.CPU})}
	for _, p := range []*process{archiver, processor} {
		if err := p.stop(ctx); err != nil {
			return nil, err
		}
	}
	if r.Archived, r.Archive, err = d.archived(ctx); err != nil {
		return nil, err
	}
	r.Plain, err = d.plain(ctx)
	return r, err
}

// drive starts the driver at the main job's rate.
func (d *deployment) drive(ctx context.Context, args ...string) (*load, error) {
	return startLoad(ctx, append([]string{"drive", "--nats", d.url, "--for", d.For.String(),
		"--rate", strconv.Itoa(d.Rate)}, args...)...)
}

// watch notes every second how far the stages are behind, until the load ends.
func (r *mainResult) watch(ctx context.Context, l *load, processor, archiver *process) error {
	every := time.NewTicker(time.Second)
	defer every.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-l.ended:
			return nil
		case <-every.C:
		}
		done, err := processor.metrics(nil)
		if err != nil {
			return err
		}
		kept, err := archiver.metrics(ofEvents)
		if err != nil {
			return err
		}
		r.Lag = append(r.Lag, lag{
			Published: l.now().Events,
			Reduced:   int64(done["millrace_reduce_events_total"]),
			Decided:   done["millrace_decide_lag_seconds"],
			Archived:  int64(kept["millrace_archive_lag_messages"]),
		})
	}
}
