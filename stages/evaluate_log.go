package stages

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/rules/engine"
	"github.com/dermai/millrace/schemas"
)

// logged is what alerts.<class> says beyond the decider's state.
type logged struct {
	next      uint64   // sequence of ALERTS to read
	tick      int64    // decided to its end
	decisions [][]byte // with changes, not decided again yet; unpacked
}

// covers tells whether a decision that was made again is the next one that is
// logged. One that differs is an incident.
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
	if !bytes.Equal(again, l.decisions[0]) {
		return false, fence.Incident(d.Class.Alerts(), "tick %d was decided differently:\nlogged %s\nagain  %s", d.Tick, l.decisions[0], again)
	}
	l.decisions = l.decisions[1:]
	return true, nil
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
	switch e.Header[schemas.HeaderType] {
	case schemas.TypeCheckpoint:
		var part schemas.CheckpointPart
		if err := schemas.DecodeInto(e.Data, &part); err != nil {
			return fence.Incident(e.Subject, "message %d: %v", e.Seq, err)
		}
		m.check.follow(e.Seq, &part)
	case schemas.TypeDecision:
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
	}
	return nil
}

// checkpoints knows the last two whole checkpoints of a subject, by the
// sequences of their first parts.
type checkpoints struct {
	last, previous uint64
	tick           int64  // of the last one
	needed         uint64 // sequence of PARTIALS that the last one reads on from
	trim           uint64 // PARTIALS may be trimmed below; 0: nothing to trim
	first          uint64 // of the one that is being written or followed
}

func (c *checkpoints) header() string {
	return strconv.FormatUint(c.last, 10) + "," + strconv.FormatUint(c.previous, 10)
}

func parseCheckpoints(h string) (last, previous uint64, err error) {
	if h == "" {
		return 0, 0, nil
	}
	a, b, _ := strings.Cut(h, ",")
	if last, err = strconv.ParseUint(a, 10, 64); err == nil {
		previous, err = strconv.ParseUint(b, 10, 64)
	}
	if err != nil {
		return 0, 0, fmt.Errorf("header %s: %q is not <last>,<previous>", schemas.HeaderCheckpoint, h)
	}
	return last, previous, nil
}

// stored notes a part of an own checkpoint.
func (c *checkpoints) stored(o output, seq uint64, tick int64) {
	if o.first {
		c.first = seq
	}
	if o.last {
		c.previous, c.last, c.tick = c.last, c.first, tick
		c.trim, c.needed = c.needed, o.needed
	}
}

// follow notes a part of another evaluator's checkpoint.
func (c *checkpoints) follow(seq uint64, part *schemas.CheckpointPart) {
	if part.Part == 1 {
		c.first = seq
	}
	if part.Part == part.Of && c.first > 0 {
		c.previous, c.last, c.tick = c.last, c.first, part.Tick
	}
}

// memory is the content of a checkpoint.
type memory struct {
	Decider []byte                      `json:"decider"`
	Chains  map[schemas.Partition]chain `json:"chains"`
	Next    uint64                      `json:"next"`    // sequence of PARTIALS to read on from
	Changed int64                       `json:"changed"` // last tick with a change that somebody is told of
}

func (m *Evaluate) enqueueCheckpoint() error {
	decider, err := m.decider.Checkpoint()
	if err != nil {
		return fence.Incident(m.cfg.Class.Alerts(), "checkpoint: %v", err)
	}
	state, err := schemas.Encode(memory{Decider: decider, Chains: m.chains, Next: m.next, Changed: m.changed})
	if err != nil {
		return fence.Incident(m.cfg.Class.Alerts(), "checkpoint: %v", err)
	}
	of := max(1, (len(state)+partBytes-1)/partBytes)
	for i := range of {
		part := schemas.CheckpointPart{Tick: m.decider.Tick(), Part: i + 1, Of: of, Data: state[i*partBytes : min(len(state), (i+1)*partBytes)]}
		data, err := schemas.Encode(part)
		if err != nil {
			return fence.Incident(m.cfg.Class.Alerts(), "checkpoint: %v", err)
		}
		m.queue = append(m.queue, output{
			kind: schemas.TypeCheckpoint, data: data, first: i == 0, last: i == of-1, needed: m.next,
		})
	}
	// A checkpoint says too how far ticks are decided.
	m.queue[len(m.queue)-1].tick = m.decider.Tick()
	return nil
}

