package pipeline

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/dermai/millrace/internal/chaos"
	"github.com/dermai/millrace/schemas"
	"github.com/dermai/millrace/spool"
	"golang.org/x/sync/semaphore"
)

// PublisherConfig of a publisher. The zero value is useful where every event
// names its service.
type PublisherConfig struct {
	// Service and Instance of events that name none.
	Service  string
	Instance string
	// Partitions that the lanes are spread over, as the layout has them. 0: 4.
	Partitions int
	// Linger is how long the first event of a frame waits for others. 0: no time;
	// frames grow by themselves while an earlier one is on its way.
	Linger time.Duration
	// MaxBytes of events that may wait to be stored. 0: 32 MiB.
	MaxBytes int64
	// Lanes bounds how many pairs of kind and service are in use at once. 0: 1000.
	Lanes int
	// Idle is the time without events after which a lane is closed, at most a
	// tenth of ReplayWindow. 0: 10 min.
	Idle time.Duration
	// Patience is how long a frame waits for room in a full stream. 0: 5 s.
	Patience time.Duration
	// Spool is where frames go that the broker does not take within two seconds. It
	// needs credentials that may read the last message of a subject, and a directory
	// that no other publisher has. Without a directory there is none: calls wait for
	// the broker.
	Spool spool.Config
}

// Validate joins all faults of the configuration.
func (c PublisherConfig) Validate() error {
	var faults []error
	if c.Service != "" {
		if _, err := schemas.Token(c.Service); err != nil {
			faults = append(faults, fmt.Errorf("service: %w", err))
		}
	}
	if c.Partitions < 0 || c.Partitions > schemas.MaxPartitions {
		faults = append(faults, fmt.Errorf("partitions: %d; use 1 to %d", c.Partitions, schemas.MaxPartitions))
	}
	if c.Linger < 0 || c.Patience < 0 || c.MaxBytes < 0 || c.Lanes < 0 || c.Idle < 0 {
		faults = append(faults, errors.New("linger, max bytes, lanes, idle and patience: not below zero"))
	}
	if c.Idle > ReplayWindow/10 {
		faults = append(faults, fmt.Errorf("idle: %s; at most %s, so that the end of a lane is not forgotten", c.Idle, ReplayWindow/10))
	}
	if c.Spool.Dir != "" || c.Spool.MaxBytes != 0 {
		faults = append(faults, c.Spool.Validate())
	}
	return errors.Join(faults...)
}

// BusyError says that nothing was stored, and that the same call may be made
// again after a while.
type BusyError struct {
	After time.Duration
	Err   error
}

func (e *BusyError) Error() string { return e.Err.Error() }
func (e *BusyError) Unwrap() error { return e.Err }

// RetryAfter is when to call again.
func (e *BusyError) RetryAfter() time.Duration { return e.After }

// EventError says which event of a call is refused. Nothing of the call was
// stored, and the same call will be refused again.
type EventError struct {
	Index int // in the call
	Err   error
}

func (e *EventError) Error() string { return fmt.Sprintf("event %d: %v", e.Index, e.Err) }
func (e *EventError) Unwrap() error { return e.Err }

// Permanent is true: calling again does not help.
func (e *EventError) Permanent() bool { return true }

// ErrClosed: the publisher was closed. Nothing was stored.
var ErrClosed = errors.New("the publisher is closed")

// Publisher stores events in lanes. While a frame is on its way to the disk the
// next one fills, so frames grow with the load and with the cost of storing
// them. Its methods are safe for concurrent use.
type Publisher struct {
	conn   *Conn
	config PublisherConfig
	room   *semaphore.Weighted // bytes
	spool  *spool.Spool        // nil: none

	ctx    context.Context // of the lanes; ends when Close gives up
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu      sync.Mutex
	lanes   map[laneKey]*laneWriter
	closing chan struct{}
	closed  bool
	gaveUp  error // why Close did
	damaged int   // stretches of the spool that were reported
}

// laneKey tells which events share a lane.
type laneKey struct {
	kind    schemas.Kind
	service string
}

// NewPublisher returns a publisher that runs until Close. It asks nothing of the
// broker yet, unless an earlier one has left frames in the spool: those are sent
// in the background.
func NewPublisher(c *Conn, config PublisherConfig) (*Publisher, error) {
	if err := config.Validate(); err != nil {
		return nil, fmt.Errorf("publisher: %w", err)
	}
	config.Partitions = cmp.Or(config.Partitions, 4)
	config.MaxBytes = cmp.Or(config.MaxBytes, 32<<20)
	config.Lanes = cmp.Or(config.Lanes, 1000)
	config.Idle = cmp.Or(config.Idle, 10*time.Minute)
	config.Patience = cmp.Or(config.Patience, 5*time.Second)
	p := &Publisher{
		conn: c, config: config, room: semaphore.NewWeighted(config.MaxBytes),
		lanes: map[laneKey]*laneWriter{}, closing: make(chan struct{}),
	}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	if err := p.openSpool(); err != nil {
		p.cancel()
		return nil, fmt.Errorf("publisher: %w", err)
	}
	return p, nil
}

