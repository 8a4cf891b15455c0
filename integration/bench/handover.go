package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/integration/reference"
	"github.com/dermai/millrace/pipeline"
	"github.com/dermai/millrace/schemas"
)

// handoverResult is how long nobody works for a partition when its processor goes
// while another is there: from the signal to the broker's timestamp of the other's
// claim. An evaluator that was fenced claims when it has something to write, so
// that its claim says nothing.
type handoverResult struct {
	Stopped latencies `json:"stopped"`
	Killed  latencies `json:"killed"`
	Moved   int       `json:"moved"` // roles that were not the one's that went
}

// still is how long no partition is claimed once all are.
const still = 1500 * time.Millisecond

// handoverEvents is the traffic meanwhile, events a second.
const handoverEvents = 2000

func measureHandover(ctx context.Context, c config) (_ *handoverResult, err error) {
	c.Rate, c.For = handoverEvents, time.Hour
	d, err := deploy(ctx, c, "handover")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.close()) }()
	if _, err := d.start(ctx, "processor"); err != nil {
		return nil, err
	}
	l, err := d.drive(ctx)
	if err != nil {
		return nil, err
	}
	conn, err := pipeline.Connect(ctx, pipeline.Config{URL: d.url, Name: "bench"})
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	log := conn.Log()
	defer log.Close()
	all := func(of map[string]time.Time) bool { return len(of) == len(partitions()) }
	if _, err := settledClaims(ctx, log, time.Time{}, all); err != nil {
		return nil, err
	}
	r := new(handoverResult)
	for range c.Handovers {
		for _, way := range []struct {
			end  func(*process) error
			into *latencies
		}{
			{func(p *process) error { return p.stop(ctx) }, &r.Stopped},
			{func(p *process) error { p.Kill(); return nil }, &r.Killed},
		} {
			if err := r.handOver(ctx, d, log, way.end, way.into); err != nil {
				return nil, err
			}
		}
	}
	slices.Sort(r.Stopped)
	slices.Sort(r.Killed)
	_, err = l.stop(ctx)
	return r, err
}

// handOver starts a processor beside the one that is there, lets it take its
// partitions, ends it, and waits until the other has them.
func (r *handoverResult) handOver(ctx context.Context, d *deployment, log fence.Log, end func(*process) error, into *latencies) error {
	began := time.Now()
	p, err := d.start(ctx, "processor")
	if err != nil {
		return err
	}
	own, err := settledClaims(ctx, log, began, func(map[string]time.Time) bool { return true })
	if err != nil {
		return err
	}
	ended := time.Now()
	if err := end(p); err != nil {
		return err
	}
	back, err := settledClaims(ctx, log, ended, func(back map[string]time.Time) bool {
		for name := range own {
			if back[name].IsZero() {
				return false
			}
		}
		return true
	})
	for name, at := range back {
		if own[name].IsZero() {
			r.Moved++
		} else {
			*into = append(*into, at.Sub(ended))
		}
	}
	return err
}

// settledClaims waits until the claims after a moment are enough, and no further
// one comes. It returns the last of each partition.
func settledClaims(ctx context.Context, log fence.Log, after time.Time, enough func(map[string]time.Time) bool) (map[string]time.Time, error) {
	var last map[string]time.Time
	seen, changed := 0, time.Now()
	err := until(ctx, "the partitions are claimed", func() (bool, error) {
		count := 0
		last = map[string]time.Time{}
		err := reference.Each(ctx, log, schemas.StreamPartials, func(e fence.Entry) error {
			if e.Header[schemas.HeaderType] == schemas.TypeClaim && time.Unix(0, e.Time).After(after) {
				count++
				last[e.Subject] = time.Unix(0, e.Time)
			}
			return nil
		})
		if err != nil {
			return false, err
		}
		if count != seen || !enough(last) {
			seen, changed = count, time.Now()
		}
		return time.Since(changed) >= still, nil
	})
	return last, err
}

func (r *handoverResult) print(out io.Writer) error {
	err := table(out, "the processor is\tpartitions\tp50\tp99\tmost", r.Stopped.row("stopped"), r.Killed.row("killed"))
	_, failed := fmt.Fprintf(out, "Partitions that moved without need: %d\n\n", r.Moved)
	return errors.Join(err, failed)
}
