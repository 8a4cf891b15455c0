package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/integration/reference"
	"github.com/dermai/millrace/pipeline"
	"github.com/dermai/millrace/rules"
	"github.com/dermai/millrace/schemas"
)

// groupsResult is what a rule of many groups takes of memory.
type groupsResult struct {
	Cap   int         `json:"cap"` // of the rule
	Loads []groupLoad `json:"loads"`
}

// groupLoad is one way in which events fall into groups.
type groupLoad struct {
	What     string        `json:"what"`
	Events   int64         `json:"events"`
	Elapsed  time.Duration `json:"elapsed"` // from the first event until the last is reduced
	Firing   int           `json:"firing"`  // groups that fire, the overflow's aside
	Overflow bool          `json:"overflow"`
	Parts    []part        `json:"parts"`
}

// groupRules fires for every group.
const groupRules = `groups:
  - name: bench
    rules:
      - alert: BenchGroups
        on: log
        where: message == "bench group"
        by: [attributes.key]
        p95: attributes.duration_ms
        window: 5m
        fire: "> 0"
        cap: %d
`

// groupFrame is how many events are published at once, and groupLanes how many
// such lots are in flight.
const (
	groupFrame = 1000
	groupLanes = 4
)

func measureGroups(ctx context.Context, c config) (_ *groupsResult, err error) {
	r := &groupsResult{Cap: max(1, c.Keys/100)}
	file := filepath.Join(c.Dir, "groups.yaml")
	if err := os.WriteFile(file, fmt.Appendf(nil, groupRules, r.Cap), 0o600); err != nil {
		return nil, err
	}
	d, err := deploy(ctx, c, "groups", file)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.close()) }()
	of := []*process{d.brokers[0]}
	for _, name := range []string{"processor", "archiver"} {
		p, err := d.start(ctx, name)
		if err != nil {
			return nil, err
		}
		of = append(of, p)
	}
	select { // until the rules are in force
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-time.After(8 * time.Second):
	}
	var sent int64
	for _, load := range []struct {
		what   string
		events int
		key    func(i int) int
		done   func(l *groupLoad) bool
	}{
		{"as many groups as the cap", c.Keys, func(i int) int { return i % r.Cap }, func(l *groupLoad) bool { return l.Firing == r.Cap }},
		{"one group has 99 %", c.Keys, func(i int) int {
			if rand.IntN(100) > 0 {
				return 0
			}
			return i % r.Cap
		}, func(*groupLoad) bool { return true }},
		{"each event a group of its own", c.Keys, func(i int) int { return r.Cap + i }, func(l *groupLoad) bool { return l.Overflow }},
	} {
		l, err := d.groups(ctx, load.what, load.events, load.key, of, sent)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", load.what, err)
		}
		sent += l.Events
		err = until(ctx, "the groups fire", func() (bool, error) {
			err := d.firing(ctx, l)
			return load.done(l), err
		})
		if err != nil {
			return nil, fmt.Errorf("%s, %d groups fire: %w", load.what, l.Firing, err)
		}
		r.Loads = append(r.Loads, *l)
	}
	return r, nil
}

// groups publishes events with these keys and waits until they are reduced, with
// those that were sent before.
func (d *deployment) groups(ctx context.Context, what string, events int, key func(i int) int, of []*process, before int64) (*groupLoad, error) {
	for _, p := range of {
		// proc(5): 5 makes the peak what is resident now.
		if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", p.cmd.Process.Pid), []byte("5"), 0); err != nil {
			return nil, err
		}
	}
	conn, err := pipeline.Connect(ctx, pipeline.Config{URL: d.url, Name: "bench"})
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	publisher, err := pipeline.NewPublisher(conn, pipeline.PublisherConfig{Service: "bench"})
	if err != nil {
		return nil, err
	}
	m, err := newMeter(of...)
	if err != nil {
		return nil, err
	}
	var lots errgroup.Group
	lots.SetLimit(groupLanes)
	for from := 0; from < events; from += groupFrame {
		lot := make([]schemas.Event, min(groupFrame, events-from))
		for i := range lot {
			lot[i] = schemas.Event{Kind: schemas.KindLog, Level: "INFO", Message: "bench group", Attributes: map[string]any{
				"key": strconv.Itoa(key(from + i)), "duration_ms": float64(1 + rand.IntN(1000)),
			}}
		}
		lots.Go(func() error { return publisher.Publish(ctx, lot...) })
	}
	if err := errors.Join(lots.Wait(), publisher.Close(ctx)); err != nil {
		return nil, err
	}
	l := &groupLoad{What: what, Events: int64(events)}
	if _, err := d.settle(ctx, of[1], before+l.Events); err != nil {
		return nil, err
	}
	l.Elapsed, l.Parts, err = m.read()
	return l, err
}

// firing counts the groups that fire.
func (d *deployment) firing(ctx context.Context, l *groupLoad) error {
	conn, err := pipeline.Connect(ctx, pipeline.Config{URL: d.url, Name: "bench"})
	if err != nil {
		return err
	}
	defer conn.Close()
	log := conn.Log()
	defer log.Close()
	l.Firing, l.Overflow = 0, false
	return reference.Each(ctx, log, schemas.StreamAlerts, func(e fence.Entry) error {
		if e.Header[schemas.HeaderType] != schemas.TypeDecision {
			return nil
		}
		var decision schemas.Decision
		if err := schemas.DecodeInto(e.Data, &decision); err != nil {
			return err
		}
		for _, t := range decision.Transitions {
			switch {
			case t.Group == rules.Overflow && t.To == schemas.Firing:
				l.Overflow = true
			case t.To == schemas.Firing:
				l.Firing++
			}
		}
		return nil
	})
}

func (r *groupsResult) print(out io.Writer) error {
	head, rows := "load\tevents/s\tgroups that fire\t~other fires", []string{}
	for _, p := range r.Loads[0].Parts {
		head += "\t" + p.Name + ", peak MiB"
	}
	for _, l := range r.Loads {
		cells := []string{l.What, thousands(float64(l.Events) / l.Elapsed.Seconds()), thousands(float64(l.Firing)), strconv.FormatBool(l.Overflow)}
		for _, p := range l.Parts {
			cells = append(cells, mebibytes(p.Peak))
		}
		rows = append(rows, strings.Join(cells, "\t"))
	}
	fmt.Fprintf(out, "%s events each; the rule's cap is %s groups.\n\n", thousands(float64(r.Loads[0].Events)), thousands(float64(r.Cap)))
	return table(out, head, rows...)
}
