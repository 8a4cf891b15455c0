package processor

import (
	"context"
	"time"

	"github.com/dermai/millrace/pipeline"
	"github.com/dermai/millrace/schemas"
	"github.com/dermai/millrace/sinks"
)

// Sink is a place that takes events. All processors feed it together, each its
// share.
type Sink struct {
	Name     string
	Kinds    []schemas.Kind // nil: each
	Services []string       // nil: each
	Where    func(*schemas.Event) bool
	Events   sinks.EventSink
}

// consumer is the name under which the broker remembers what a sink has.
func (s Sink) consumer() string { return "sink-" + s.Name }

// retryConsume is the time between two attempts to begin.
const retryConsume = 2 * time.Second

// feed gives a sink its events until ctx ends.
func (p *processor) feed(ctx context.Context, s Sink) error {
	retry := time.NewTicker(retryConsume)
	defer retry.Stop()
	for ctx.Err() == nil {
		err := pipeline.ConsumeBatches(ctx, pipeline.Subscription{
			Conn: p.Conn, Name: s.consumer(), Kinds: s.Kinds, Services: s.Services, Where: s.Where,
		}, func(ctx context.Context, batch []pipeline.Delivery) error {
			return s.Events.Write(ctx, delivered(batch))
		})
		if err == nil {
			continue
		}
		p.Log.Warn().Err(err).Str("sink", s.Name).Msg("feed the sink")
		select {
		case <-ctx.Done():
		case <-retry.C:
		}
	}
	return nil
}

func delivered(batch []pipeline.Delivery) []sinks.Delivered {
	out := make([]sinks.Delivered, len(batch))
	for i := range batch {
		d := &batch[i]
		out[i] = sinks.Delivered{
			Stream: d.Position.Stream, Seq: d.Position.Seq, Index: d.Position.Index,
			Time: min(d.Event.Time, d.Arrival), Event: &d.Event,
		}
	}
	return out
}
