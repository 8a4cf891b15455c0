package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/schemas"
)

// lane is a publisher: it goes on with another lane where its own ends.
type lane struct {
	partition schemas.Partition
	number    int
	renewals  int
	skew      int64
	lane      *fence.Lane
	retry     int64
	flight    []string // ids of the good events under way
}

func newLane(w *world, i int, p schemas.Partition) *lane {
	l := &lane{partition: p, number: i, skew: int64(w.dice.Intn(9)-4) * unit}
	l.renew(w)
	return l
}

func (l *lane) renew(w *world) {
	subject, err := schemas.FrameSubject(l.partition, schemas.KindLog, fmt.Sprintf("svc%d", l.number), fmt.Sprintf("l%d-%d", l.number, l.renewals))
	must(err)
	l.lane = fence.NewLane(w.broker, subject, laneLimit)
	l.renewals++
}

// laneLimit is how long a frame is sent again: so short that some are given up.
const laneLimit = 3 * time.Second

// step sends the frame in flight again when it is time.
func (l *lane) step(w *world) {
	if l.lane.Unsettled() && (w.broker.calm || w.broker.now >= l.retry) {
		l.settled(w, l.lane.Settle(w.ctx, w.broker.now))
	}
}

// settled judges what became of a frame.
func (l *lane) settled(w *world, err error) {
	switch {
	case err == nil:
		w.accepted = append(w.accepted, l.flight...)
	case l.lane.Unsettled():
		l.retry = w.broker.now + int64(1+w.dice.Intn(20))*unit
	case errors.Is(err, fence.ErrGivenUp):
		w.stats.GivenUp++
		l.renew(w)
	case errors.Is(err, fence.ErrFenced), fence.IsIncident(err):
		w.errs = append(w.errs, err)
		l.renew(w)
	}
}

// badLine is no event.
const badLine = `{"timestamp":"yesterday"}`

// publish makes a frame with a few events, some late, some from the future.
func (l *lane) publish(w *world) {
	if l.lane.Unsettled() {
		return
	}
	var lines []string
	for n := 1 + w.dice.Intn(3); n > 0; n-- {
		at := w.broker.now + l.skew - int64(w.dice.Intn(6))*unit
		if w.dice.chance(8) {
			at -= int64(w.dice.Intn(90)) * unit
			w.stats.Late++
		}
		if w.dice.chance(12) {
			at += int64(w.dice.Intn(250)) * unit
			w.stats.Future++
		}
		if w.dice.chance(60) {
			lines = append(lines, badLine)
			continue
		}
		lines = append(lines, line(at, []string{"a", "b"}[w.dice.Intn(2)],
			w.dice.Intn(3), w.dice.Intn(6), w.dice.chance(3), w.dice.Float64()))
	}
	l.send(w, lines...)
}

func line(at int64, message string, service, user int, bad bool, value float64) string {
	return fmt.Sprintf(`{"timestamp":%q,"message":%q,"svc":"s%d","user":"u%d","bad":%t,"val":%.3f}`,
		time.Unix(0, at).UTC().Format(time.RFC3339Nano), message, service, user, bad, value)
}

// send puts lines into a frame and sends it.
func (l *lane) send(w *world, lines ...string) {
	n := l.lane.Next()
	l.flight = nil
	for i, text := range lines {
		w.events++
		id := fmt.Sprintf("e%d", w.events)
		lines[i] = fmt.Sprintf(`{"id":%q,%s`, id, strings.TrimPrefix(text, "{"))
		if text != badLine {
			l.flight = append(l.flight, id)
		}
	}
	h := schemas.FrameHeader{Counter: n, Acked: n - 1, Events: len(lines)}
	l.settled(w, l.lane.Append(w.ctx, h.Map(), schemas.Pack(nil, []byte(strings.Join(lines, "\n"))), w.broker.now))
}

// pool has a rule for every way of folding and of changing state, with windows
// so short that a run sees them fill and drain. The first always waits, so that
// time goes on to the end of a run.
var pool = []string{
	`{alert: SilentAll, on: log, where: 'message == "b" and attributes.bad', expect: every 2s}`,
	`{alert: Count, on: log, where: 'message == "a"', by: [attributes.svc], count: true, window: 4s, fire: "> 3", resolve: "<= 2"}`,
	`{alert: Ratio, on: log, where: 'message == "a"', by: [attributes.svc], ratio: attributes.bad, window: 5s, fire: "> 30%", resolve: "<= 20%", min_samples: 3, for: 2s, keep_firing_for: 2s}`,
	`{alert: Avg, on: log, where: 'message == "a"', avg: attributes.val, window: 6s, fire: "> 0.5", resolve: "<= 0.45", for: 1s}`,
	`{alert: Sum, on: log, where: 'message == "b"', by: [attributes.svc], sum: attributes.val, window: 5s, fire: "> 1.5", no_data: hold}`,
	`{alert: Last, on: log, where: 'message == "b"', by: [attributes.svc], last: attributes.val, window: 5s, fire: "> 0.5", keep_firing_for: 3s}`,
	`{alert: Max, on: log, where: 'message == "b"', max: attributes.val, window: 3s, fire: "> 0.8", for: 3s}`,
	`{alert: P90, on: log, where: 'message == "a"', by: [attributes.svc], p90: attributes.val, window: 7s, fire: "> 0.8", min_samples: 4, evidence: {worst: attributes.val, fields: [attributes.user]}}`,
	`{alert: Wide, on: log, where: 'attributes.bad', count: true, window: 130s, fire: "> 20", resolve: "< 15", for: 2s}`,
	`{alert: Silent, on: log, where: 'message == "a" and not attributes.bad', by: [attributes.svc], expect: every 3s}`,
	`{alert: Low, on: log, count: true, window: 4s, fire: "< 30", for: 14s, keep_firing_for: 4s}`,
	`{alert: Capped, on: log, where: 'message == "a"', by: [attributes.user], count: true, window: 4s, fire: "> 1", cap: 2}`,
}

// someRules draws the first and two thirds of the others, some of them in shadow.
func someRules(d *dice) schemas.RuleSource {
	var b strings.Builder
	b.WriteString("groups:\n  - name: sim\n    rules:\n      - " + pool[0] + "\n")
	for _, r := range pool[1:] {
		if d.chance(4) {
			r = strings.TrimSuffix(r, "}") + ", mode: shadow}"
		}
		if d.Intn(3) > 0 {
			b.WriteString("      - " + r + "\n")
		}
	}
	return schemas.RuleSource{Files: []schemas.RuleFile{{Name: "sim.yaml", Text: b.String()}}}
}
