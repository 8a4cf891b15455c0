package stages

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/schemas"
)

// logged is what alerts.<class> says beyond the decider's state.
type logged struct {
	next      uint64   // sequence of ALERTS to read
	tick      int64    // decided to its end
	decisions [][]byte // with changes, not decided again yet; unpacked
}

// covers tells whether a decision that was made again is the next one that is
// logged. One that differs is an incident, but for evidence: another build may have
// chosen it otherwise (ADR 65), and nothing that is decided later rests on it.
func (l *logged) covers(d *schemas.Decision) (bool, error) {
	if len(l.decisions) == 0 || len(d.Transitions)+len(d.Admitted)+len(d.Released) == 0 {
		return false, nil
	}
	packed, err := schemas.Encode(d)
	if err != nil {
		return false, err
	}
	again, err := schemas.Unpack(nil, packed, len(packed)+maxDecision)
	if err != nil {
		return false, err
	}
	if !bytes.Equal(again, l.decisions[0]) && !alike(*d, l.decisions[0]) {
		return false, fence.Incident(d.Class.Alerts(), "tick %d was decided differently:\nlogged %s\nagain  %s", d.Tick, l.decisions[0], again)
	}
	l.decisions = l.decisions[1:]
	return true, nil
}

// alike tells whether a decision differs from a logged one in evidence alone.
func alike(d schemas.Decision, logged []byte) bool {
	var l schemas.Decision
	if err := schemas.DecodeInto(logged, &l); err != nil {
		return false
	}
	var plain [2][]byte
	for i, d := range []schemas.Decision{d, l} {
		d.Transitions = slices.Clone(d.Transitions)
		for j := range d.Transitions {
			d.Transitions[j].Evidence = nil
		}
		var err error
		if plain[i], err = schemas.Encode(d); err != nil {
			return false
		}
	}
	return bytes.Equal(plain[0], plain[1])
}

// maxDecision bounds a decision or a checkpoint part when unpacked.
const maxDecision = 64 << 20

// follow reads what is logged.
func (m *Evaluate) follow(ctx context.Context) (bool, error) {
	entries, err := m.cfg.Log.Read(ctx, schemas.StreamAlerts, m.logged.next, readPartials)
	if err != nil {
		return false, fmt.Errorf("read alerts: %w", err)
	}
	for _, e := range entries {
		m.logged.next = e.Seq + 1
		if e.Subject != m.cfg.Class.Alerts() {
			continue
		}
		if err := m.followEntry(e); err != nil {
			return false, err
		}
	}
	return len(entries) > 0, nil
}

func (m *Evaluate) followEntry(e fence.Entry) error {
	last, previous, err := parseCheckpoints(e.Header[schemas.HeaderCheckpoint])
	if err != nil {
		return fence.Incident(e.Subject, "message %d: %v", e.Seq, err)
	}
	m.check.last, m.check.previous = last, previous
	if e.Header[schemas.HeaderType] != schemas.TypeDecision {
		return nil
	}
	data, err := schemas.Unpack(nil, e.Data, maxDecision)
	if err != nil {
		return fence.Incident(e.Subject, "message %d: %v", e.Seq, err)
	}
	var d schemas.Decision
	if err := schemas.DecodeInto(data, &d); err != nil {
		return fence.Incident(e.Subject, "message %d: %v", e.Seq, err)
	}
	if len(d.Transitions)+len(d.Admitted)+len(d.Released) > 0 {
		m.logged.decisions = append(m.logged.decisions, data)
	}
	if d.Done {
		m.logged.tick = d.Tick
		m.written = d.Tick
	}
	return nil
}
