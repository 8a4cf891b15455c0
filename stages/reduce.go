package stages

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/internal/chaos"
	"github.com/dermai/millrace/rules"
	"github.com/dermai/millrace/rules/engine"
	"github.com/dermai/millrace/schemas"
)

// When a reducer commits: when its partition's time enters another second (on
// the deployment's tick), before a commit outgrows a message, and when no event
// has come for a moment.
const (
	commitBytes  = 256 << 10
	commitEvents = 50_000                 // unless told otherwise
	quietCommit  = 250 * time.Millisecond // without an event
	readFrames   = 64                     // frames asked for at once
	stepEvents   = 5000                   // events folded in one step
)

// ReduceConfig is what a reducer needs.
type ReduceConfig struct {
	Partition  schemas.Partition
	Log        fence.Log
	Quarantine Quarantine
	Clock      Clock
	Claims     func() string // see fence.NewWriter
	Rules      *rules.Cache  // of the process; nil: none
	// Events is the number of events after which it commits though no second has
	// passed. 0: 50,000.
	Events  int64
	Metrics *Metrics // nil: not counted
	Tally   Tally    // of what is committed; nil: not counted
}

// Reduce folds the frames of one partition and commits what they add to every
// window, exactly once, to partials.<p>.
type Reduce struct {
	cfg     ReduceConfig
	stream  string
	control *Control
	writer  *fence.Writer
	metrics *Metrics
	tally   Tally

	reducer *engine.Reducer // nil: to be loaded
	created int64           // of the stream that is read
	from    schemas.Position
	aFrom   int64
	events  int64     // since the last commit
	flight  flight    // the commit that is being stored
	folded  time.Time // when an event was last folded, by our clock

	read  []fence.Entry // read ahead
	frame frame         // the one being folded
}

// flight counts what is in a commit.
type flight struct {
	events int64
	lost   uint64
}

// NewReduce prepares a reducer. It claims its subject at the first Step.
func NewReduce(cfg ReduceConfig) *Reduce {
	cfg.Events = cmp.Or(cfg.Events, commitEvents)
	if cfg.Tally == nil {
		cfg.Tally = noTally{}
	}
	return &Reduce{
		cfg:     cfg,
		stream:  cfg.Partition.Stream(),
		control: NewControl(cfg.Log, cfg.Clock, cfg.Rules),
		writer:  fence.NewWriter(cfg.Log, cfg.Partition.Partials(), cfg.Claims),
		metrics: cfg.Metrics.orNone(),
		tally:   cfg.Tally,
	}
}

// Step implements Machine.
func (m *Reduce) Step(ctx context.Context) (bool, error) {
	if m.writer.Unsettled() {
		return m.settled(m.writer.Settle(ctx))
	}
	if _, err := m.control.Read(ctx); err != nil {
		if errors.Is(err, errBehind) {
			m.forget()
		}
		return false, err
	}
	if m.reducer == nil {
		return m.load(ctx)
	}
	before := m.events
	busy, err := m.fold(ctx)
	if err != nil {
		return false, err
	}
	if m.events > before {
		m.folded = m.cfg.Clock()
	}
	// The evaluator asks for the time of what it knows of: where no second passes
	// by itself, what was folded is committed all the same.
	quiet := !busy && m.events > 0 && m.cfg.Clock().Sub(m.folded) >= quietCommit
	if !m.due() && !quiet {
		return busy, nil
	}
	return m.commit(ctx, schemas.TypePartial)
}

