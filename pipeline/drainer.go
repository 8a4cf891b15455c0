package pipeline

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/schemas"
	"github.com/dermai/millrace/spool"
)

// drainer sends what the spool has of one lane. The lane's last message at the
// broker says up to which batch it has come, so that nothing needs to be written
// down here between two frames, and so that whoever sends the same lane from a
// copy of the spool, at the same time or later, goes on behind what is stored.
// No outcome is ever guessed: after anything but an acknowledgement the last
// message is read again, and whatever an earlier attempt still does, only one of
// two appends behind the same message can succeed.
type drainer struct {
	p      *Publisher
	log    *Log
	lane   string  // as the spool has it
	detour *detour // whose frames are sent; nil: those of an earlier process

	known   bool   // the rest is what the broker has
	subject string // of the lane, or of its successor
	rev     uint64 // sequence of its last message
	counter uint64 // of that
	batch   uint64 // up to which the lane is stored
	final   bool   // it is a final frame

	after schemas.LaneEnd // the lane before, of which the stream lost frames
}

// drain sends a lane in the background.
func (p *Publisher) drain(lane string, d *detour) {
	p.wg.Go(func() { (&drainer{p: p, log: p.conn.Log(), lane: lane, detour: d}).run() })
}

// run sends until the spool has no more of the lane, or the publisher closes and
// the broker takes no more.
func (d *drainer) run() {
	defer d.log.Close()
	wait := retryFirst
	for {
		n, _, _ := d.p.spool.Pending(d.lane)
		if n == 0 && (d.detour == nil || d.detour.end(d.p.spool)) {
			d.finish()
			return
		}
		unbroken := d.p.conn.unbroken()
		err := d.step(d.p.ctx)
		d.p.spoolStats()
		if err == nil {
			wait = retryFirst
			continue
		}
		d.known = false
		select {
		case <-d.p.closing:
			d.p.conn.log.Warn().Err(err).Str("lane", d.lane).Int("frames", n).Msg("frames stay in the spool")
			return
		default:
		}
		if wait == retryMost && d.p.conn.Connected() { // that the connection is lost is said once
			d.p.conn.log.Warn().Err(err).Str("lane", d.lane).Int("frames", n).Msg("frames wait in the spool")
		}
		select {
		case <-time.After(wait):
		case <-unbroken.Done():
		case <-d.p.closing:
		case <-d.p.ctx.Done():
		}
		wait = min(2*wait, retryMost)
	}
}

// step finds out where the lane is, if that is not known, or sends one frame.
func (d *drainer) step(ctx context.Context) error {
	if !d.known {
		return d.locate(ctx)
	}
	var j joint
	records, err := d.p.spool.Peek(d.lane, j.takes)
	if err != nil || len(records) == 0 {
		return err
	}
	data, h := join(records)
	h.Counter, h.Acked = d.counter+1, d.counter
	if h.Counter == 1 {
		h.After = d.after
	}
	seq, err := d.log.Append(ctx, fence.Message{Subject: d.subject, Header: h.Map(), Data: data}, d.rev)
	if err != nil {
		return err
	}
	d.rev, d.counter, d.batch = seq, h.Counter, h.Batch
	d.p.spool.Done(d.lane, h.Batch)
	d.p.counted(d.lane, h)
	return nil
}

