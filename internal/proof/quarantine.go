package proof

import (
	"context"
	"fmt"
	"time"

	"github.com/dermai/millrace/archive"
	"github.com/dermai/millrace/schemas"
)

// quarantineAge is for how long the quarantine surely has what was put.
const quarantineAge = 29 * 24 * time.Hour

// refusals are the events that reducers put in quarantine.
type refusals struct {
	items   map[refusal]bool
	message map[refusal]bool // theirs, with index 0; true: it was met
	covered map[string]uint64
	since   int64 // arrival from which on everything refused must be there
}

// refusal identifies an event that cannot be read; Index -1 is a whole message.
type refusal struct {
	stream string
	seq    uint64
	index  int
	time   int64 // by the broker, Unix ns: sequences are given again
}

// readRefusals reads the quarantine, after how far reducers are: what they have
// behind them is there.
func (r *run) readRefusals(ctx context.Context) (*refusals, error) {
	q := &refusals{items: map[refusal]bool{}, message: map[refusal]bool{}, covered: map[string]uint64{}, since: r.Now().Add(-quarantineAge).UnixNano()}
	if r.Quarantined == nil {
		return q, nil
	}
	for _, p := range r.Partitions {
		covered, err := r.Covered(ctx, p)
		if err != nil {
			return nil, err
		}
		q.covered[p.Stream()] = covered
	}
	return q, r.Quarantined(ctx, func(item schemas.Quarantined) error {
		if item.Stage == schemas.StageReduce {
			q.items[refusal{item.Stream, item.Seq, item.Index, item.Arrival}] = true
			q.message[refusal{item.Stream, item.Seq, 0, item.Arrival}] = false
		}
		return ctx.Err()
	})
}

// events counts the events of a message, -1 if it cannot be unpacked, and looks
// for those in quarantine that no reader can read.
func (r *run) events(rec *archive.Record, s schemas.Subject, unknown error) int {
	if len(rec.Payload) == 0 {
		return 0
	}
	body, err := schemas.Unpack(nil, rec.Payload, schemas.FrameDecoded)
	if unknown != nil {
		err = unknown
	}
	if err != nil {
		r.refuse(rec, -1, err)
		return -1
	}
	check := r.Quarantined != nil && rec.Time >= r.refused.since
	n := 0
	for i, line := range schemas.Lines(body) {
		n++
		if !check {
			continue
		}
		if _, err := schemas.Decode(line, schemas.Origin{
			Kind: s.Kind, Service: s.Service, Arrival: rec.Arrival, Stream: rec.Stream, Seq: rec.Seq, Index: i,
		}); err != nil {
			r.refuse(rec, i, err)
		}
	}
	return n
}

// refuse accounts for an event that cannot be read.
func (r *run) refuse(rec *archive.Record, index int, why error) {
	if r.Quarantined == nil {
		return
	}
	key := refusal{rec.Stream, rec.Seq, index, rec.Time}
	if r.refused.items[key] {
		r.stream.Quarantined++
		return
	}
	m := r.mirror
	if m == nil || rec.Chain != m.chain || rec.Seq > r.refused.covered[rec.Stream] || rec.Time < r.refused.since {
		return // not looked at yet, or so long ago that it is forgotten
	}
	r.find(Finding{Kind: Quarantine, Where: rec.Stream, Stream: rec.Stream, From: rec.Seq, To: rec.Seq, Since: rec.Arrival, Until: rec.Arrival,
		What: fmt.Sprintf("event %d of sequence %d cannot be read (%v) and is not in quarantine", index, rec.Seq, why)})
}

// meet notes that a message is there.
func (q *refusals) meet(rec *archive.Record) {
	key := refusal{rec.Stream, rec.Seq, 0, rec.Time}
	if _, ok := q.message[key]; ok {
		q.message[key] = true
	}
}

// edge is by how much a message's own time may differ from its arrival at the
// bounds of a run.
const edge = int64(time.Minute)

// close tells of items whose messages are nowhere.
func (q *refusals) close(r *run) {
	for item := range q.items {
		r.from = max(r.Since, r.deleted[item.stream])
		if q.message[refusal{item.stream, item.seq, 0, item.time}] || !r.within(item.time-edge) || !r.within(item.time+edge) {
			continue
		}
		r.find(Finding{Kind: Quarantine, Where: item.stream, Stream: item.stream, From: item.seq, To: item.seq, Since: item.time, Until: item.time,
			What: fmt.Sprintf("event %d of sequence %d is in quarantine, and its message neither in the archive nor in the stream", item.index, item.seq)})
	}
}
