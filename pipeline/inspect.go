package pipeline

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/dermai/millrace/schemas"
	"github.com/nats-io/nats.go/jetstream"
)

// Members lists the processors that are alive, for who is none.
func (c *Conn) Members(ctx context.Context) ([]string, error) {
	ctx, done := c.within(ctx)
	defer done()
	kv, err := c.js.KeyValue(ctx, BucketMembers)
	if err != nil {
		return nil, fmt.Errorf("list the members: bucket %s: %w", BucketMembers, err)
	}
	keys, err := kv.Keys(ctx)
	if err != nil && !errors.Is(err, jetstream.ErrNoKeysFound) {
		return nil, fmt.Errorf("list the members: %w", err)
	}
	slices.Sort(keys)
	return keys, nil
}

// Ahead is by how much the broker's clock is ahead of this machine's, as far as
// an answer tells: it is off by at most half of the time that the answer took,
// which is the second result.
func (c *Conn) Ahead(ctx context.Context) (ahead, within time.Duration, err error) {
	ctx, done := c.within(ctx)
	defer done()
	before := time.Now()
	s, err := c.js.Stream(ctx, schemas.StreamControl)
	if err != nil {
		return 0, 0, fmt.Errorf("ask the broker's clock: stream %s: %w", schemas.StreamControl, err)
	}
	within = time.Since(before) / 2
	return s.CachedInfo().TimeStamp.Sub(before.Add(within)), within, nil
}