// Publish stores events and returns when they are on disk: at the broker or, while
// that is away, in the spool. Events without a time get the present one. Secrets
// are redacted (schemas.Redact). One bad event refuses the call with an
// *EventError; an error that has RetryAfter says that nothing was stored; after
// any other error but ErrClosed it is open what was stored. While too many bytes
// wait it blocks until ctx ends.
func (p *Publisher) Publish(ctx context.Context, events ...schemas.Event) error {
	var order []laneKey
	lines := map[laneKey][][]byte{}
	for i := range events {
		key, line, err := p.encode(events[i])
		if err != nil {
			return fmt.Errorf("publish: %w", &EventError{i, err})
		}
		if lines[key] == nil {
			order = append(order, key)
		}
		lines[key] = append(lines[key], line)
	}
	if len(order) == 0 {
		return nil
	}
	calls := make([]*call, 0, len(order))
	var fault error
	for _, key := range order {
		c, err := p.enter(ctx, key, lines[key], "")
		if err != nil {
			fault = err
			break
		}
		calls = append(calls, c)
	}
	if chaos.Bug("acknowledge before append") {
		return nil
	}
	stored := 0
	for _, c := range calls {
		err := c.wait(ctx)
		if err == nil {
			stored++
			continue
		}
		// One lane of which nothing was stored does not speak for the others.
		if busy := (*BusyError)(nil); fault == nil || !errors.As(err, &busy) {
			fault = err
		}
	}
	if fault != nil && stored > 0 {
		return fmt.Errorf("publish: a part of the events is stored: %v", fault) //nolint:errorlint // the cause may say "nothing was stored"
	}
	if fault != nil {
		return fmt.Errorf("publish: %w", fault)
	}
	return nil
}

// PublishEncoded stores lines, each one event's canonical JSON without its
// newline (schemas.Event.AppendJSON), already redacted, and returns when they
// are on disk. If they fit one frame they come into one, together with others of
// the same source only. source is where they come from, for the frame's header.
// Errors are as those of Publish. The lines are the caller's again when the call
// returns.
func (p *Publisher) PublishEncoded(ctx context.Context, kind schemas.Kind, service string, lines [][]byte, source string) error {
	if len(lines) == 0 {
		return nil
	}
	if _, err := schemas.FrameSubject(p.partition(kind, ""), kind, service, "x"); err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	for i, line := range lines {
		if len(line) == 0 || len(line) > schemas.LineBytes || bytes.IndexByte(line, '\n') >= 0 {
			return fmt.Errorf("publish: %w", &EventError{i, fmt.Errorf("want one line of 1 to %d bytes", schemas.LineBytes)})
		}
	}
	if h := (schemas.FrameHeader{Counter: 1, Source: source}).Map(); len(h[schemas.HeaderSource]) > schemas.SourceBytes {
		return fmt.Errorf("publish: source of %d bytes, at most %d as a header", len(source), schemas.SourceBytes)
	}
	c, err := p.enter(ctx, laneKey{kind, service}, lines, source)
	if err == nil {
		err = c.wait(ctx)
	}
	if err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	return nil
}

// Enqueue takes an event to be stored later and never blocks. It reports false,
// and counts the event in millrace_publisher_shed_total, if the event is not
// valid or too much waits. An event that was taken is shed, too, if the broker
// refuses it; Close waits for those that are left.
func (p *Publisher) Enqueue(e schemas.Event) bool {
	key, line, err := p.encode(e)
	if err != nil {
		p.shed(shedInvalid)
		p.conn.log.Debug().Err(err).Msg("an event was not enqueued")
		return false
	}
	size := p.weigh([][]byte{line})
	if !p.room.TryAcquire(size) {
		p.shed(shedFull)
		return false
	}
	c := &call{lines: [][]byte{line}, left: 1, size: size, lost: func() { p.shed(shedRefused) }}
	if err := p.add(key, c); err != nil {
		p.room.Release(size)
		p.shed(shedFull)
		return false
	}
	return true
}

// Reasons for which events are shed.
const (
	shedInvalid = "invalid" // Enqueue got an event that is none
	shedFull    = "full"    // too much waits
	shedRefused = "refused" // the broker did not take it
)

func (p *Publisher) shed(reason string) {
	if chaos.Bug("shed not counted") {
		return
	}
	p.conn.metrics.shed.WithLabelValues(reason).Inc()
}

// leastTime is in April 1970, Unix ns: today's time in microseconds is less.
const leastTime = 1e16

