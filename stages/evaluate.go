package stages

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/internal/chaos"
	"github.com/dermai/millrace/rules"
	"github.com/dermai/millrace/rules/engine"
	"github.com/dermai/millrace/schemas"
)

const (
	readPartials = 64   // partials asked for at once
	stepTicks    = 200  // ticks decided in one step
	queueLimit   = 16   // messages decided ahead of the log
	gapTries     = 10   // restores before a partial that does not join is an incident
	quietTime    = 10e9 // ns of ticks after which a decision without changes is written
)

// EvaluateConfig is what an evaluator needs.
type EvaluateConfig struct {
	Class   schemas.Class
	Log     fence.Log
	Trimmer fence.Trimmer // nil: PARTIALS is never trimmed
	Ticker  Ticker
	Clock   Clock
	Claims  func() string // see fence.NewWriter
	Rules   *rules.Cache  // of the process; nil: none
	// Active says whether this evaluator shall decide. While it is false it
	// follows what another one decides, and is ready to go on. nil: always.
	Active func() bool
	// Linger is for how long after the last change that somebody is told of the
	// ticks go on, though nothing waits for them here: planners hold back
	// notifications until a later tick.
	Linger time.Duration
	// Awaited gives the first time after another, Unix ns, at which planners may
	// have something to tell although nothing happens, such as the end of a
	// silence. nil: there is none.
	Awaited func(after int64) (at int64, ok bool)
	// Checkpoint is the time of ticks between checkpoints. 0: one minute.
	Checkpoint time.Duration
	// PartBytes bounds a part of a decision (see engine.Decider) or of a
	// checkpoint. 0: about half of what a message may hold.
	PartBytes int
	Metrics   *Metrics // nil: not counted
	Board     Board    // shows the alerts; nil: nobody
}

// Evaluate merges the partials of a class into windows, decides tick after tick
// and appends every change of state to alerts.<class>. Now and then it writes its
// whole state to checkpoints.<class>; what it appends next names that.
//
// It decides a tick again that is logged already, after a restart or while it
// follows, and compares: a difference is an incident. So a restart needs no
// other state than a checkpoint, and a standby proves the active one right.
type Evaluate struct {
	cfg     EvaluateConfig
	control *Control
	writer  *fence.Writer
	saver   *saver
	metrics *Metrics
	asking  asking

	decider *engine.Decider  // nil: to be restored
	created map[string]int64 // of ALERTS and PARTIALS, as it was restored; Unix ns
	chains  map[schemas.Partition]chain
	heads   map[schemas.Partition]uint64 // last sequence read of each partials.<p>
	next    uint64                       // sequence of PARTIALS to read
	gapAt   uint64                       // sequence of PARTIALS that did not join; 0: none
	gaps    int                          // how often it did not

	logged  logged
	claimed bool
	shown   bool // the board shows the alerts
	queue   []output
	written int64 // last tick that the log says is decided
	changed int64 // last tick with a change that somebody is told of
	check   checkpoints
}

// chain is how far the partials of a partition have been read.
type chain struct {
	To      schemas.Position `json:"to"`
	Arrival int64            `json:"arrival"`
}

// output is a message that waits to be appended.
type output struct {
	kind string
	data []byte
	tick int64 // decided to its end when this is stored; 0: not yet
	made []schemas.Transition
}

// NewEvaluate prepares an evaluator.
func NewEvaluate(cfg EvaluateConfig) *Evaluate {
	if cfg.Active == nil {
		cfg.Active = func() bool { return true }
	}
	if cfg.Board == nil {
		cfg.Board = noBoard{}
	}
	cfg.Checkpoint = cmp.Or(cfg.Checkpoint, time.Minute)
	return &Evaluate{
		cfg:     cfg,
		control: NewControl(cfg.Log, cfg.Clock, cfg.Rules),
		writer:  fence.NewWriter(cfg.Log, cfg.Class.Alerts(), cfg.Claims),
		saver:   newSaver(cfg.Log, cfg.Class.Checkpoints(), cfg.Claims),
		metrics: cfg.Metrics.orNone(),
	}
}

