package pipeline

import (
	"context"
	"fmt"
	"time"

	"github.com/dermai/millrace/schemas"
	"github.com/nats-io/nats.go/jetstream"
)

// Quarantine keeps what could not be processed, with the reason. It is safe for
// concurrent use.
type Quarantine struct{ conn *Conn }

// NewQuarantine returns the quarantine of the deployment.
func NewQuarantine(c *Conn) *Quarantine { return &Quarantine{c} }

// Put stores an item and returns when it is on disk. The same ID twice within a
// day is stored once.
func (q *Quarantine) Put(ctx context.Context, item schemas.Quarantined) error {
	stage, err := schemas.Token(item.Stage)
	if err != nil {
		return fmt.Errorf("quarantine %s: stage %q: %w", item.ID, item.Stage, err)
	}
	data, err := schemas.Encode(item)
	if err != nil {
		return fmt.Errorf("quarantine %s: %w", item.ID, err)
	}
	ctx, done := q.conn.within(ctx)
	defer done()
	ack, err := q.conn.js.Publish(ctx, "quarantine."+stage, data, jetstream.WithMsgID(item.ID))
	if err != nil {
		return fmt.Errorf("quarantine %s: %w", item.ID, err)
	}
	if !ack.Duplicate {
		q.conn.metrics.quarantined.WithLabelValues(item.Stage).Inc()
	}
	return nil
}

// QuarantineEntry is an item as it is stored.
type QuarantineEntry struct {
	Seq  uint64    `json:"entry"` // in QUARANTINE
	Time time.Time `json:"time"`
	schemas.Quarantined
}

// Each calls fn for every item that is there now, oldest first.
func (q *Quarantine) Each(ctx context.Context, fn func(QuarantineEntry) error) error {
	log := q.conn.Log()
	defer log.Close()
	info, err := log.Info(ctx, schemas.StreamQuarantine)
	if err != nil {
		return err
	}
	for next := info.First; next <= info.Last; {
		entries, err := log.Read(ctx, schemas.StreamQuarantine, next, 256)
		if err != nil {
			return err
		}
		if len(entries) == 0 {
			return nil
		}
		for _, e := range entries {
			next = e.Seq + 1
			item := QuarantineEntry{Seq: e.Seq, Time: time.Unix(0, e.Time).UTC()}
			if err := schemas.DecodeInto(e.Data, &item.Quarantined); err != nil {
				return fmt.Errorf("quarantine: entry %d: %w", e.Seq, err)
			}
			if err := fn(item); err != nil {
				return err
			}
		}
	}
	return nil
}

// Headroom tells how full a stream is: the used share of its bytes, 0 to 1.
func (c *Conn) Headroom(ctx context.Context, stream string) (used float64, err error) {
	s, err := c.stream(ctx, stream) // asks the broker
	if err != nil {
		return 0, err
	}
	info := s.CachedInfo()
	if info.Config.MaxBytes <= 0 {
		return 0, nil
	}
	return float64(info.State.Bytes) / float64(info.Config.MaxBytes), nil
}
