package notify

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/schemas"
)

const (
	readEntries = 64      // messages asked for at once
	partBytes   = 512_000 // of state in one checkpoint part

	// keepAlive is the longest time without an append: NOTIFY and DELIVERIES keep
	// messages for 90 days, and a subject whose last message expired has lost its
	// position.
	keepAlive = 24 * time.Hour

	// DefaultCheckpointEvery is how many messages of ALERTS a restart plans again
	// at most.
	DefaultCheckpointEvery = 1000
)

// PlanConfig is what the planner of a receiver needs.
type PlanConfig struct {
	Receiver string
	Config   Config
	Tick     time.Duration // of the deployment
	Log      fence.Log
	Claims   func() string // see fence.NewWriter
	Clock    Clock         // default: time.Now
	// Active says whether this process shall plan. Default: always.
	Active func() bool
	// CheckpointEvery is the number of messages of ALERTS between checkpoints.
	// Default: DefaultCheckpointEvery.
	CheckpointEvery int
	// Silences gives the silences that are stored, and a number that is another
	// when they are; 0 while they are not known. nil: there are none.
	Silences func() (revision uint64, list []schemas.Silence)
	Metrics  *Metrics // nil: not counted
}

// Plan follows ALERTS and appends to notify.<receiver> what the receiver is to
// be told. It is single-threaded; see Step.
type Plan struct {
	cfg     PlanConfig
	subject string
	writer  *fence.Writer
	metrics *Metrics

	planner *Planner // nil: to be loaded
	created int64    // of ALERTS
	queue   []planned
	at      covers       // what the last stored message covers
	read    schemas.Mark // the last message of ALERTS that the planner was fed
	// checkpoint and previous are the first messages of the last whole
	// checkpoints, first that of the one that is being written.
	checkpoint, previous, first uint64
	since                       int // messages fed since the last checkpoint
	last                        time.Time
	silenced                    uint64 // revision of the silences in force
}

// planned is a message that waits to be appended.
type planned struct {
	kind        string
	data        []byte
	covers      covers
	mark        schemas.Mark // of what it covers
	reason      string       // of a notification
	first, last bool         // part of a checkpoint
}

// NewPlan prepares the planner of a receiver.
func NewPlan(cfg PlanConfig) (*Plan, error) {
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	if cfg.Active == nil {
		cfg.Active = func() bool { return true }
	}
	if cfg.CheckpointEvery <= 0 {
		cfg.CheckpointEvery = DefaultCheckpointEvery
	}
	if _, err := NewPlanner(cfg.Receiver, cfg.Config, cfg.Tick); err != nil {
		return nil, err
	}
	subject := schemas.NotifySubject(cfg.Receiver)
	return &Plan{
		cfg: cfg, subject: subject,
		writer:  fence.NewWriter(cfg.Log, subject, cfg.Claims),
		metrics: cfg.Metrics.orNone(),
	}, nil
}

// Step does one bounded piece of work and is never called twice at once. busy
// says that there may be more to do right away. After an incident
// (fence.IsIncident) the machine is done for; after any other error it may be
// stepped on.
func (m *Plan) Step(ctx context.Context) (busy bool, err error) {
	if m.writer.Unsettled() {
		return m.settled(m.writer.Settle(ctx))
	}
	if !m.cfg.Active() {
		return false, nil
	}
	if m.planner == nil {
		if err := m.load(ctx); err != nil {
			m.planner = nil
			return false, err
		}
		return true, nil
	}
	if len(m.queue) > 0 {
		return m.append(ctx)
	}
	if m.since >= m.cfg.CheckpointEvery {
		return true, m.enqueueCheckpoint()
	}
	if changed, err := m.silence(); changed || err != nil {
		return changed, err
	}
	busy, err = m.follow(ctx)
	if err == nil && !busy && m.cfg.Clock().Sub(m.last) >= keepAlive {
		m.queue = append(m.queue, planned{kind: schemas.TypeClaim, covers: covers{m.planner.Seq(), 0}, mark: m.read})
	}
	return busy || len(m.queue) > 0, err
}

// silence puts silences that changed in force, with a checkpoint that holds
// them.
func (m *Plan) silence() (changed bool, err error) {
	if m.cfg.Silences == nil {
		return false, nil
	}
	revision, list := m.cfg.Silences()
	if revision == 0 || revision == m.silenced {
		return false, nil
	}
	changed, err = m.planner.Silence(list)
	if err != nil {
		return false, fence.Incident(m.subject, "%v", err)
	}
	m.silenced = revision
	if !changed {
		return false, nil
	}
	return true, m.enqueueCheckpoint()
}

