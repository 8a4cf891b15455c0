package proof

import (
	"context"
	"fmt"
	"strings"

	"github.com/dermai/millrace/archive"
	"github.com/dermai/millrace/schemas"
)

const progressEvery = 1000

// message accounts for one message, wherever it is.
func (r *run) message(ctx context.Context, rec *archive.Record) error {
	if r.messages++; r.Progress != nil && r.messages%progressEvery == 0 {
		r.Progress(rec.Stream, r.messages, rec.Arrival)
	}
	r.last = rec.Arrival
	r.stream.Messages++
	if rec.Stream == schemas.StreamAlerts || rec.Stream == schemas.StreamControl {
		return ctx.Err()
	}
	subject, unknown := schemas.ParseSubject(rec.Subject)
	if unknown == nil && subject.Tick {
		r.stream.Ticks++
		return ctx.Err()
	}
	r.refused.meet(rec)
	events := r.events(rec, subject, unknown)
	r.stream.Events += uint64(max(events, 0))
	if unknown == nil {
		r.spoke(rec, subject, max(events, 0))
		r.ofLane(rec, subject, events)
	}
	return ctx.Err()
}

// ofLane accounts for a message if a lane sent it. events are -1 if it cannot be
// unpacked.
func (r *run) ofLane(rec *archive.Record, s schemas.Subject, events int) {
	header, err := schemas.ParseFrameHeader(rec.Header)
	if err != nil || header.Counter == 0 || s.Ingest {
		return // a foreign client's
	}
	r.stream.Frames++
	if events >= 0 && events != header.Events {
		r.find(Finding{Kind: Frames, Where: strings.Clone(rec.Subject), Stream: rec.Stream, Lane: strings.Clone(rec.Subject),
			From: header.Counter, To: header.Counter, Since: rec.Arrival, Until: rec.Arrival,
			What: fmt.Sprintf("frame %d, sequence %d, was sent with %d events and has %d", header.Counter, rec.Seq, header.Events, events)})
	}
	r.frame(rec, header)
}
