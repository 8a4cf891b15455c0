package processor

import (
	"context"
	"time"

	"github.com/dermai/millrace/schemas"
)

// fillInterval is how often a processor looks how full the streams are.
const fillInterval = 10 * time.Second

// filled are the streams besides those of partitions.
var filled = []string{
	schemas.StreamPartials, schemas.StreamAlerts, schemas.StreamCheckpoint, schemas.StreamControl,
	schemas.StreamNotify, schemas.StreamDeliveries, schemas.StreamQuarantine,
}

// fill looks how full streams are until ctx ends, so that the metrics show it.
// Doors and lanes look for themselves.
func (p *processor) fill(ctx context.Context, streams ...string) error {
	again := time.NewTicker(fillInterval)
	defer again.Stop()
	for ctx.Err() == nil {
		for _, name := range streams {
			if _, err := p.Conn.Headroom(ctx, name); err != nil {
				p.Log.Debug().Err(err).Str("stream", name).Msg("how full is it")
			}
		}
		select {
		case <-ctx.Done():
		case <-again.C:
		}
	}
	return nil
}
