package pipeline

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/schemas"
	"github.com/nats-io/nats.go/jetstream"
)

// Headroom returns which share of its bytes a stream uses, 0 to 1. Doors stop at
// 0.95, so that ticks still find room. It needs the permission to ask the
// broker, which services that only publish do not have: they meet the broker's
// own refusal.
func (c *Conn) Headroom(ctx context.Context, stream string) (used float64, err error) {
	s, err := c.stream(ctx, stream)
	if err != nil {
		return 0, fmt.Errorf("headroom of %s: %w", stream, err)
	}
	info := s.CachedInfo()
	if info.Config.MaxBytes <= 0 {
		return 0, nil
	}
	used = float64(info.State.Bytes) / float64(info.Config.MaxBytes)
	c.metrics.fill.WithLabelValues(stream).Set(used)
	return used, nil
}

// Archived tells whether the deployment has an archiver, as Apply was told last: then
// nothing of telemetry goes by age.
func (c *Conn) Archived(ctx context.Context) (bool, error) {
	s, err := c.stream(ctx, schemas.Partition(0).Stream())
	if err != nil {
		return false, fmt.Errorf("whether there is an archiver: %w", err)
	}
	return s.CachedInfo().Config.MaxAge == 0, nil
}

// TrimBefore removes what a stream stored before a time, but never the last
// message of a subject, which is its fence and its checkpoint.
func TrimBefore(ctx context.Context, c *Conn, stream string, before time.Time) error {
	s, err := c.stream(ctx, stream)
	if err != nil {
		return fmt.Errorf("trim %s: %w", stream, err)
	}
	cut, err := firstSince(ctx, s, before)
	if err != nil {
		return fmt.Errorf("trim %s: %w", stream, err)
	}
	info, err := s.Info(ctx, jetstream.WithSubjectFilter(">"))
	if err != nil {
		return fmt.Errorf("trim %s: %w", stream, err)
	}
	log := c.Log()
	defer log.Close()
	for subject := range info.State.Subjects {
		head, err := log.Head(ctx, subject)
		if errors.Is(err, fence.ErrNoHead) {
			continue // removed by its age meanwhile
		}
		if err != nil {
			return fmt.Errorf("trim %s: %w", stream, err)
		}
		if err := log.Trim(ctx, stream, subject, min(cut, head.Seq)); err != nil {
			return err
		}
	}
	return nil
}

// firstSince finds the first message that is not older than a time; the sequence
// to come if there is none.
func firstSince(ctx context.Context, s jetstream.Stream, since time.Time) (uint64, error) {
	info, err := s.Info(ctx)
	if err != nil {
		return 0, err
	}
	consumer, err := s.CreateConsumer(ctx, jetstream.ConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartTimePolicy, OptStartTime: &since,
		AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, Replicas: 1, HeadersOnly: true,
		InactiveThreshold: consumerIdle,
	})
	if err != nil {
		return 0, err
	}
	defer func() { _ = s.DeleteConsumer(ctx, consumer.CachedInfo().Name) }() // the broker forgets it anyway
	batch, err := consumer.FetchNoWait(1)
	if err != nil {
		return 0, err
	}
	first := info.State.LastSeq + 1
	for m := range batch.Messages() {
		meta, err := m.Metadata()
		if err != nil {
			return 0, err
		}
		first = meta.Sequence.Stream
	}
	return first, batch.Error()
}
