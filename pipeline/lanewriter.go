package pipeline

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"sync"
	"time"

	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/schemas"
)

// call is the part of a Publish that goes into one lane.
type call struct {
	source string
	size   int64
	done   chan error // gets the outcome; nil: nobody waits
	lost   func()     // called where nobody waits and it was not stored
	writer *laneWriter

	// Under the writer's lock.
	lines [][]byte // the caller's memory; not yet taken into a frame
	left  int      // lines without an outcome
	taken bool     // some lines are in a frame
	some  bool     // some lines are stored
	err   error    // the first fault
}

// wait returns the outcome. When ctx ends before, it takes back what is not yet
// in a frame.
func (c *call) wait(ctx context.Context) error {
	select {
	case err := <-c.done:
		return err
	case <-ctx.Done():
		return c.writer.leave(c, ctx.Err())
	}
}

// laneWriter writes the events of one kind and service, lane after lane, with
// one frame in flight. Its loop is the only one that touches the fields below
// the lock's.
type laneWriter struct {
	p   *Publisher
	key laneKey

	mu      sync.Mutex
	queue   []*call
	bytes   int           // of lines in queue
	trouble error         // why the frame in flight is not settled; nil: no attempt has failed
	wake    chan struct{} // something was queued

	lane   *fence.Lane
	after  schemas.LaneEnd // the lane before, of which the stream lost frames
	detour *detour         // where frames go instead; nil: to the broker
	used   int64           // when the lane was last used, Unix ns
	now    int64           // never steps back
	target int             // bytes of a frame, decoded, that come out as FrameWire at most
	batch  batch
	packed []byte
}

func newLaneWriter(p *Publisher, key laneKey) *laneWriter {
	return &laneWriter{p: p, key: key, wake: make(chan struct{}, 1), target: schemas.FrameDecoded}
}

func (w *laneWriter) add(c *call) {
	w.mu.Lock()
	defer w.mu.Unlock()
	c.writer = w
	w.queue = append(w.queue, c)
	for _, line := range c.lines {
		w.bytes += len(line) + 1
	}
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (w *laneWriter) empty() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.queue) == 0
}

// leave takes a call out of the queue, since its caller's memory may change from
// now on.
func (w *laneWriter) leave(c *call, why error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	select {
	case err := <-c.done:
		return err
	default:
	}
	if w.trouble != nil {
		why = fmt.Errorf("%w; the last attempt: %v", why, w.trouble) //nolint:errorlint // says why; decides nothing
	}
	i := slices.Index(w.queue, c)
	if i < 0 {
		return fmt.Errorf("the broker has not answered: %w: %w", fence.ErrUnknown, why)
	}
	w.queue = slices.Delete(w.queue, i, i+1)
	for _, line := range c.lines {
		w.bytes -= len(line) + 1
	}
	if !c.taken {
		w.p.finished(c)
		return &BusyError{time.Second, fmt.Errorf("an earlier frame is still on its way: %w", why)}
	}
	n := len(c.lines)
	c.lines = nil
	w.resolve(c, n, why)
	return fmt.Errorf("%w: a part may be stored: %w", fence.ErrUnknown, why)
}

// resolve gives n lines of a call their outcome. Under the lock.
func (w *laneWriter) resolve(c *call, n int, err error) {
	c.left -= n
	if err == nil {
		c.some = true
	} else if c.err == nil {
		c.err = err
	}
	if c.left > 0 {
		return
	}
	w.p.finished(c)
	err = c.err
	if err != nil && c.some {
		err = fmt.Errorf("a part of the events is stored: %v", err) //nolint:errorlint // the cause may say "nothing was stored"
	}
	if c.done != nil {
		c.done <- err
	} else if err != nil {
		c.lost()
	}
}

// run writes until the lane is idle or the publisher closes.
func (w *laneWriter) run() {
	idle := time.NewTimer(w.p.config.Idle)
	defer idle.Stop()
	for {
		end := false
		select {
		case <-w.wake:
			w.linger()
		case <-idle.C:
			end = true
		case <-w.p.closing:
			end = true
		}
		for w.batch.fill(w) {
			w.write()
		}
		if end && w.p.retire(w) {
			w.final()
			return
		}
		idle.Reset(w.p.config.Idle)
	}
}

// linger waits for more events, if the publisher is told to.
func (w *laneWriter) linger() {
	if w.p.config.Linger == 0 {
		return
	}
	deadline := time.NewTimer(w.p.config.Linger)
	defer deadline.Stop()
	for {
		w.mu.Lock()
		enough := w.bytes >= w.target || len(w.queue) == 0
		w.mu.Unlock()
		if enough {
			return
		}
		select {
		case <-w.wake:
		case <-deadline.C:
			return
		case <-w.p.closing:
			return
		}
	}
}

// write stores what is in the batch, as one frame or, where that would be larger
// than the wire takes, as several.
func (w *laneWriter) write() {
	for from := 0; from < w.batch.len(); {
		to := w.batch.len()
		w.packed = schemas.Pack(w.packed[:0], w.batch.slice(from, to))
		for len(w.packed) > schemas.FrameWire {
			to = from + (to-from+1)/2
			w.packed = schemas.Pack(w.packed[:0], w.batch.slice(from, to))
		}
		// The next batch is as large as this ratio allows, with a margin.
		w.target = min(schemas.FrameDecoded, max(schemas.FrameWire*3/4,
			int(float64(len(w.batch.slice(from, to)))/float64(len(w.packed))*schemas.FrameWire*0.9)))
		err := w.store(w.packed, schemas.FrameHeader{Events: to - from, Source: w.batch.source})
		w.mu.Lock()
		w.batch.resolve(w, from, to, err)
		if busy := (*BusyError)(nil); errors.As(err, &busy) {
			// Everything behind would wait as long, for the same answer.
			w.batch.resolve(w, to, w.batch.len(), err)
			w.refuseQueue(err)
			to = w.batch.len()
		}
		w.mu.Unlock()
		from = to
	}
}