// Step implements Machine.
func (m *Evaluate) Step(ctx context.Context) (bool, error) {
	busy, err := m.step(ctx)
	m.show()
	return busy, err
}

// show begins or ends to show the alerts: those of an evaluator that decides,
// which is assigned and has claimed. One that somebody else has fenced does not
// know it before it appends, but it knows that it is no longer assigned.
func (m *Evaluate) show() {
	switch decides := m.claimed && m.decider != nil && m.cfg.Active(); {
	case m.shown && !decides:
		m.shown = false
		m.cfg.Board.Hide()
	case !m.shown && decides && len(m.queue) == 0: // nothing is decided ahead of the log
		m.shown = true
		m.cfg.Board.Show(m.decider.Standing())
	}
}

func (m *Evaluate) step(ctx context.Context) (bool, error) {
	if m.writer.Unsettled() {
		return m.settled(ctx, m.writer.Settle(ctx))
	}
	if _, err := m.control.Read(ctx); err != nil {
		if errors.Is(err, errBehind) {
			m.decider, m.claimed, m.queue = nil, false, nil
		}
		return false, err
	}
	if m.decider == nil {
		return m.restore(ctx)
	}
	if len(m.queue) > 0 {
		return m.append(ctx)
	}
	busy, err := m.absorb(ctx)
	if err != nil {
		return false, err
	}
	if !m.claimed {
		more, err := m.follow(ctx)
		if err != nil {
			return false, err
		}
		busy = busy || more
	}
	decided, err := m.decide()
	if err != nil {
		return false, err
	}
	busy = busy || decided || len(m.queue) > 0
	if busy || !m.cfg.Active() {
		return busy, nil
	}
	if !m.claimed {
		return m.claim(ctx)
	}
	if m.saver.saving() {
		return true, m.save(ctx)
	}
	return false, m.ask(ctx)
}

// absorb reads what the reducers have committed.
func (m *Evaluate) absorb(ctx context.Context) (bool, error) {
	entries, err := m.cfg.Log.Read(ctx, schemas.StreamPartials, m.next, readPartials)
	if err != nil {
		return false, fmt.Errorf("read partials: %w", err)
	}
	for _, e := range entries {
		if err := m.absorbEntry(e); err != nil {
			return false, err
		}
		m.next = e.Seq + 1
	}
	return len(entries) > 0, nil
}

func (m *Evaluate) absorbEntry(e fence.Entry) error {
	// What is the other class's is not even decoded.
	other := (e.Subject == schemas.Audit.Partials()) != (m.cfg.Class == schemas.Audit.Class())
	if other || e.Header[schemas.HeaderType] == schemas.TypeGenesis {
		return nil
	}
	var part schemas.Partial
	if err := schemas.DecodeInto(e.Data, &part); err != nil {
		return fence.Incident(schemas.StreamPartials, "message %d: %v", e.Seq, err)
	}
	last, known := m.chains[part.Partition]
	if part.From != last.To || known && part.ArrivalFrom != last.Arrival {
		return m.gap(e, &part, last)
	}
	if part.ArrivalTo < part.ArrivalFrom {
		return fence.Incident(part.Partition.Partials(), "message %d: arrival falls from %d to %d", e.Seq, part.ArrivalFrom, part.ArrivalTo)
	}
	m.chains[part.Partition] = chain{part.To, part.ArrivalTo}
	m.heads[part.Partition] = e.Seq
	m.asking.arrived(part.Partition, part.ArrivalTo)
	if err := m.decider.Add(part.Rows, part.Losses); err != nil {
		return fence.Incident(part.Partition.Partials(), "message %d: %v", e.Seq, err)
	}
	return nil
}

// errBehindPartials says that partials were trimmed before they were read.
var errBehindPartials = errors.New("partials were trimmed beyond what was read of them")

