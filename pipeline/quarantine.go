package pipeline

import (
	"context"
	"fmt"
	"strings"

	"github.com/dermai/millrace/schemas"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Quarantine keeps what could not be processed, for 30 days. Its methods are
// safe for concurrent use.
type Quarantine struct{ conn *Conn }

// NewQuarantine returns the quarantine of a deployment.
func NewQuarantine(c *Conn) *Quarantine { return &Quarantine{c} }

// Put stores an item and returns when it is on disk. Putting the same ID again
// within a day stores it once, so after an error it is put again. Data beyond
// QuarantineBytes is cut off; Size says how much there was.
func (q *Quarantine) Put(ctx context.Context, item schemas.Quarantined) error {
	item.Size = max(item.Size, len(item.Data))
	item.Data = item.Data[:min(len(item.Data), schemas.QuarantineBytes)]
	stage, err := schemas.Token(item.Stage)
	if err != nil {
		return fmt.Errorf("quarantine: stage: %w", err)
	}
	if item.ID == "" || strings.ContainsFunc(item.ID, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return fmt.Errorf("quarantine: id %q: want printable ASCII", item.ID)
	}
	data, err := schemas.Encode(item)
	if err != nil {
		return fmt.Errorf("quarantine: %w", err)
	}
	ctx, done := q.conn.within(ctx)
	defer done()
	ack, err := q.conn.js.PublishMsg(ctx, &nats.Msg{Subject: "quarantine." + stage, Data: data},
		jetstream.WithMsgID(item.ID), jetstream.WithExpectStream(schemas.StreamQuarantine), jetstream.WithRetryAttempts(0))
	if err != nil {
		err, _ = appendError(err, "quarantine."+stage, 0)
		return fmt.Errorf("quarantine %s: %w", item.ID, err)
	}
	if !ack.Duplicate {
		q.conn.metrics.quarantined.WithLabelValues(stage).Inc()
	}
	return nil
}

// QuarantineEntry is a stored item.
type QuarantineEntry struct {
	Seq  uint64 // in QUARANTINE
	Time int64  // when it was put, Unix ns
	schemas.Quarantined
}

// List returns up to most items, oldest first, with sequences above after.
func (q *Quarantine) List(ctx context.Context, after uint64, most int) ([]QuarantineEntry, error) {
	log := q.conn.Log()
	defer log.Close()
	info, err := log.Info(ctx, schemas.StreamQuarantine)
	if err != nil {
		return nil, fmt.Errorf("list the quarantine: %w", err)
	}
	var out []QuarantineEntry
	for next := max(after+1, info.First); next <= info.Last && len(out) < most; {
		entries, err := log.Read(ctx, schemas.StreamQuarantine, next, most-len(out))
		if err != nil {
			return nil, fmt.Errorf("list the quarantine: %w", err)
		}
		if len(entries) == 0 { // not there yet, or expired by now
			if info, err = log.Info(ctx, schemas.StreamQuarantine); err != nil {
				return nil, fmt.Errorf("list the quarantine: %w", err)
			}
			next = max(next, info.First)
		}
		for _, e := range entries {
			item := QuarantineEntry{Seq: e.Seq, Time: e.Time}
			if err := schemas.DecodeInto(e.Data, &item.Quarantined); err != nil {
				return nil, fmt.Errorf("list the quarantine: message %d: %w", e.Seq, err)
			}
			out = append(out, item)
			next = e.Seq + 1
		}
	}
	return out, nil
}
