package notify

import (
	"context"
	"fmt"
	"time"

	"github.com/dermai/millrace/schemas"
)

// load takes over what the subject's head says is in hand: after an attempt
// without an outcome the next one is made under the same ID, and the first is
// recorded as ambiguous.
func (m *Send) load(ctx context.Context) error {
	m.phase, m.now, m.notBefore = loading, nil, time.Time{}
	head, err := m.writer.Load(ctx)
	if err != nil {
		return missing(err, m.subject)
	}
	m.at = schemas.Delivery{}
	if head.Header[schemas.HeaderType] != schemas.TypeGenesis {
		if err := decodeInto(head.Data, &m.at); err != nil {
			return incident(m.subject, "message %d: %v", head.Seq, err)
		}
	}
	info, err := m.cfg.Log.Info(ctx, schemas.StreamNotify)
	if err != nil {
		return fmt.Errorf("look at notifications: %w", err)
	}
	if m.at.Seq > info.Last {
		return incident(m.subject, "sent up to message %d of NOTIFY, which ends at %d: the stream lost its end, or was made anew", m.at.Seq, info.Last)
	}
	m.next = m.at.Seq + 1
	if err := m.resume(ctx); err != nil {
		return err
	}
	// The claim says what the head said, so that the head alone still tells
	// everything.
	return m.append(ctx, schemas.TypeClaim, m.at)
}

// resume takes the notification in hand that the head left unfinished.
func (m *Send) resume(ctx context.Context) error {
	switch m.at.Outcome {
	case schemas.DeliveryStarted, schemas.DeliveryRetry, schemas.DeliveryAmbiguous:
	default:
		return nil
	}
	entries, err := m.cfg.Log.Read(ctx, schemas.StreamNotify, m.at.Seq, 1)
	if err != nil {
		return fmt.Errorf("read notification %d: %w", m.at.Seq, err)
	}
	if len(entries) == 0 || entries[0].Seq != m.at.Seq {
		// Kept for 90 days, and tried for as long: there is nothing left to send.
		m.metrics.lost.WithLabelValues(m.cfg.Name, schemas.StreamNotify).Inc()
		m.at.Outcome = schemas.DeliveryRejected
		m.at.Detail = "the notification expired before it could be delivered"
		return nil
	}
	m.take(entries[0])
	m.phase = loading
	m.now.attempt = m.at.Attempt
	return nil
}
