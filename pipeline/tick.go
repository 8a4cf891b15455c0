package pipeline

import (
	"context"
	"fmt"

	"github.com/dermai/millrace/schemas"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// StoreTick stores a tick frame in a partition: a message without events that exists for
// the broker's timestamp. Twice does no harm.
func (c *Conn) StoreTick(ctx context.Context, p schemas.Partition) error {
	ctx, done := c.within(ctx)
	defer done()
	if _, err := c.js.PublishMsg(ctx, &nats.Msg{Subject: p.Ticks()}, jetstream.WithRetryAttempts(0)); err != nil {
		err, _ = appendError(err, p.Ticks(), 0)
		return err
	}
	return nil
}

// Tick implements stages.Ticker. Unlike Conn.StoreTick it waits for nothing: a stream
// without a leader would not answer, and an evaluator has other partitions to ask. What
// shows that the tick frame is stored is the partition's time.
func (l *Log) Tick(_ context.Context, p schemas.Partition) error {
	if err := l.conn.nats.Publish(p.Ticks(), nil); err != nil {
		return fmt.Errorf("publish a tick frame into partition %s: %w", p, err)
	}
	return nil
}