// gap judges a partial that does not join the one before it. An evaluator that
// was away for longer than two checkpoints has missed what was trimmed behind
// them, and restores the last. If the same partial does not join then either, the
// chain is broken; but the head that names the checkpoint may be stale, so it is
// read a few times.
func (m *Evaluate) gap(e fence.Entry, part *schemas.Partial, last chain) error {
	if m.gapAt != e.Seq {
		m.gaps = 0
	}
	if m.gaps++; m.gaps > gapTries {
		return fence.Incident(part.Partition.Partials(), "message %d covers from %v, but the one before it ends at %v: "+
			"the chain is broken, or %s lost what named a later checkpoint", e.Seq, part.From, last.To, schemas.StreamAlerts)
	}
	m.gapAt, m.decider, m.claimed, m.queue = e.Seq, nil, false, nil
	return errBehindPartials
}

// settledTick is the last tick that may be decided: every partition that is open
// at it has passed it by more than the lateness, and the control log too.
func (m *Evaluate) settledTick() int64 {
	s := m.control.Schedule()
	t := s.Timing()
	upper := s.Limit() - 1
	for _, p := range s.Partitions(m.cfg.Class) {
		opened, _ := s.Opened(p)
		passed := int64(math.MinInt64)
		if c, ok := m.chains[p]; ok {
			passed = t.Decidable(c.Arrival)
		}
		if chaos.Bug("dead partition excluded") && passed < t.Decidable(m.cfg.Clock().UnixNano())-2 {
			continue
		}
		upper = min(upper, max(passed, opened-1))
	}
	return upper
}

// decide decides the ticks that are settled: all of them while it is active,
// those that are logged while it follows.
func (m *Evaluate) decide() (bool, error) {
	upper := m.settledTick()
	if !m.claimed {
		upper = min(upper, m.logged.tick)
	}
	start := m.decider.Tick()
	for n := 0; m.decider.Tick() < upper && len(m.queue) < queueLimit && n < stepTicks; n++ {
		due, waits := m.decider.Waits()
		if !waits || due > upper {
			m.decider.SkipTo(upper)
			break
		}
		if due > m.decider.Tick()+1 {
			m.decider.SkipTo(due - 1)
		}
		if err := m.emit(m.decider.Decide()); err != nil {
			return false, err
		}
	}
	if m.claimed && len(m.queue) == 0 {
		if err := m.emitQuiet(); err != nil {
			return false, err
		}
	}
	m.metrics.decided.WithLabelValues(string(m.cfg.Class)).Set(m.seconds(m.decider.Tick()))
	return m.decider.Tick() > start, nil
}

// emit queues the decisions of one tick, but for what is logged already.
func (m *Evaluate) emit(parts []schemas.Decision) error {
	for _, d := range parts {
		if slices.ContainsFunc(d.Transitions, func(t schemas.Transition) bool { return !t.Quiet() }) {
			m.changed = d.Tick
		}
		covered, err := m.logged.covers(&d)
		if err != nil {
			return err
		}
		if covered && m.shown { // the first part of a tick whose writer did not end it
			m.cfg.Board.Change(d.Transitions)
		}
		if covered || (len(d.Transitions)+len(d.Admitted)+len(d.Released) == 0) {
			continue
		}
		if err := m.enqueue(d); err != nil {
			return err
		}
	}
	return nil
}

// emitQuiet queues what has no change but must be written: how far ticks are
// decided, now and then, and a checkpoint.
func (m *Evaluate) emitQuiet() error {
	tick := m.decider.Tick()
	length := int64(m.control.Schedule().Timing().Tick)
	if (tick-m.check.tick)*length >= int64(m.cfg.Checkpoint) && !m.saver.saving() {
		return m.checkpoint()
	}
	due := (tick-m.written)*length >= quietTime || m.written < m.lingers() && m.lingers() <= tick || m.check.unnamed
	if at, ok := m.awaited(m.written); ok && at <= tick {
		due = true
	}
	if tick > m.written && due {
		return m.enqueue(schemas.Decision{Class: m.cfg.Class, Tick: tick, Done: true})
	}
	return nil
}

// lingers is the tick until which planners may hold back the last change.
func (m *Evaluate) lingers() int64 {
	return m.changed + m.control.Schedule().Timing().Ticks(m.cfg.Linger)
}