// load reads the head of the subject, looks whether the stream is still the one
// that the head was read from, and claims the subject.
func (m *Reduce) load(ctx context.Context) (bool, error) {
	p := m.cfg.Partition
	if _, open := m.control.Schedule().Opened(p); !open {
		return false, nil
	}
	head, err := m.writer.Load(ctx)
	if err != nil {
		return false, fence.Missing(err, p.Partials())
	}
	at := schemas.Partial{ArrivalTo: m.control.Schedule().Floor(p)}
	fresh := head.Header[schemas.HeaderType] == schemas.TypeGenesis
	if !fresh {
		at = schemas.Partial{}
		if err := schemas.DecodeInto(head.Data, &at); err != nil {
			return false, fence.Incident(p.Partials(), "message %d: %v", head.Seq, err)
		}
	}
	if err := m.control.recognise(ctx, at.Control); err != nil {
		return false, err
	}
	info, err := fence.Extent(ctx, m.cfg.Log, m.stream, at.To.Seq)
	if err != nil {
		return false, fmt.Errorf("load partition %s: %w", p, err)
	}
	if fresh {
		at.Created = info.Created
	}
	if err := m.guard(&at, info); err != nil {
		return false, err
	}
	m.frame = frame{id: at.ToID}
	if at.To.Seq >= max(info.First, 1) && !info.Lost(at.To.Seq) && !chaos.Bug("position of a whole frame") {
		if err := m.reopen(ctx, &at); err != nil {
			return false, err
		}
	}
	m.created, m.from, m.aFrom, m.events, m.read = info.Created, at.To, at.ArrivalTo, 0, nil
	m.reducer = engine.NewReducer(m.control.Schedule(), p)
	if chaos.Bug("running maximum lost at takeover") {
		at.ArrivalTo = m.control.Schedule().Floor(p)
	}
	m.reducer.Resume(at.To, at.ArrivalTo)
	switch gone := info.Lost(at.To.Seq); {
	case at.Midway && (gone || info.First > at.To.Seq):
		m.reducer.Tear(1) // the rest of the frame
	case gone: // and what was behind it, as far as anybody knows
		m.reducer.Tear(0)
	}
	return m.commit(ctx, schemas.TypeClaim)
}

// guard compares the position with the extent of the stream: a sequence alone
// is no stable identity.
func (m *Reduce) guard(at *schemas.Partial, info fence.Info) error {
	if chaos.Bug("rewind not noticed") {
		return nil
	}
	switch {
	case at.Created != info.Created && !chaos.Bug("recreation not noticed"):
		return fmt.Errorf("%s: created %s, and the position is of a stream created %s: %w", m.stream, stamp(info.Created), stamp(at.Created), fence.ErrRecreated)
	case at.To.Seq > info.Last:
		return fmt.Errorf("%s: read up to sequence %d, and the last is %d: %w", m.stream, at.To.Seq, info.Last, fence.ErrRewound)
	}
	return nil
}

// reopen reads the frame of the position again, makes sure that it is the one
// that was read, and goes on inside it.
func (m *Reduce) reopen(ctx context.Context, at *schemas.Partial) error {
	found, err := m.cfg.Log.Read(ctx, m.stream, at.To.Seq, 1)
	if err != nil {
		return fmt.Errorf("load partition %s: %w", m.cfg.Partition, err)
	}
	if len(found) == 0 || found[0].Seq != at.To.Seq {
		return fmt.Errorf("load partition %s: sequence %d is kept but was not delivered", m.cfg.Partition, at.To.Seq)
	}
	m.frame = open(found[0], at.To.Index)
	if m.frame.id != at.ToID {
		return fmt.Errorf("%s: sequence %d is frame %s, and frame %s was read there: %w", m.stream, at.To.Seq, m.frame.id, at.ToID, fence.ErrRewound)
	}
	return nil
}

// fold reads on, up to a bounded number of events or to where a commit is due.
func (m *Reduce) fold(ctx context.Context) (bool, error) {
	for budget := stepEvents; budget > 0 && !m.due(); {
		if m.frame.done() {
			ok, err := m.next(ctx)
			if !ok {
				return false, err
			}
			budget--
			continue
		}
		if !m.reducer.Settled() { // after a restart inside the frame
			return false, m.control.tick(ctx)
		}
		if err := m.foldEvent(ctx); err != nil {
			return false, err
		}
		budget--
	}
	return true, nil
}

