package notify

import (
	"context"
	"fmt"
	"time"

	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/schemas"
)

// load takes over what the subject's head says is in hand: after an attempt
// without an outcome the next one is made under the same ID, and the first is
// recorded as ambiguous.
func (m *Send) load(ctx context.Context) error {
	m.phase, m.now, m.notBefore = loading, nil, time.Time{}
	head, err := m.writer.Load(ctx)
	if err != nil {
		return fence.Missing(err, m.subject)
	}
	m.at = schemas.Delivery{}
	if head.Header[schemas.HeaderType] != schemas.TypeGenesis {
		if err := schemas.DecodeInto(head.Data, &m.at); err != nil {
			return fence.Incident(m.subject, "message %d: %v", head.Seq, err)
		}
	}
	mark := schemas.Mark{Created: m.at.Created, Seq: m.at.Seq, Time: m.at.Stored}
	info, err := fence.Recognise(ctx, m.cfg.Log, schemas.StreamNotify, mark)
	if err != nil {
		return fmt.Errorf("look at notifications that %s are of: %w", m.subject, err)
	}
	m.created, m.next, m.at.Created = info.Created, m.at.Seq+1, info.Created
	if err := m.resume(ctx, info); err != nil {
		return err
	}
	// The claim says what the head said, so that the head alone still tells
	// everything.
	return m.append(ctx, schemas.TypeClaim, m.at)
}

// resume takes the notification in hand that the head left unfinished.
func (m *Send) resume(ctx context.Context, info fence.Info) error {
	switch m.at.Outcome {
	case schemas.DeliveryStarted, schemas.DeliveryRetry, schemas.DeliveryAmbiguous:
	default:
		return nil
	}
	if m.at.From > 0 {
		m.regather()
		return nil
	}
	entries, err := m.cfg.Log.Read(ctx, schemas.StreamNotify, m.at.Seq, 1)
	switch {
	case err != nil:
		return fmt.Errorf("read notification %d: %w", m.at.Seq, err)
	case len(entries) == 0 && info.First <= m.at.Seq:
		return fmt.Errorf("read notification %d: not there yet, though NOTIFY ends at %d", m.at.Seq, info.Last)
	case len(entries) == 0 || entries[0].Seq != m.at.Seq:
		// Kept for 90 days, and tried for as long: there is nothing left to send.
		m.metrics.lost.WithLabelValues(m.cfg.Name, schemas.StreamNotify).Inc()
		m.at.Outcome = schemas.DeliveryRejected
		m.at.Detail = "the notification expired before it could be delivered"
		return nil
	}
	m.take(entries[0])
	m.phase, m.now.attempt = loading, m.at.Attempt
	return nil
}
