package pipeline

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/dermai/millrace/schemas"
	"github.com/nats-io/nats.go/jetstream"
)

// lookEvery is how often a consumer looks for partitions that were added.
const lookEvery = 5 * time.Second

// find starts a source for each stream, and for those that come later.
func (c *consumption[D]) find(ctx context.Context, reading *sync.WaitGroup) error {
	var streams []string
	filters := map[string][]string{}
	add := func(name string, subjects ...string) {
		streams = append(streams, name)
		filters[name] = subjects
	}
	next := schemas.Partition(0)
	switch {
	case !c.partitions:
		add(schemas.StreamAlerts)
	default:
		if c.sub.wants(schemas.Audit) {
			add(schemas.StreamAudit, c.sub.filters(schemas.Audit)...)
		}
		if c.sub.wants(next) {
			for ; ; next++ {
				ok, err := c.exists(ctx, next)
				if err != nil {
					return err
				}
				if !ok && next > 0 {
					break
				}
				add(next.Stream(), c.sub.filters(next)...)
			}
		}
	}
	start, err := c.start(ctx, streams)
	if err != nil {
		return err
	}
	add(schemas.StreamRedrive, "redrive."+c.redrives+"."+c.sub.Name+".*")
	var sources []*source
	for _, name := range streams {
		from := start
		if name == schemas.StreamRedrive {
			from = jetstream.ConsumerConfig{DeliverPolicy: jetstream.DeliverAllPolicy}
		}
		s, err := c.source(ctx, name, filters[name], &from)
		if err != nil {
			return err
		}
		if from.DeliverPolicy == jetstream.DeliverNewPolicy {
			start = sinceCreated(s.consumer)
		}
		sources = append(sources, s)
	}
	c.mu.Lock()
	c.sources = sources
	c.mu.Unlock()
	for _, s := range sources {
		reading.Go(func() { s.run(ctx) })
	}
	if c.partitions && c.sub.wants(0) {
		reading.Go(func() { c.lookOn(ctx, next, start, reading) })
	}
	return nil
}

// exists tells whether there is a partition.
func (c *consumption[D]) exists(ctx context.Context, p schemas.Partition) (bool, error) {
	if p >= schemas.MaxPartitions {
		return false, nil
	}
	_, err := c.sub.Conn.stream(ctx, p.Stream())
	if errors.Is(err, jetstream.ErrStreamNotFound) && p > 0 {
		return false, nil
	}
	return err == nil, err
}

// start is where the name begins on a stream that it has not read. A name that
// is in use begins on further streams with what was stored since its first use,
// so that no event falls between.
func (c *consumption[D]) start(ctx context.Context, streams []string) (jetstream.ConsumerConfig, error) {
	from := c.sub.From
	switch {
	case from.All:
		return jetstream.ConsumerConfig{DeliverPolicy: jetstream.DeliverAllPolicy}, nil
	case !from.Since.IsZero():
		return jetstream.ConsumerConfig{DeliverPolicy: jetstream.DeliverByStartTimePolicy, OptStartTime: &from.Since}, nil
	}
	var first jetstream.Consumer
	for _, name := range streams {
		asking, finish := c.sub.Conn.within(ctx)
		consumer, err := c.sub.Conn.js.Consumer(asking, name, c.sub.Name)
		finish()
		switch {
		case errors.Is(err, jetstream.ErrConsumerNotFound):
		case err != nil:
			return jetstream.ConsumerConfig{}, err
		case first == nil || consumer.CachedInfo().Created.Before(first.CachedInfo().Created):
			first = consumer
		}
	}
	if first == nil {
		return jetstream.ConsumerConfig{DeliverPolicy: jetstream.DeliverNewPolicy}, nil
	}
	return sinceCreated(first), nil
}

func sinceCreated(c jetstream.Consumer) jetstream.ConsumerConfig {
	at := c.CachedInfo().Created
	return jetstream.ConsumerConfig{DeliverPolicy: jetstream.DeliverByStartTimePolicy, OptStartTime: &at}
}

// source prepares the reading of a stream.
func (c *consumption[D]) source(ctx context.Context, stream string, filters []string, from *jetstream.ConsumerConfig) (*source, error) {
	slices.Sort(filters)
	s := &source{
		conn: c.sub.Conn, sub: c.sub, stream: stream, hand: c.hand,
		lag: c.sub.Conn.metrics.consumerLag.WithLabelValues(c.sub.Name, stream),
		config: jetstream.ConsumerConfig{
			Durable: c.sub.Name, AckPolicy: jetstream.AckExplicitPolicy, AckWait: c.sub.AckWait,
			MaxDeliver: -1, MaxAckPending: ackPending, FilterSubjects: filters,
			DeliverPolicy: from.DeliverPolicy, OptStartTime: from.OptStartTime,
		},
		held: map[uint64]*held{},
	}
	if len(filters) == 1 { // it becomes part of the request's subject, and so of what a role may do
		s.config.FilterSubject, s.config.FilterSubjects = filters[0], nil
	}
	var err error
	s.consumer, err = s.prepare(ctx)
	return s, err
}

// lookOn reads partitions that are added later.
func (c *consumption[D]) lookOn(ctx context.Context, next schemas.Partition, start jetstream.ConsumerConfig, reading *sync.WaitGroup) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		ok, err := c.exists(ctx, next)
		if err == nil && ok {
			var s *source
			if s, err = c.source(ctx, next.Stream(), c.sub.filters(next), &start); err == nil {
				c.mu.Lock()
				c.sources = append(slices.Clone(c.sources), s)
				c.mu.Unlock()
				reading.Go(func() { s.run(ctx) })
				next++
				continue
			}
		}
		if err != nil && ctx.Err() == nil {
			c.sub.Conn.log.Debug().Err(err).Str("consumer", strings.Clone(c.sub.Name)).Msg("looking for new partitions")
		}
	}
}