// waits gives the tick that something waits for.
func (m *Evaluate) waits() (tick int64, ok bool) {
	tick, ok = m.decider.Waits()
	if until := m.lingers(); m.changed > 0 && m.decider.Tick() < until && (!ok || until < tick) {
		tick, ok = until, true
	}
	if at, awaited := m.awaited(m.decider.Tick()); awaited && (!ok || at < tick) {
		return at, true
	}
	return tick, ok
}

// awaited is the first tick after another that planners wait for, once somebody
// was told of anything.
func (m *Evaluate) awaited(after int64) (tick int64, ok bool) {
	if m.cfg.Awaited == nil || m.changed == 0 {
		return 0, false
	}
	length := int64(m.control.Schedule().Timing().Tick)
	at, ok := m.cfg.Awaited(after * length)
	return (at + length - 1) / length, ok
}

func (m *Evaluate) enqueue(d schemas.Decision) error {
	if chaos.Bug("quiet states not logged") {
		d.Transitions = slices.DeleteFunc(slices.Clone(d.Transitions), func(t schemas.Transition) bool { return t.Quiet() })
	}
	data, err := schemas.Encode(d)
	if err != nil {
		return fence.Incident(m.cfg.Class.Alerts(), "encode a decision: %v", err)
	}
	o := output{kind: schemas.TypeDecision, data: data, made: d.Transitions}
	if d.Done {
		o.tick = d.Tick
	}
	m.queue = append(m.queue, o)
	return nil
}

// append sends the first message of the queue.
func (m *Evaluate) append(ctx context.Context) (bool, error) {
	o := m.queue[0]
	h := fence.Header{schemas.HeaderType: o.kind, schemas.HeaderCheckpoint: m.check.header()}
	return m.settled(ctx, m.writer.Append(ctx, h, o.data))
}

// settled judges the outcome of an append or of settling one.
func (m *Evaluate) settled(ctx context.Context, err error) (bool, error) {
	if err == nil {
		o := m.queue[0]
		m.queue = m.queue[1:]
		return true, m.stored(ctx, o)
	}
	if errors.Is(err, fence.ErrUnknown) || errors.Is(err, fence.ErrFull) {
		return false, err
	}
	if errors.Is(err, fence.ErrFenced) {
		m.metrics.fenced.WithLabelValues(m.cfg.Class.Alerts()).Inc()
	}
	// Fenced. What was decided ahead of the log is forgotten; a follower that
	// only tried to claim is not ahead and keeps its state.
	if m.claimed {
		m.decider = nil
	}
	m.claimed, m.queue = false, nil
	return false, fence.Missing(err, m.cfg.Class.Alerts())
}

// stored notes that a message of the queue is in the log. Its error is that of trimming
// alone.
func (m *Evaluate) stored(ctx context.Context, o output) error {
	if o.kind == schemas.TypeClaim {
		m.claimed = true
		return nil
	}
	for i := range o.made {
		m.metrics.transitions.WithLabelValues(string(m.cfg.Class), string(o.made[i].To)).Inc()
	}
	if m.shown && len(o.made) > 0 {
		m.cfg.Board.Change(o.made)
	}
	m.written = max(m.written, o.tick)
	m.check.unnamed = false
	if m.check.trim > 0 && m.cfg.Trimmer != nil {
		return m.trim(ctx)
	}
	return nil
}

// claim takes the subject over, once everything that is logged has been decided
// again.
func (m *Evaluate) claim(ctx context.Context) (bool, error) {
	head, err := m.writer.Load(ctx)
	if err != nil {
		return false, fence.Missing(err, m.cfg.Class.Alerts())
	}
	if m.writer.Created() != m.created[schemas.StreamAlerts] {
		return false, fmt.Errorf("claim %s: %s: %w", m.cfg.Class.Alerts(), schemas.StreamAlerts, fence.ErrRecreated)
	}
	if head.Seq >= m.logged.next || m.logged.tick > m.decider.Tick() {
		return true, nil
	}
	m.queue = []output{{kind: schemas.TypeClaim}}
	return m.append(ctx)
}

func (m *Evaluate) seconds(tick int64) float64 {
	return (time.Duration(tick) * m.control.Schedule().Timing().Tick).Seconds()
}