// encode makes the event's line, and says which lane it belongs to.
func (p *Publisher) encode(e schemas.Event) (laneKey, []byte, error) {
	e.Service = cmp.Or(e.Service, p.config.Service)
	e.Instance = cmp.Or(e.Instance, p.config.Instance)
	if e.Time == 0 {
		e.Time = time.Now().UnixNano()
	} else if 0 < e.Time && e.Time < leastTime {
		return laneKey{}, nil, &schemas.DecodeError{Field: "Time", Reason: "lies in 1970", Mend: "give Unix nanoseconds, as UnixNano of a time.Time does"}
	}
	// Redact works in place, and the maps are the caller's.
	e.Attributes, e.Details = cloneMap(e.Attributes), cloneMap(e.Details)
	if e.Error != nil {
		err := *e.Error
		e.Error = &err
	}
	schemas.Redact(&e)
	line, err := schemas.AppendJSON(nil, &e)
	return laneKey{e.Kind, e.Service}, line, err
}

func cloneMap(m map[string]any) map[string]any {
	if m == nil {
		return nil
	}
	out := make(map[string]any, len(m))
	for k, v := range m {
		out[k] = cloneValue(v)
	}
	return out
}

// cloneValue copies what Redact may change.
func cloneValue(v any) any {
	switch v := v.(type) {
	case map[string]any:
		return cloneMap(v)
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = cloneValue(v[i])
		}
		return out
	}
	return v
}

// enter waits for room and hands lines to their lane.
func (p *Publisher) enter(ctx context.Context, key laneKey, lines [][]byte, source string) (*call, error) {
	size := p.weigh(lines)
	if err := ctx.Err(); err != nil {
		return nil, &BusyError{time.Second, fmt.Errorf("nothing was sent: %w", err)}
	}
	if err := p.room.Acquire(ctx, size); err != nil {
		return nil, &BusyError{time.Second, fmt.Errorf("%d bytes of events wait already: the broker is away, or slower than the events: %w", p.config.MaxBytes, err)}
	}
	c := &call{lines: lines, left: len(lines), source: source, size: size, done: make(chan error, 1)}
	if err := p.add(key, c); err != nil {
		p.room.Release(size)
		return nil, err
	}
	return c, nil
}

// weigh is how much of MaxBytes lines take. What is above it comes alone.
func (p *Publisher) weigh(lines [][]byte) int64 {
	n := int64(0)
	for _, line := range lines {
		n += int64(len(line)) + 1
	}
	return min(n, p.config.MaxBytes)
}

// add queues a call at its lane, which it opens if there is none.
func (p *Publisher) add(key laneKey, c *call) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return ErrClosed
	}
	w := p.lanes[key]
	if w == nil {
		if len(p.lanes) >= p.config.Lanes {
			return &BusyError{p.config.Idle, fmt.Errorf("%d pairs of kind and service are in use, and %s of %q would be one more; use fewer services", len(p.lanes), key.kind, key.service)}
		}
		w = newLaneWriter(p, key)
		p.lanes[key] = w
		p.wg.Go(w.run)
	}
	p.conn.metrics.buffered.Add(float64(c.size))
	w.add(c)
	return nil
}

// retire takes an idle lane out of use, unless something was queued meanwhile.
func (p *Publisher) retire(w *laneWriter) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !w.empty() {
		return false
	}
	if p.lanes[w.key] == w {
		delete(p.lanes, w.key)
	}
	return true
}

// finished gives back the room of a call.
func (p *Publisher) finished(c *call) {
	p.room.Release(c.size)
	p.conn.metrics.buffered.Sub(float64(c.size))
}

// Close takes no more events, stores those that wait, and ends every lane with a
// final frame. What is in the spool is sent as long as the broker takes it, and
// left there otherwise, for the next publisher with this spool. If ctx ends
// before, it gives up: what is not stored then is an error, and its callers are
// told. So let ctx be another than the one whose end makes the program stop
// (context.WithoutCancel). More calls wait for the same, and tell the same.
func (p *Publisher) Close(ctx context.Context) error {
	p.mu.Lock()
	if !p.closed {
		p.closed = true
		close(p.closing)
	}
	p.mu.Unlock()
	ended := make(chan struct{})
	go func() {
		p.wg.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-ctx.Done():
		p.mu.Lock()
		p.gaveUp = cmp.Or(p.gaveUp, ctx.Err())
		p.mu.Unlock()
		p.cancel()
		<-ended
	}
	err := p.closeSpool()
	p.mu.Lock()
	defer p.mu.Unlock()
	if err == nil && p.gaveUp != nil {
		err = fmt.Errorf("close the publisher: events were not stored, or lanes not ended: %w", p.gaveUp)
	}
	return err
}
