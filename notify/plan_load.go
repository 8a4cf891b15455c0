package notify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/schemas"
)

// memory is the content of a checkpoint.
type memory struct {
	Planner json.RawMessage `json:"planner"`
	Created int64           `json:"created"` // of ALERTS, Unix ns
}

// load takes over where the subject's head says that planning stopped: the
// planner of the last whole checkpoint plans again what came after it, and what
// is stored already is left out. Routes that changed come into force after
// that, with a checkpoint that holds them.
func (m *Plan) load(ctx context.Context) error {
	head, err := m.writer.Load(ctx)
	if err != nil {
		return fence.Missing(err, m.subject)
	}
	fresh := head.Header[schemas.HeaderType] == schemas.TypeGenesis // a new receiver
	m.at, m.checkpoint, m.previous = covers{}, 0, 0
	if !fresh {
		if m.at, m.checkpoint, m.previous, err = parsePosition(head.Header); err != nil {
			return fence.Incident(m.subject, "message %d: %v", head.Seq, err)
		}
	}
	if m.read, err = parseMark(head.Header, m.at.seq); err != nil {
		return fence.Incident(m.subject, "message %d: %v", head.Seq, err)
	}
	info, err := fence.Recognise(ctx, m.cfg.Log, schemas.StreamAlerts, m.read)
	if err != nil {
		return fmt.Errorf("look at alerts that %s is planned from: %w", m.subject, err)
	}
	m.read.Created = info.Created
	m.created, m.queue, m.silenced = info.Created, nil, 0
	if fresh {
		m.at.seq = info.Last
		m.read.Seq = info.Last
	}
	var part schemas.CheckpointPart
	if head.Header[schemas.HeaderType] == schemas.TypeCheckpoint && schemas.DecodeInto(head.Data, &part) == nil && part.Of == 1 {
		m.previous, m.checkpoint = m.checkpoint, head.Seq
	}
	if err := m.restore(ctx); err != nil {
		return err
	}
	m.queue = []planned{{kind: schemas.TypeClaim, covers: m.at, mark: m.read}}
	return m.catchUp(ctx)
}

// restore makes the planner of the last checkpoint, or of the one before it if
// that cannot be read. Without any, nothing is planned yet.
func (m *Plan) restore(ctx context.Context) error {
	if m.checkpoint == 0 {
		p, err := NewPlanner(m.cfg.Receiver, m.cfg.Config, m.cfg.Tick)
		if err != nil {
			return fence.Incident(m.subject, "%v", err)
		}
		m.planner = p
		m.planner.Pass(m.at.seq)
		return nil
	}
	var unusable error
	for _, at := range []uint64{m.checkpoint, m.previous} {
		if at == 0 {
			continue
		}
		state, err := m.readCheckpoint(ctx, at)
		if err == nil {
			err = m.remember(state)
		}
		var bad *unusableError
		if !errors.As(err, &bad) {
			return err
		}
		unusable = errors.Join(unusable, fmt.Errorf("checkpoint %d: %w", at, bad))
	}
	return fence.Incident(m.subject, "no checkpoint can be read: %v", unusable)
}

// unusableError says that what is stored is not a whole checkpoint.
type unusableError struct{ error }

func (m *Plan) remember(state []byte) error {
	var saved memory
	if err := schemas.DecodeInto(state, &saved); err != nil {
		return &unusableError{err}
	}
	if saved.Created != m.created {
		return fmt.Errorf("%s: %s: a checkpoint is of another: %w", m.subject, schemas.StreamAlerts, fence.ErrRecreated)
	}
	p, err := RestorePlanner(saved.Planner, m.cfg.Tick)
	if err != nil {
		return &unusableError{err}
	}
	if p.Seq() > m.at.seq {
		return &unusableError{fmt.Errorf("it is of message %d of ALERTS, the head of %d", p.Seq(), m.at.seq)}
	}
	m.planner = p
	return nil
}

