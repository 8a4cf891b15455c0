package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
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

// groupRule is a rule over the events that grouped publishes.
const groupRule = `      - alert: BenchGroups%d
        on: log
        where: message == "bench group"
        by: [attributes.key]
        p95: attributes.duration_ms
        window: %s
        fire: "> %d"
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
	d, err := startGrouped(ctx, c, "groups", 1, 5*time.Minute, 0, r.Cap)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.close()) }()
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
		l, err := d.load(ctx, load.what, load.events, load.key, sent)
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

// grouped is a deployment whose rules group events by a key.
type grouped struct {
	*deployment
	processor *process
	of        []*process // those that are measured
	conn      *pipeline.Conn
	publisher *pipeline.Publisher
	// services that the keys are spread over, and so the partitions.
	services int
}

// startGrouped starts a deployment with rules that fire above a value, and waits
// until they are in force.
func startGrouped(ctx context.Context, c config, name string, rules int, window time.Duration, above, groups int) (*grouped, error) {
	text := []byte("groups:\n  - name: bench\n    rules:\n")
	for i := range rules {
		text = fmt.Appendf(text, groupRule, i, window, above+i, groups)
	}
	file := filepath.Join(c.Dir, name+".yaml")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return nil, err
	}
	d, err := deploy(ctx, c, name, file)
	if err != nil {
		return nil, err
	}
	g := &grouped{deployment: d, of: slices.Clone(d.brokers), services: 1}
	if err := g.startAll(ctx); err != nil {
		return nil, errors.Join(err, g.close())
	}
	return g, nil
}

func (g *grouped) startAll(ctx context.Context) (err error) {
	if g.processor, err = g.start(ctx, "processor"); err != nil {
		return err
	}
	archiver, err := g.start(ctx, "archiver")
	if err != nil {
		return err
	}
	g.of = append(g.of, g.processor, archiver)
	if g.conn, err = pipeline.Connect(ctx, pipeline.Config{URL: g.url, Name: "bench"}); err != nil {
		return err
	}
	if g.publisher, err = pipeline.NewPublisher(g.conn, pipeline.PublisherConfig{}); err != nil {
		return err
	}
	select { // until the rules are in force
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(8 * time.Second):
		return nil
	}
}

func (g *grouped) close() error {
	if g.conn != nil {
		g.conn.Close()
	}
	return g.deployment.close()
}

// publish returns when so many events are stored; each has a key and a time.
func (g *grouped) publish(ctx context.Context, events int, of func(i int) (key int, at time.Time)) error {
	var lots errgroup.Group
	lots.SetLimit(groupLanes)
	for from := 0; from < events; from += groupFrame {
		lot := make([]schemas.Event, min(groupFrame, events-from))
		for i := range lot {
			key, at := of(from + i)
			lot[i] = schemas.Event{
				Kind: schemas.KindLog, Service: fmt.Sprintf("bench-%d", key%g.services), Time: at.UnixNano(), Level: "INFO", Message: "bench group",
				Attributes: map[string]any{"key": strconv.Itoa(key), "duration_ms": float64(1 + rand.IntN(1000))},
			}
		}
		lots.Go(func() error { return g.publisher.Publish(ctx, lot...) })
	}
	return lots.Wait()
}

// load publishes events with these keys and waits until they are reduced, with
// those that were sent before.
func (g *grouped) load(ctx context.Context, what string, events int, key func(i int) int, before int64) (*groupLoad, error) {
	for _, p := range g.of {
		if err := p.forgetPeak(); err != nil {
			return nil, err
		}
	}
	m, err := newMeter(g.of...)
	if err != nil {
		return nil, err
	}
	if err := g.publish(ctx, events, func(i int) (int, time.Time) { return key(i), time.Now() }); err != nil {
		return nil, err
	}
	l := &groupLoad{What: what, Events: int64(events)}
	if _, err := g.settle(ctx, g.processor, before+l.Events); err != nil {
		return nil, err
	}
	l.Elapsed, l.Parts, err = m.read()
	return l, err
}

// firing counts the groups that fire.
func (g *grouped) firing(ctx context.Context, l *groupLoad) error {
	log := g.conn.Log()
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
