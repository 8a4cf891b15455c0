package notify

import (
	"context"
	"fmt"

	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/schemas"
)

// collect begins to gather what is pending from a sequence on: there is room for
// one message only.
func (m *Send) collect(ctx context.Context, from uint64) error {
	info, err := m.cfg.Log.Info(ctx, schemas.StreamNotify)
	if err != nil {
		return fmt.Errorf("look at notifications: %w", err)
	}
	m.now = &work{gathered: newGathered(m.cfg.Name, from, max(from, info.Last))}
	m.phase = gathering
	return nil
}

// gather reads on, up to the end of the range.
func (m *Send) gather(ctx context.Context) (bool, error) {
	g := m.now.gathered
	entries, err := m.cfg.Log.Read(ctx, schemas.StreamNotify, g.next, readEntries)
	if err != nil {
		return false, fmt.Errorf("read notifications: %w", err)
	}
	if len(entries) == 0 && g.fixed {
		info, err := m.cfg.Log.Info(ctx, schemas.StreamNotify)
		if err != nil {
			return false, fmt.Errorf("look at notifications: %w", err)
		}
		if info.First <= g.until && info.Last >= g.next {
			return false, fmt.Errorf("read notification %d: not there yet, though NOTIFY ends at %d", g.next, info.Last)
		}
	}
	full := len(entries) == 0
	for _, e := range entries {
		if full = e.Seq > g.until; full {
			break
		}
		if isFor(e, m.cfg.Name) && !g.add(e) {
			full = true
			break
		}
		g.next = e.Seq + 1
	}
	if full || g.next > g.until {
		return true, m.whole()
	}
	return true, nil
}

// whole takes what was gathered in hand: as a digest, or as what it is if it is
// one alone.
func (m *Send) whole() error {
	w, g := m.now, m.now.gathered
	if !g.fixed && g.count < 2 {
		m.phase, m.now, m.next = idle, nil, g.from
		if g.count == 1 {
			m.next = g.last + 1
			m.take(g.only)
			return nil
		}
		m.alone = g.from // it cannot be read, or is not there yet
		return nil
	}
	if g.fixed && g.last != g.until { // what it ended with is no longer kept
		g.last, g.stored = g.until, 0
	}
	w.seq, w.stored, w.from, w.notification = g.last, g.stored, g.from, g.notification()
	data, err := schemas.Encode(w.notification)
	if err != nil {
		return fence.Incident(m.subject, "encode a digest: %v", err)
	}
	w.data = data
	m.next = max(m.next, w.seq+1)
	switch {
	case g.count == 0:
		m.metrics.lost.WithLabelValues(m.cfg.Name, schemas.StreamNotify).Inc()
		m.judge(schemas.DeliveryRejected, "the notifications expired before they could be delivered")
		m.phase = ending
	case m.at.Outcome == schemas.DeliveryStarted && g.fixed:
		m.judge(schemas.DeliveryAmbiguous, stoppedInside)
	default:
		m.phase = waiting
	}
	return nil
}

// regather takes up a digest that the sender before this one left unfinished.
func (m *Send) regather() {
	g := newGathered(m.cfg.Name, m.at.From, m.at.Seq)
	g.fixed = true
	m.now = &work{seq: m.at.Seq, from: m.at.From, attempt: m.at.Attempt, gathered: g}
}
