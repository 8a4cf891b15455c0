package sim

import (
	"errors"
	"fmt"
	"math/rand"
	"strings"
	"time"

	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/schemas"
)

// lane is a publisher's own subject: compare-and-swap, one frame in flight, the
// same bytes again after an unknown outcome.
type lane struct {
	partition schemas.Partition
	subject   string
	skew      int64
	n, rev    uint64
	flight    *fence.Message
	unsure    bool
	retry     int64
}

func newLane(w *world, i int, p schemas.Partition) *lane {
	subject, err := schemas.FrameSubject(p, schemas.KindLog, fmt.Sprintf("svc%d", i), fmt.Sprintf("l%d", i))
	if err != nil {
		panic(err)
	}
	return &lane{partition: p, subject: subject, skew: int64(w.rng.Intn(9)-4) * unit}
}

// step sends the frame in flight when it is time.
func (l *lane) step(w *world) {
	if l.flight == nil || !w.broker.calm && w.broker.now < l.retry {
		return
	}
	seq, err := w.broker.Append(w.ctx, *l.flight, l.rev)
	var refused *fence.RefusedError
	switch {
	case err == nil:
		l.rev, l.flight, l.unsure = seq, nil, false
	case errors.As(err, &refused) && l.unsure:
		l.rev, l.flight, l.unsure = refused.Last, nil, false
	case errors.Is(err, fence.ErrUnknown):
		l.unsure = true
		l.retry = w.broker.now + int64(1+w.rng.Intn(20))*unit
	default:
		w.errs = append(w.errs, fmt.Errorf("lane %s: %w", l.subject, err))
		l.flight = nil
	}
}

// publish makes a frame with a few events, some late, some from the future.
func (l *lane) publish(w *world) {
	if l.flight != nil {
		return
	}
	var lines []string
	for n := 1 + w.rng.Intn(3); n > 0; n-- {
		at := w.broker.now + l.skew - int64(w.rng.Intn(6))*unit
		if w.chance(8) {
			at -= int64(w.rng.Intn(90)) * unit
			w.stats.Late++
		}
		if w.chance(12) {
			at += int64(w.rng.Intn(250)) * unit
			w.stats.Future++
		}
		if w.chance(60) {
			lines = append(lines, `{"timestamp":"yesterday"}`)
			continue
		}
		lines = append(lines, line(at, []string{"a", "b"}[w.rng.Intn(2)],
			w.rng.Intn(3), w.rng.Intn(6), w.chance(3), w.rng.Float64()))
	}
	l.send(w, lines...)
}

func line(at int64, message string, service, user int, bad bool, value float64) string {
	return fmt.Sprintf(`{"timestamp":%q,"message":%q,"svc":"s%d","user":"u%d","bad":%t,"val":%.3f}`,
		time.Unix(0, at).UTC().Format(time.RFC3339Nano), message, service, user, bad, value)
}

// send puts lines into a frame and sends it.
func (l *lane) send(w *world, lines ...string) {
	l.n++
	for i, text := range lines {
		lines[i] = fmt.Sprintf(`{"id":"%s/%d/%d",%s`, l.subject, l.n, i, strings.TrimPrefix(text, "{"))
	}
	h := schemas.FrameHeader{Counter: l.n, Events: len(lines)}
	l.flight = &fence.Message{Subject: l.subject, Header: h.Map(), Data: schemas.Pack(nil, []byte(strings.Join(lines, "\n")))}
	l.unsure, l.retry = false, 0
	l.step(w)
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
func someRules(rng *rand.Rand) schemas.RuleSource {
	var b strings.Builder
	b.WriteString("groups:\n  - name: sim\n    rules:\n      - " + pool[0] + "\n")
	for _, r := range pool[1:] {
		if rng.Intn(4) == 0 {
			r = strings.TrimSuffix(r, "}") + ", mode: shadow}"
		}
		if rng.Intn(3) > 0 {
			b.WriteString("      - " + r + "\n")
		}
	}
	return schemas.RuleSource{Files: []schemas.RuleFile{{Name: "sim.yaml", Text: b.String()}}}
}
