package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/dermai/millrace/pipeline"
	"github.com/dermai/millrace/rules"
	"github.com/dermai/millrace/schemas"
)

// latencyResult is how long it takes from the return of Publish to the broker's
// timestamp of the stored decision.
type latencyResult struct {
	Idle latencies `json:"idle"`
	Busy latencies `json:"busy"` // beside the main job's traffic
}

// latencies are ascending.
type latencies []time.Duration

// quantile is the smallest value that q of all are not above.
func (l latencies) quantile(q float64) time.Duration {
	if len(l) == 0 {
		return 0
	}
	return l[max(0, int(q*float64(len(l))+0.999999)-1)]
}

// probeRules fire for each probe by itself.
const probeRules = `groups:
  - name: bench
    rules:
      - alert: BenchProbe
        on: log
        where: message == "bench probe"
        by: [attributes.probe]
        count: true
        window: 5s
        fire: "> 0"
`

// probePause is the longest time between two probes.
const probePause = 500 * time.Millisecond

func measureLatency(ctx context.Context, c config) (_ *latencyResult, err error) {
	files := map[string]string{"default.yaml": rules.Default().Text, "probe.yaml": probeRules}
	var names []string
	for name, text := range files {
		name = filepath.Join(c.Dir, name)
		names = append(names, name)
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	d, err := deploy(ctx, c, "latency", names...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.close()) }()
	for _, name := range []string{"processor", "archiver"} {
		if _, err := d.start(ctx, name); err != nil {
			return nil, err
		}
	}
	// Rules are in force some seconds after they were applied, and count nothing
	// that arrived before.
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-time.After(8 * time.Second):
	}
	r := new(latencyResult)
	if r.Idle, err = d.probe(ctx, "idle"); err != nil {
		return nil, err
	}
	d.For = time.Duration(d.Samples) * probePause
	l, err := d.drive(ctx)
	if err != nil {
		return nil, err
	}
	if r.Busy, err = d.probe(ctx, "busy"); err != nil {
		return nil, err
	}
	_, err = l.wait(ctx)
	return r, err
}

// probe publishes events that each make an alert fire, at random moments, and
// waits for the decisions.
func (d *deployment) probe(ctx context.Context, name string) (latencies, error) {
	conn, err := pipeline.Connect(ctx, pipeline.Config{URL: d.url, Name: "bench"})
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	publisher, err := pipeline.NewPublisher(conn, pipeline.PublisherConfig{Service: "bench"})
	if err != nil {
		return nil, err
	}
	watching, stop := context.WithCancel(ctx)
	defer stop()
	var mu sync.Mutex
	decided := map[string]int64{}
	var watcher sync.WaitGroup
	var fault error
	watcher.Go(func() {
		fault = follow(watching, conn, func(probe string, at int64) {
			mu.Lock()
			defer mu.Unlock()
			decided[probe] = at
		})
	})
	published := map[string]int64{}
	for i := range d.Samples {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(time.Duration(rand.Int64N(int64(probePause)))):
		}
		id := fmt.Sprintf("%s-%d", name, i)
		err := publisher.Publish(ctx, schemas.Event{
			Kind: schemas.KindLog, Level: "INFO", Message: "bench probe", Attributes: map[string]any{"probe": id},
		})
		if err != nil {
			return nil, err
		}
		published[id] = time.Now().UnixNano()
	}
	err = until(ctx, "every probe is decided", func() (bool, error) {
		mu.Lock()
		defer mu.Unlock()
		for id := range published {
			if decided[id] == 0 {
				return false, nil
			}
		}
		return true, nil
	})
	stop()
	watcher.Wait()
	err = errors.Join(err, fault, publisher.Close(ctx))
	if err != nil {
		return nil, err
	}
	var all latencies
	for id, at := range published {
		all = append(all, time.Duration(decided[id]-at))
	}
	slices.Sort(all)
	return all, nil
}

// follow tells each probe whose alert fires, and the broker's timestamp of that
// decision, until ctx ends.
func follow(ctx context.Context, conn *pipeline.Conn, fires func(probe string, at int64)) error {
	log := conn.Log()
	defer log.Close()
	for next := uint64(1); ; {
		entries, err := log.Read(ctx, schemas.StreamAlerts, next, 64)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		for _, e := range entries {
			next = e.Seq + 1
			if e.Header[schemas.HeaderType] != schemas.TypeDecision {
				continue
			}
			var d schemas.Decision
			if err := schemas.DecodeInto(e.Data, &d); err != nil {
				return err
			}
			for _, t := range d.Transitions {
				if t.Rule == "BenchProbe" && t.To == schemas.Firing {
					fires(t.Labels["probe"], e.Time)
				}
			}
		}
		if len(entries) == 0 {
			select {
			case <-ctx.Done():
				return nil
			case <-log.Changed():
			}
		}
	}
}
