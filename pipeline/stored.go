package pipeline

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/dermai/millrace/schemas"
	"github.com/nats-io/nats.go/jetstream"
)

// Stored calls each with the source header of every stored frame whose source
// begins with prefix, stream after stream. It reads headers only, and what is
// there when it begins; frames that an archiver trimmed are not among them.
func (c *Conn) Stored(ctx context.Context, prefix string, each func(source string)) error {
	streams := []string{schemas.StreamAudit}
	for p := range schemas.MaxPartitions {
		streams = append(streams, schemas.Partition(p).Stream())
	}
	for i, name := range streams {
		s, err := c.js.Stream(ctx, name)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			if i == 0 {
				continue
			}
			return nil // partitions have consecutive numbers
		}
		if err == nil {
			err = storedIn(ctx, s, prefix, each)
		}
		if err != nil {
			return fmt.Errorf("read the headers of %s: %w", name, err)
		}
	}
	return nil
}

func storedIn(ctx context.Context, s jetstream.Stream, prefix string, each func(string)) error {
	state := s.CachedInfo().State
	if state.Msgs == 0 {
		return nil
	}
	consumer, err := s.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{
		DeliverPolicy: jetstream.DeliverAllPolicy, HeadersOnly: true,
	})
	if err != nil {
		return err
	}
	messages, err := consumer.Messages(jetstream.PullMaxMessages(1000))
	if err != nil {
		return err
	}
	defer messages.Stop()
	for {
		m, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return err
		}
		if source := m.Headers().Get(schemas.HeaderSource); source != "" {
			h, err := schemas.ParseFrameHeader(header(m.Headers()))
			if err == nil && strings.HasPrefix(h.Source, prefix) {
				each(h.Source)
			}
		}
		meta, err := m.Metadata()
		if err != nil {
			return err
		}
		if meta.Sequence.Stream >= state.LastSeq {
			return nil
		}
	}
}