// readCheckpoint joins the parts of the checkpoint whose first has sequence at.
func (m *Plan) readCheckpoint(ctx context.Context, at uint64) ([]byte, error) {
	var state []byte
	next := at
	for want, of := 1, 1; want <= of; {
		entries, err := m.cfg.Log.Read(ctx, schemas.StreamNotify, next, readEntries)
		if err != nil {
			return nil, fmt.Errorf("read checkpoint %d: %w", at, err)
		}
		if len(entries) == 0 { // the head, which is later, is there
			return nil, fmt.Errorf("read checkpoint %d: nothing from %d on yet", at, next)
		}
		for _, e := range entries {
			if next = e.Seq + 1; e.Subject != m.subject {
				continue
			}
			var part schemas.CheckpointPart
			if err := schemas.DecodeInto(e.Data, &part); err != nil {
				return nil, &unusableError{fmt.Errorf("message %d: %w", e.Seq, err)}
			}
			if e.Header[schemas.HeaderType] != schemas.TypeCheckpoint || part.Part != want {
				return nil, &unusableError{fmt.Errorf("message %d is not its part %d", e.Seq, want)}
			}
			state, of = append(state, part.Data...), part.Of
			if want++; want > of {
				break
			}
		}
	}
	return state, nil
}

// catchUp plans again what the head covers, queues what is not stored of it, and
// puts changed routes in force.
func (m *Plan) catchUp(ctx context.Context) error {
	for m.since = 0; m.planner.Seq() < m.at.seq; {
		entries, err := m.cfg.Log.Read(ctx, schemas.StreamAlerts, m.planner.Seq()+1, readEntries)
		if err != nil {
			return fmt.Errorf("read alerts: %w", err)
		}
		if len(entries) == 0 {
			if err := m.gone(ctx); err != nil {
				return err
			}
			break
		}
		if err := m.expired(ctx, entries[0].Seq); err != nil {
			return err
		}
		for _, e := range entries {
			if e.Seq > m.at.seq { // the message itself is no longer kept
				m.planner.Pass(m.at.seq)
				break
			}
			out, err := m.feed(e)
			if err != nil {
				return err
			}
			m.since++
			if e.Seq < m.at.seq {
				continue
			}
			if err := m.enqueue(out, m.at.n); err != nil {
				return err
			}
		}
	}
	changed, err := m.planner.Reconfigure(m.cfg.Config)
	if err != nil {
		return fence.Incident(m.subject, "%v", err)
	}
	if changed || m.checkpoint == 0 {
		return m.enqueueCheckpoint()
	}
	return nil
}

// gone moves on if what the head covers is no longer kept. A read that ends
// early for another reason is tried again.
func (m *Plan) gone(ctx context.Context) error {
	info, err := m.cfg.Log.Info(ctx, schemas.StreamAlerts)
	if err != nil {
		return fmt.Errorf("look at alerts: %w", err)
	}
	if info.First <= m.at.seq {
		return fmt.Errorf("read alerts: nothing from %d on, though %d is kept", m.planner.Seq()+1, info.First)
	}
	if err := m.expired(ctx, info.First); err != nil {
		return err
	}
	m.planner.Pass(m.at.seq)
	return nil
}

// enqueueCheckpoint queues the planner's state. Everything that follows from
// what it was fed is queued before it.
func (m *Plan) enqueueCheckpoint() error {
	at := covers{seq: m.planner.Seq(), n: 0}
	if at.seq == m.at.seq {
		at.n = m.at.n
	}
	if len(m.queue) > 0 {
		at.n = max(at.n, m.queue[len(m.queue)-1].covers.n)
	}
	state, err := m.planner.Checkpoint()
	if err != nil {
		return fence.Incident(m.subject, "%v", err)
	}
	whole, err := schemas.Encode(memory{Planner: state, Created: m.created})
	if err != nil {
		return fence.Incident(m.subject, "checkpoint: %v", err)
	}
	mark := m.read
	if mark.Seq != at.seq { // passed over, since it is no longer kept
		mark = schemas.Mark{Created: m.created}
	}
	of := (len(whole) + partBytes - 1) / partBytes
	for i := range of {
		part := schemas.CheckpointPart{Part: i + 1, Of: of, Data: whole[i*partBytes : min(len(whole), (i+1)*partBytes)]}
		data, err := schemas.Encode(part)
		if err != nil {
			return fence.Incident(m.subject, "checkpoint: %v", err)
		}
		m.queue = append(m.queue, planned{
			kind: schemas.TypeCheckpoint, data: data, covers: at, mark: mark, first: i == 0, last: i == of-1,
		})
	}
	return nil
}