// follow feeds what ALERTS has, up to the first message that something follows
// from.
func (m *Plan) follow(ctx context.Context) (bool, error) {
	entries, err := m.cfg.Log.Read(ctx, schemas.StreamAlerts, m.planner.Seq()+1, readEntries)
	if err != nil {
		return false, fmt.Errorf("read alerts: %w", err)
	}
	if len(entries) > 0 {
		if err := m.expired(ctx, entries[0].Seq); err != nil {
			return false, err
		}
	}
	for _, e := range entries {
		out, err := m.feed(e)
		if err != nil {
			return false, err
		}
		m.since++
		if len(out) > 0 {
			return true, m.enqueue(out, 0)
		}
	}
	return len(entries) > 0, nil
}

// feed gives one message of ALERTS to the planner. Those that are no decisions
// only move its position.
func (m *Plan) feed(e fence.Entry) ([]schemas.Notification, error) {
	m.read = schemas.Mark{Created: m.created, Seq: e.Seq, Time: e.Time}
	if e.Header[schemas.HeaderType] != schemas.TypeDecision {
		m.planner.Pass(e.Seq)
		return nil, nil
	}
	var d schemas.Decision
	if err := schemas.DecodeInto(e.Data, &d); err != nil {
		return nil, fence.Incident(m.subject, "message %d of %s: %v", e.Seq, e.Subject, err)
	}
	return m.planner.Feed(e.Seq, &d), nil
}

// expired counts what ALERTS forgot before it was planned, if it did.
func (m *Plan) expired(ctx context.Context, found uint64) error {
	next := m.planner.Seq() + 1
	if found == next {
		return nil
	}
	info, err := m.cfg.Log.Info(ctx, schemas.StreamAlerts)
	if err != nil {
		return fmt.Errorf("look at alerts: %w", err)
	}
	if info.First > next {
		m.metrics.lost.WithLabelValues(m.cfg.Receiver, schemas.StreamAlerts).Add(float64(info.First - next))
	}
	return nil
}

// enqueue queues the notifications that follow from one message of ALERTS, but
// for the first n, which are stored.
func (m *Plan) enqueue(out []schemas.Notification, n int) error {
	for i := n; i < len(out); i++ {
		data, err := schemas.Encode(out[i])
		if err != nil {
			return fence.Incident(m.subject, "encode a notification: %v", err)
		}
		m.queue = append(m.queue, planned{
			kind: schemas.TypeNotification, data: data, reason: out[i].Reason, covers: covers{out[i].Covers, i + 1}, mark: m.read,
		})
	}
	return nil
}

func (m *Plan) append(ctx context.Context) (bool, error) {
	o := m.queue[0]
	return m.settled(m.writer.Append(ctx, fence.Header{
		schemas.HeaderType:       o.kind,
		schemas.HeaderCovers:     o.covers.String(),
		schemas.HeaderMark:       fmt.Sprintf("%d,%d", o.mark.Created, o.mark.Time),
		schemas.HeaderCheckpoint: fmt.Sprintf("%d,%d", m.checkpoint, m.previous),
	}, o.data))
}

// settled judges the outcome of an append or of settling one.
func (m *Plan) settled(err error) (bool, error) {
	switch {
	case err == nil:
		m.stored(m.queue[0])
		m.queue = m.queue[1:]
		return true, nil
	case errors.Is(err, fence.ErrUnknown), errors.Is(err, fence.ErrFull):
		return false, err
	case errors.Is(err, fence.ErrFenced):
		m.metrics.fenced.WithLabelValues(m.cfg.Receiver, schemas.StreamNotify).Inc()
	}
	m.planner, m.queue = nil, nil
	return false, fence.Missing(err, m.subject)
}

func (m *Plan) stored(o planned) {
	m.last = m.cfg.Clock()
	m.at = o.covers
	if o.kind == schemas.TypeNotification {
		m.metrics.planned.WithLabelValues(m.cfg.Receiver, o.reason).Inc()
	}
	if o.first {
		m.first = m.writer.Seq()
	}
	if o.last {
		m.previous, m.checkpoint, m.since = m.checkpoint, m.first, 0
	}
}
