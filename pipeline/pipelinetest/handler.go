package pipelinetest

import (
	"errors"
	"testing"
	"time"

	"github.com/dermai/millrace/pipeline"
	"github.com/dermai/millrace/schemas"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Deliver gives events to a handler once each, in order and without a broker, as
// Consume gives them that were stored just now: checked, and as a reader decodes
// them. It returns what the handler returned for each.
func Deliver(t testing.TB, h pipeline.Handler, events ...schemas.Event) []error {
	t.Helper()
	out := make([]error, len(events))
	for i, e := range events {
		line, err := schemas.AppendJSON(nil, &e)
		if err != nil {
			t.Fatalf("event %d: %v", i, err)
		}
		p := schemas.Partition(0)
		if e.Kind == schemas.KindAudit {
			p = schemas.Audit
		}
		now := time.Now().UnixNano()
		at := pipeline.Position{Stream: p.Stream(), Seq: uint64(i + 1)}
		e, err = schemas.Decode(line, schemas.Origin{Kind: e.Kind, Service: e.Service, Arrival: now, Stream: at.Stream, Seq: at.Seq})
		if err != nil {
			t.Fatalf("event %d: %v", i, err)
		}
		out[i] = h(t.Context(), pipeline.Delivery{Event: e, Position: at, Arrival: now, Attempt: 1})
	}
	return out
}

// Settled waits until a consumer has begun and has nothing left in any stream:
// what was stored is handled, or in the quarantine.
func (s *Server) Settled(t testing.TB, name string) {
	t.Helper()
	js, done := connect(t, "", nats.InProcessServer(s.broker))
	defer done()
	Within(t, "settle everything", func() bool {
		// The consumer on REDRIVE is the last that is made.
		if _, err := js.Consumer(t.Context(), schemas.StreamRedrive, name); errors.Is(err, jetstream.ErrConsumerNotFound) {
			return false
		}
		streams := js.StreamNames(t.Context())
		for stream := range streams.Name() {
			c, err := js.Consumer(t.Context(), stream, name)
			if errors.Is(err, jetstream.ErrConsumerNotFound) {
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			if i := c.CachedInfo(); i.NumPending > 0 || i.NumAckPending > 0 {
				return false
			}
		}
		if err := streams.Err(); err != nil {
			t.Fatal(err)
		}
		return true
	})
}
