package notify

import (
	"context"
	"fmt"

	"github.com/dermai/millrace/schemas"
)

// maxReferences is how many threads a sender remembers for a Follower; of those
// before them the next notification is sent like a first one.
const maxReferences = 10_000

// references remembers what a receiver calls the first notifications of threads.
type references struct {
	known map[string]string // by ID of the notification
	order []string          // IDs as they came; some are no longer known
}

func (r *references) note(id, reference string) {
	if r.known == nil {
		r.known = map[string]string{}
	}
	if _, ok := r.known[id]; !ok {
		r.order = append(r.order, id)
	}
	r.known[id] = reference
	for len(r.known) > maxReferences || len(r.order) > 2*maxReferences {
		delete(r.known, r.order[0])
		r.order = r.order[1:]
	}
}

func (r *references) drop(id string) { delete(r.known, id) }

// first is what the receiver calls the first notification of the thread of the
// one in hand, if it can make use of it.
func (m *Send) first() (reference string, ok bool) {
	n := &m.now.notification
	if m.follower == nil || n.Thread == n.ID {
		return "", false
	}
	reference, ok = m.references.known[n.Thread]
	return reference, ok
}

// remember notes a delivered notification that others may follow, and forgets
// threads that are over.
func (m *Send) remember(reference string) {
	n := &m.now.notification
	switch {
	case m.follower == nil:
	case m.now.gathered != nil:
		for _, thread := range m.now.gathered.over {
			m.references.drop(thread)
		}
	case n.Status == "resolved":
		m.references.drop(n.Thread)
	case n.Thread == n.ID && reference != "":
		m.references.note(n.ID, reference)
	}
}

// recall reads what earlier senders delivered, up to this one's claim, if the
// receiver can make use of it. done: nothing is left to read.
func (m *Send) recall(ctx context.Context) (done, busy bool, err error) {
	if m.follower == nil || m.recalled >= m.claimed {
		return true, false, nil
	}
	entries, err := m.cfg.Log.Read(ctx, schemas.StreamDeliveries, m.recalled+1, readEntries)
	if err != nil {
		return false, false, fmt.Errorf("read deliveries: %w", err)
	}
	for _, e := range entries {
		if m.recalled = e.Seq; e.Subject != m.subject || e.Header[schemas.HeaderType] != schemas.TypeDelivery {
			continue
		}
		var d schemas.Delivery
		// What cannot be read is not followed.
		if schemas.DecodeInto(e.Data, &d) == nil && d.Outcome == schemas.DeliveryDelivered && d.Reference != "" && d.From == 0 {
			m.references.note(d.Notification, d.Reference)
		}
	}
	return m.recalled >= m.claimed, len(entries) > 0, nil
}
