package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/dermai/millrace/schemas"
)

// evaluatorResult is how many groups that change each second one evaluator
// carries, in a deployment whose one processor does everything.
type evaluatorResult struct {
	Rules  int             `json:"rules"` // over the same groups
	Window time.Duration   `json:"window"`
	Steps  []evaluatorStep `json:"steps"` // the last one did not keep up, unless there were enough
}

// evaluatorStep is a steady rate of events that touches every group each second.
type evaluatorStep struct {
	Groups  int           `json:"groups"` // of all rules
	Elapsed time.Duration `json:"elapsed"`
	Sent    int64         `json:"sent"`    // events that were stored meanwhile
	Reduced int64         `json:"reduced"` // events
	Behind  int64         `json:"behind"`  // events stored and not reduced, at the end
	Lag     latencies     `json:"lag"`     // of the last decided tick behind the clock
	Kept    bool          `json:"kept_up"`
	Busy    time.Duration `json:"busy"` // in steps of the evaluator
	Parts   []part        `json:"parts"`
}

const (
	evaluatorRules  = 4
	evaluatorWindow = 5 * time.Minute
	// evaluatorServices share the keys, so that all partitions have events.
	evaluatorServices = 16
	// evaluatorGrowth is how many times as many groups each step has as the one before.
	evaluatorGrowth = 1.5
	// evaluatorPace is the time between two lots of the steady rate.
	evaluatorPace = 100 * time.Millisecond
	// evaluatorFill is how many events of the past are published in that time: as fast as
	// it goes they would all be rows that wait for the same tick.
	evaluatorFill = 1000
	// evaluatorLook is the time between two looks at the decided tick.
	evaluatorLook = 250 * time.Millisecond
)

func measureEvaluator(ctx context.Context, c config) (_ *evaluatorResult, err error) {
	e := &evaluating{evaluatorResult: &evaluatorResult{Rules: evaluatorRules, Window: evaluatorWindow}}
	// Nothing fires, so that no change is written: this is about deciding.
	if e.grouped, err = startGrouped(ctx, c, "evaluator", evaluatorRules, evaluatorWindow, 1e9, c.Groups); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, e.close()) }()
	e.services = evaluatorServices
	pumping, stop := context.WithCancel(ctx)
	var pump errgroup.Group
	pump.Go(func() error { return e.pump(pumping) })
	for groups := float64(c.Groups); len(e.Steps) < c.Steps; groups *= evaluatorGrowth {
		if err = e.step(ctx, max(1, int64(groups)/evaluatorRules)); err != nil || !e.Steps[len(e.Steps)-1].Kept {
			break
		}
	}
	stop()
	if err := errors.Join(err, pump.Wait()); err != nil {
		return nil, err
	}
	return e.evaluatorResult, nil
}

// evaluating is a deployment under a steady rate of events.
type evaluating struct {
	*evaluatorResult
	*grouped
	keys, sent atomic.Int64 // keys that get an event each second; events that are stored
}

// pump publishes an event of each key each second, until ctx ends. What was held up
// is made up for.
func (e *evaluating) pump(ctx context.Context) error {
	pace := time.NewTicker(evaluatorPace)
	defer pace.Stop()
	last, due, key := time.Now(), 0.0, 0
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-pace.C:
		}
		keys, now := int(e.keys.Load()), time.Now()
		due += float64(keys) * now.Sub(last).Seconds()
		last = now
		n := int(due)
		due -= float64(n)
		err := e.publish(ctx, n, func(i int) (int, time.Time) { return (key + i) % keys, now })
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		e.sent.Add(int64(n))
		if n > 0 {
			key = (key + n) % keys
		}
	}
}

// step raises the number of keys, with a past that fills their windows, and
// measures.
func (e *evaluating) step(ctx context.Context, keys int64) error {
	known := e.keys.Load()
	const seconds = int(evaluatorWindow / time.Second)
	past := int(keys-known) * seconds
	pace := time.NewTicker(evaluatorPace)
	defer pace.Stop()
	for from := 0; from < past; from += evaluatorFill {
		lot, now := min(evaluatorFill, past-from), time.Now()
		err := e.publish(ctx, lot, func(i int) (int, time.Time) {
			i += from
			return int(known) + i/seconds, now.Add(time.Duration(i%seconds)*time.Second - evaluatorWindow)
		})
		if err != nil {
			return err
		}
		e.sent.Add(int64(lot))
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-pace.C:
		}
	}
	e.keys.Store(keys)
	// What does not become calm does not keep up: the figures say so.
	if err := e.calm(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return e.measure(ctx)
}

