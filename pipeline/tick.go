package pipeline

import (
	"context"
	"fmt"

	"github.com/dermai/millrace/schemas"
)

// Tick publishes a tick frame into a partition: a message without events, which
// exists for the timestamp that the broker gives it. Twice does no harm.
func (l *Log) Tick(ctx context.Context, p schemas.Partition) error {
	if _, err := l.conn.js.Publish(ctx, p.Ticks(), nil); err != nil {
		return fmt.Errorf("publish a tick frame into partition %s: %w", p, err)
	}
	return nil
}
