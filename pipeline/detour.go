package pipeline

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/dermai/millrace/schemas"
	"github.com/dermai/millrace/spool"
)

// spoolAfter is how long the broker may take for a frame before it goes into the
// spool.
const spoolAfter = 2 * time.Second

// detour is the way of a lane's frames through the spool, while an earlier one of
// the lane is not at the broker: so that they stay in their order. Its drainer
// ends it when all are sent.
type detour struct {
	lane  string // the subject
	acked uint64 // batches that it had sent itself

	mu   sync.Mutex
	next uint64 // batch of the next frame
	over bool
}

// divert puts the frame that the broker did not take into the spool, where there
// is one, and with it the lane. It reports false if the spool does not take it
// either: then the frame waits for the broker.
func (w *laneWriter) divert(data []byte, h schemas.FrameHeader) bool {
	if w.p.spool == nil || h.Final || w.lane == nil {
		return false
	}
	// What the lane has sent itself is one frame a batch.
	d := &detour{lane: w.lane.Subject(), acked: w.lane.Next() - 1, next: w.lane.Next()}
	if err := w.p.spool.Append(d.record(data, h)); err != nil {
		w.p.conn.log.Warn().Err(err).Msg("the spool does not take a frame either")
		return false
	}
	d.next++
	w.lane, w.detour = nil, d
	w.p.conn.metrics.spooled.Add(float64(h.Events))
	w.p.conn.log.Warn().Str("lane", d.lane).Msg("the broker does not take frames: they go into the spool")
	w.p.drain(d.lane, d)
	return true
}

// store puts the next frame into the spool. It reports false if the detour is
// over and the frame may go to the broker.
func (d *detour) store(p *Publisher, data []byte, h schemas.FrameHeader) (taken bool, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.over {
		return false, nil
	}
	err = p.spool.Append(d.record(data, h))
	switch {
	case errors.Is(err, spool.ErrFull):
		return true, &BusyError{time.Second, fmt.Errorf("the broker is away, or slower than the events: %w", err)}
	case err == nil:
		p.conn.metrics.spooled.Add(float64(h.Events))
	}
	d.next++ // after an error, too: the record may be on disk nevertheless
	return true, err
}

func (d *detour) record(data []byte, h schemas.FrameHeader) spool.Record {
	return spool.Record{
		Lane: d.lane, Batch: d.next, Events: h.Events, Source: h.Source, Time: time.Now().UnixNano(), Data: data,
	}
}

// end ends the detour, unless a frame came meanwhile.
func (d *detour) end(s *spool.Spool) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	n, _, _ := s.Pending(d.lane)
	d.over = n == 0
	return d.over
}