// look tells how far the decided tick is behind the clock, how many events are
// reduced, and how long the evaluator was busy.
func (e *evaluating) look() (lag time.Duration, reduced int64, busy time.Duration, err error) {
	of := `="` + string(schemas.Telemetry) + `"}`
	class, err := e.processor.metrics(func(labels string) bool {
		return labels == "class"+of || labels == `subject="`+schemas.Telemetry.Alerts()+`"}` || strings.HasPrefix(labels, "partition=")
	})
	if err != nil {
		return 0, 0, 0, err
	}
	tick := time.Unix(0, int64(class["millrace_decided_seconds"]*1e9))
	busy = time.Duration(class["millrace_busy_seconds_total"] * float64(time.Second))
	return time.Since(tick), int64(class["millrace_reduce_events_total"]), busy, nil
}

// calm waits until nothing is more than usual behind, for a while.
func (e *evaluating) calm(ctx context.Context) error {
	return until(ctx, "what filled the windows is decided", func() (bool, error) {
		sent := e.sent.Load()
		lag, reduced, _, err := e.look()
		return lag <= usual && reduced >= sent-usualEvents(e.keys.Load()), err
	})
}

// usualEvents is how many events of a rate may not be reduced yet.
func usualEvents(perSecond int64) int64 { return int64(usual.Seconds()) * perSecond }

func (e *evaluating) measure(ctx context.Context) error {
	for _, p := range e.of {
		if err := p.forgetPeak(); err != nil {
			return err
		}
	}
	s := evaluatorStep{Groups: int(e.keys.Load()) * evaluatorRules}
	sent := e.sent.Load()
	_, reduced, busy, err := e.look()
	if err != nil {
		return err
	}
	m, err := newMeter(e.of...)
	if err != nil {
		return err
	}
	looks := time.NewTicker(evaluatorLook)
	defer looks.Stop()
	for time.Since(m.begun) < e.For {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-looks.C:
		}
		lag, _, _, err := e.look()
		if err != nil {
			return err
		}
		s.Lag = append(s.Lag, lag)
	}
	_, reducedAtEnd, busyAtEnd, err := e.look()
	if err != nil {
		return err
	}
	if s.Elapsed, s.Parts, err = m.read(); err != nil {
		return err
	}
	s.Sent, s.Reduced, s.Busy = e.sent.Load()-sent, reducedAtEnd-reduced, busyAtEnd-busy
	s.Behind = e.sent.Load() - reducedAtEnd
	// A checkpoint holds decisions up, once a minute. Who keeps up is back behind it.
	s.Kept = slices.Min(s.Lag[len(s.Lag)/2:]) <= usual
	slices.Sort(s.Lag)
	e.Steps = append(e.Steps, s)
	return nil
}

func (r *evaluatorResult) print(out io.Writer) error {
	fmt.Fprintf(out, "%d rules over the same groups, each the p95 of a value over %s.\n\n", r.Rules, r.Window)
	head, rows := "groups that change each second\tevents/s sent\treduced\tevents not reduced at the end\tdecided behind, p50\tmost\tkept up\tevaluator busy", []string{}
	for _, p := range r.Steps[0].Parts {
		head += "\t" + p.Name + ", of one core\tpeak MiB"
	}
	for _, s := range r.Steps {
		seconds := s.Elapsed.Seconds()
		cells := []string{
			thousands(float64(s.Groups)), thousands(float64(s.Sent) / seconds), thousands(float64(s.Reduced) / seconds), thousands(float64(s.Behind)),
			fmt.Sprintf("%.2f s", s.Lag.quantile(0.5).Seconds()), fmt.Sprintf("%.2f s", s.Lag.quantile(1).Seconds()),
			fmt.Sprint(s.Kept), fmt.Sprintf("%.0f %%", 100*s.Busy.Seconds()/seconds),
		}
		for _, p := range s.Parts {
			cells = append(cells, fmt.Sprintf("%.0f %%", 100*p.CPU.Seconds()/seconds), mebibytes(p.Peak))
		}
		rows = append(rows, strings.Join(cells, "\t"))
	}
	return table(out, head, rows...)
}