// next moves to the next frame; false: there is none, or the control log must
// be read further first.
func (m *Reduce) next(ctx context.Context) (bool, error) {
	if len(m.read) == 0 {
		var err error
		m.read, err = m.cfg.Log.Read(ctx, m.stream, m.reducer.Position().Seq+1, readFrames)
		if err != nil {
			return false, fmt.Errorf("read partition %s: %w", m.cfg.Partition, err)
		}
		if len(m.read) == 0 {
			return false, nil
		}
	}
	e := m.read[0]
	if !m.reducer.Arrive(e.Seq, e.Time, e.Header) {
		return false, m.control.tick(ctx)
	}
	m.read = m.read[1:]
	m.frame = open(e, 0)
	return true, nil
}

// foldEvent folds the next event of the frame. One that cannot be read goes to
// the quarantine first, and counts as read only when it is there.
func (m *Reduce) foldEvent(ctx context.Context) error {
	index, event, err := m.frame.event(m.cfg.Partition, m.reducer.Arrival())
	if err != nil {
		q := m.frame.quarantined(m.stream, index, err)
		if err := m.cfg.Quarantine.Put(ctx, q); err != nil && !chaos.Bug("quarantine not awaited") {
			return fmt.Errorf("quarantine %s: %w", q.ID, err)
		}
	}
	m.reducer.Fold(index, event)
	if event != nil {
		m.tally.Count(event)
	}
	m.frame.advance()
	m.events++
	return nil
}

// due tells whether to commit now.
func (m *Reduce) due() bool {
	t := m.control.Schedule().Timing()
	return t.Sec(m.reducer.Arrival()) > t.Sec(m.aFrom) || m.reducer.Size() >= commitBytes || m.events >= m.cfg.Events
}

func (m *Reduce) commit(ctx context.Context, kind string) (bool, error) {
	part := m.reducer.Cut()
	part.Partition, part.Created = m.cfg.Partition, m.created
	part.From, part.ArrivalFrom = m.from, m.aFrom
	part.ToID, part.Midway, part.Control = m.frame.id, !m.frame.done(), m.control.mark()
	if chaos.Bug("idle partition vouched by clock") {
		part.ArrivalTo = max(part.ArrivalTo, m.cfg.Clock().UnixNano())
	}
	data, err := schemas.Encode(part)
	if err != nil {
		return false, fence.Incident(m.cfg.Partition.Partials(), "encode a partial: %v", err)
	}
	m.from, m.aFrom, m.events = part.To, part.ArrivalTo, 0
	m.flight = flight{part.Events, part.Lost}
	return m.settled(m.writer.Append(ctx, fence.Header{schemas.HeaderType: kind}, data))
}

// settled judges the outcome of an append or of settling one.
func (m *Reduce) settled(err error) (bool, error) {
	if err == nil {
		m.tally.Commit()
		m.metrics.events.WithLabelValues(m.cfg.Partition.String()).Add(float64(m.flight.events))
		m.metrics.lost.WithLabelValues(m.cfg.Partition.String()).Add(float64(m.flight.lost))
		m.flight = flight{}
		m.metrics.frontier.WithLabelValues(m.cfg.Partition.String()).Set(float64(m.aFrom) / 1e9)
		return true, nil
	}
	if errors.Is(err, fence.ErrUnknown) || errors.Is(err, fence.ErrFull) {
		return false, err
	}
	if errors.Is(err, fence.ErrFenced) {
		m.metrics.fenced.WithLabelValues(m.cfg.Partition.Partials()).Inc()
	}
	m.forget() // fenced, or refused for good: load again
	return false, fence.Missing(err, m.cfg.Partition.Partials())
}

// forget drops what was folded and not committed: it will be read again.
func (m *Reduce) forget() {
	m.reducer, m.read = nil, nil
	m.tally.Drop()
}