// locate reads how far the lane has come.
func (d *drainer) locate(ctx context.Context) error {
	_, first, done := d.p.spool.Pending(d.lane)
	done = max(done, d.batch)
	if d.detour != nil {
		done = max(done, d.detour.acked)
	}
	d.subject, d.after = d.lane, schemas.LaneEnd{}
	for begun := first > 1 || done > 0; ; begun = false {
		head, err := d.log.Head(ctx, d.subject)
		switch {
		case errors.Is(err, fence.ErrNoHead) && !begun:
			d.known, d.rev, d.counter, d.final = true, 0, 0, false
			return nil
		case errors.Is(err, fence.ErrNoHead):
			d.lost(done)
			d.leave(fmt.Errorf("%s has no message, although frames of it were acknowledged: they are gone from the stream", d.subject))
			continue
		case err != nil:
			return err
		}
		h, err := schemas.ParseFrameHeader(head.Header)
		if err != nil || h.Counter == 0 {
			d.leave(fmt.Errorf("message %d on %s is not a lane's: %w", head.Seq, d.subject, cmp.Or(err, fence.ErrFenced)))
			continue
		}
		stored := cmp.Or(h.Batch, h.Counter)
		if h.Final && h.Batch == 0 {
			stored--
		}
		if stored < done {
			d.lost(done)
			d.leave(fence.Incident(d.subject, "it ends at batch %d, and batch %d was acknowledged: the stream lost frames", stored, done))
			continue
		}
		d.p.spool.Done(d.lane, stored)
		d.batch, done = stored, stored
		if n, _, _ := d.p.spool.Pending(d.lane); h.Final && n > 0 {
			// Somebody with a copy of the spool has ended it.
			d.leave(fmt.Errorf("%s has ended, and the spool has more of it", d.subject))
			continue
		}
		d.known, d.rev, d.counter, d.final = true, head.Seq, h.Counter, h.Final
		return nil
	}
}

// lost notes that the stream lost frames of the lane, which were acknowledged up to a
// batch: the next lane says so.
func (d *drainer) lost(batch uint64) {
	if batch > 0 {
		d.after = schemas.LaneEnd{Lane: d.subject, Batch: batch}
	}
}

// leave goes on with another lane, whose name everybody derives from this one's,
// so that it is found again after a crash.
func (d *drainer) leave(why error) {
	d.p.conn.metrics.laneFaults.Inc()
	d.p.conn.log.Error().Err(why).Msg("a lane in the spool was lost; going on with another")
	sum := sha256.Sum256([]byte(d.subject))
	i := strings.LastIndexByte(d.subject, '.')
	d.subject = d.subject[:i+1] + base32.StdEncoding.EncodeToString(sum[:16])[:26]
}

// finish ends the lane, so that its end is known.
func (d *drainer) finish() {
	if !d.known || d.final || d.counter == 0 {
		return
	}
	h := schemas.FrameHeader{Counter: d.counter + 1, Acked: d.counter, Batch: d.batch, Final: true}
	if _, err := d.log.Append(d.p.ctx, fence.Message{Subject: d.subject, Header: h.Map()}, d.rev); err != nil {
		d.p.conn.log.Warn().Err(err).Msg("a lane has no final frame")
	}
}

// joint decides which records become one frame: all of one source, in the limits
// of a frame. Together records compress at least as well as each alone.
type joint struct {
	first  *spool.Record
	events int
	size   int // of the bodies
}

func (j *joint) takes(r *spool.Record) bool {
	if j.first == nil {
		j.first = r
	}
	j.events += r.Events
	j.size += len(r.Data)
	return r.Source == j.first.Source && j.events <= schemas.FrameEvents && j.size <= schemas.FrameWire/2
}

// join makes one frame of the records, or of the first ones if they are too large
// together.
func join(records []spool.Record) ([]byte, schemas.FrameHeader) {
	h := schemas.FrameHeader{Events: records[0].Events, Source: records[0].Source, Batch: records[0].Batch}
	if len(records) == 1 {
		return records[0].Data, h
	}
	var plain []byte
	for i, r := range records {
		body, err := schemas.Unpack(nil, r.Data, schemas.FrameDecoded)
		if err != nil || len(plain)+len(body) > schemas.FrameDecoded {
			records = records[:i]
			break
		}
		plain = append(plain, body...)
	}
	packed := schemas.Pack(nil, plain)
	if len(records) < 2 || len(packed) > schemas.FrameWire {
		return join(records[:1])
	}
	for _, r := range records[1:] {
		h.Events += r.Events
		h.Batch = r.Batch
	}
	return packed, h
}