// refuseQueue answers all that wait. Under the lock.
func (w *laneWriter) refuseQueue(err error) {
	for _, c := range w.queue {
		w.resolve(c, len(c.lines), err)
	}
	w.queue, w.bytes = nil, 0
}

// store appends one frame, in a new lane where there is none, and settles it, or
// leaves it to the spool.
func (w *laneWriter) store(data []byte, h schemas.FrameHeader) error {
	if w.detour != nil && !h.Final {
		if taken, err := w.detour.store(w.p, data, h); taken {
			return err
		}
		w.detour = nil // all of it is sent
	}
	patience := time.NewTimer(w.p.config.Patience)
	defer patience.Stop()
	wait := retryFirst
	for !h.Final || w.lane != nil || w.after.Lane != "" {
		err := w.attempt(data, h)
		w.setTrouble(err)
		if (errors.Is(err, fence.ErrUnknown) || errors.Is(err, fence.ErrFull)) && w.divert(data, h) {
			return nil
		}
		switch {
		case err == nil:
			w.used, w.after = w.clock(), schemas.LaneEnd{}
			if !h.Final {
				w.p.conn.metrics.frames.WithLabelValues(string(w.key.kind)).Inc()
				w.p.conn.metrics.events.WithLabelValues(string(w.key.kind)).Add(float64(h.Events))
			}
			return nil
		case errors.Is(err, fence.ErrUnknown):
			// Stays in flight: the next attempt settles it.
		case errors.Is(err, fence.ErrFenced), fence.IsIncident(err) && !errors.Is(err, fence.ErrGivenUp):
			// The frame is not stored, and the lane is at its end.
			w.giveUp(err)
			w.p.conn.metrics.laneFaults.Inc()
			w.p.conn.log.Error().Err(err).Msg("a lane was lost; going on with a new one")
			continue
		case errors.Is(err, fence.ErrFull):
			select {
			case <-patience.C:
				return &BusyError{w.p.config.Patience, err}
			default:
			}
		default:
			if errors.Is(err, fence.ErrGivenUp) {
				w.giveUp(err)
				w.p.conn.metrics.unknownFrames.Inc()
			}
			w.p.conn.log.Error().Err(err).Int("events", h.Events).Msg("a frame was not stored")
			return err
		}
		select {
		case <-time.After(wait):
		case <-w.p.conn.unbroken().Done():
		case <-w.p.ctx.Done():
			if errors.Is(err, fence.ErrUnknown) {
				w.lane = nil // its frame is left as it is
				w.p.conn.metrics.unknownFrames.Inc()
			}
			return fmt.Errorf("the publisher was closed: %w", err)
		}
		if wait *= 2; wait > retryMost {
			wait = retryMost
			w.p.conn.log.Warn().Err(err).Int("events", h.Events).Msg("a frame waits to be stored")
		}
	}
	return nil
}

// giveUp ends the lane. If the stream lost what it had acknowledged of it, the next
// lane says so.
func (w *laneWriter) giveUp(why error) {
	if acked := w.lane.Next() - 1; acked > 0 && fence.IsIncident(why) {
		w.after = schemas.LaneEnd{Lane: w.lane.Subject(), Batch: acked}
	}
	w.lane = nil
}

// setTrouble remembers why callers wait.
func (w *laneWriter) setTrouble(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.trouble = err
}

// attempt sends the frame once, or what is in flight of it once more.
func (w *laneWriter) attempt(data []byte, h schemas.FrameHeader) error {
	now := w.clock()
	ctx := w.p.ctx
	if w.p.spool != nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, spoolAfter)
		defer cancel()
	}
	if w.lane != nil && w.lane.Unsettled() {
		return w.lane.Settle(ctx, now)
	}
	if w.lane != nil && time.Duration(now-w.used) > ReplayWindow/2 {
		w.lane = nil // the machine slept: the lane's last frame may be forgotten
	}
	if w.lane == nil {
		name := rand.Text()
		subject, err := schemas.FrameSubject(w.p.partition(w.key.kind, name), w.key.kind, w.key.service, name)
		if err != nil {
			return err
		}
		w.lane, w.used = fence.NewLane(w.p.conn.Log(), subject, ReplayWindow/2), now
	}
	h.Counter, h.Acked = w.lane.Next(), w.lane.Next()-1
	if h.Counter == 1 {
		h.After = w.after
	}
	return w.lane.Append(ctx, h.Map(), data, now)
}

// final ends the lane, so that its end is known.
func (w *laneWriter) final() {
	if (w.lane == nil || w.lane.Next() == 1) && w.after.Lane == "" {
		return
	}
	if err := w.store(nil, schemas.FrameHeader{Final: true}); err != nil {
		w.p.conn.log.Warn().Err(err).Msg("a lane has no final frame")
	}
	w.lane = nil
}

// clock is the time in Unix ns, which never steps back.
func (w *laneWriter) clock() int64 {
	w.now = max(w.now, time.Now().UnixNano())
	return w.now
}

// partition of a lane: by its name, so that services spread.
func (p *Publisher) partition(kind schemas.Kind, lane string) schemas.Partition {
	if kind.Class() == schemas.AuditTrail {
		return schemas.Audit
	}
	h := fnv.New32a()
	h.Write([]byte(lane))
	return schemas.Partition(h.Sum32() % uint32(p.config.Partitions))
}