// restore takes the state from the last whole checkpoint, the one before it if
// that cannot be read, or the beginning of the partials.
func (m *Evaluate) restore(ctx context.Context) (bool, error) {
	s := m.control.Schedule()
	first, ok := s.First()
	if !ok {
		return false, nil
	}
	head, err := m.cfg.Log.Head(ctx, m.cfg.Class.Alerts())
	if err != nil {
		return false, fence.Missing(fmt.Errorf("load %s: %w", m.cfg.Class.Alerts(), err), m.cfg.Class.Alerts())
	}
	last, previous, err := parseCheckpoints(head.Header[schemas.HeaderCheckpoint])
	if err != nil {
		return false, fence.Incident(m.cfg.Class.Alerts(), "message %d: %v", head.Seq, err)
	}
	m.chains, m.heads = map[schemas.Partition]chain{}, map[schemas.Partition]uint64{}
	m.asking.reset()
	m.claimed, m.queue, m.check = false, nil, checkpoints{last: last, previous: previous}
	var bad error
	for _, at := range []uint64{last, previous} {
		if at == 0 {
			continue
		}
		state, next, err := m.readCheckpoint(ctx, at)
		if err == nil {
			err = m.remember(state, next)
		}
		if err == nil {
			return true, nil
		}
		if not := (*unusableError)(nil); !errors.As(err, &not) {
			return false, err
		}
		bad = errors.Join(bad, err)
	}
	if bad != nil {
		return false, fence.Incident(m.cfg.Class.Alerts(), "no checkpoint can be read: %v", bad)
	}
	m.decider = m.newDecider()
	m.next, m.written, m.changed = 1, first-1, 0
	m.logged = logged{next: 1, tick: first - 1}
	m.check.tick = first - 1
	return true, nil
}

// unusableError says that what is stored is not a whole checkpoint.
type unusableError struct{ error }

func unusable(at uint64, format string, args ...any) error {
	return &unusableError{fmt.Errorf("checkpoint %d: %w", at, fmt.Errorf(format, args...))}
}

// readCheckpoint joins the parts of the checkpoint whose first has sequence at,
// and gives the sequence after the last.
func (m *Evaluate) readCheckpoint(ctx context.Context, at uint64) (state []byte, next uint64, err error) {
	next = at
	for want, of := 1, 1; want <= of; {
		entries, err := m.cfg.Log.Read(ctx, schemas.StreamAlerts, next, readPartials)
		if err != nil {
			return nil, 0, fmt.Errorf("read checkpoint %d: %w", at, err)
		}
		if len(entries) == 0 {
			return nil, 0, unusable(at, "it ends after %d of %d parts", want-1, of)
		}
		for _, e := range entries {
			if next = e.Seq + 1; e.Subject != m.cfg.Class.Alerts() {
				continue
			}
			var part schemas.CheckpointPart
			if err := schemas.DecodeInto(e.Data, &part); err != nil {
				return nil, 0, unusable(at, "message %d: %w", e.Seq, err)
			}
			if e.Header[schemas.HeaderType] != schemas.TypeCheckpoint || part.Part != want {
				return nil, 0, unusable(at, "message %d is not its part %d", e.Seq, want)
			}
			state, of = append(state, part.Data...), part.Of
			if want++; want > of {
				break
			}
		}
	}
	return state, next, nil
}

// remember makes the state of a checkpoint the machine's own; the log goes on at
// next.
func (m *Evaluate) remember(state []byte, next uint64) error {
	var saved memory
	if err := schemas.DecodeInto(state, &saved); err != nil {
		return unusable(m.check.last, "%w", err)
	}
	decider := m.newDecider()
	if err := decider.Restore(saved.Decider); err != nil {
		return unusable(m.check.last, "%w", err)
	}
	m.decider, m.chains, m.next, m.changed = decider, saved.Chains, saved.Next, saved.Changed
	m.logged = logged{next: next, tick: decider.Tick()}
	m.written, m.check.tick, m.check.needed = decider.Tick(), decider.Tick(), saved.Next
	return nil
}

func (m *Evaluate) newDecider() *engine.Decider {
	d := engine.NewDecider(m.control.Schedule(), m.cfg.Class)
	d.PartBytes = m.cfg.PartBytes
	return d
}

// trim forgets the partials that no checkpoint reads on from, never a subject's
// last message, which is its reducer's position.
func (m *Evaluate) trim(ctx context.Context) {
	for p, head := range m.heads {
		if err := m.cfg.Trimmer.Trim(ctx, schemas.StreamPartials, p.Partials(), min(m.check.trim, head)); err != nil {
			return // tried again after the next decision
		}
	}
	m.check.trim = 0
}
