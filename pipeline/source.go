package pipeline

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/dermai/millrace/schemas"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
)

// source is one stream that a consumer reads, through a durable consumer of the
// broker that all processes of the name share.
type source struct {
	conn   *Conn
	sub    Subscription
	stream string
	config jetstream.ConsumerConfig
	hand   *hand

	consumer jetstream.Consumer // nil: to be looked for

	last    string // subject of the message before
	subject schemas.Subject
	lag     prometheus.Gauge

	// Under the hand's lock.
	held    map[uint64]*held
	settled recent
}

// Limits of what one stream has on its way to this process.
const (
	consumeMessages = 1000
	consumeBytes    = 2 << 20
	ackPending      = 50_000 // messages in hand of all processes together
)

// prepare finds the durable consumer of the name, or makes it.
func (s *source) prepare(ctx context.Context) (jetstream.Consumer, error) {
	ctx, finish := s.conn.within(ctx)
	defer finish()
	c := s.config
	consumer, err := s.conn.js.Consumer(ctx, s.stream, s.sub.Name)
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		consumer, err = s.conn.js.CreateConsumer(ctx, s.stream, c)
		if errors.Is(err, jetstream.ErrConsumerExists) { // another process was faster
			consumer, err = s.conn.js.Consumer(ctx, s.stream, s.sub.Name)
		}
	}
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, fmt.Errorf("no stream %s; create it with millrace apply: %w", s.stream, err)
	}
	if err != nil {
		return nil, fmt.Errorf("consumer %s on %s: %w", s.sub.Name, s.stream, err)
	}
	is := consumer.CachedInfo().Config
	if is.AckPolicy != jetstream.AckExplicitPolicy || is.DeliverSubject != "" {
		return nil, fmt.Errorf("consumer %s on %s: it was made by somebody else for something else; choose another name", s.sub.Name, s.stream)
	}
	if slices.Equal(filtersOf(is), filtersOf(c)) && is.AckWait == c.AckWait && is.MaxDeliver == -1 && is.MaxAckPending == c.MaxAckPending {
		return consumer, nil
	}
	is.FilterSubject, is.FilterSubjects = c.FilterSubject, c.FilterSubjects
	is.AckWait, is.MaxDeliver, is.MaxAckPending, is.BackOff = c.AckWait, -1, c.MaxAckPending, nil
	if consumer, err = s.conn.js.UpdateConsumer(ctx, s.stream, is); err != nil {
		return nil, fmt.Errorf("consumer %s on %s: %w", s.sub.Name, s.stream, err)
	}
	return consumer, nil
}

// filtersOf gives the filters as FilterSubjects has them.
func filtersOf(c jetstream.ConsumerConfig) []string {
	if c.FilterSubject != "" {
		return []string{c.FilterSubject}
	}
	return slices.Sorted(slices.Values(c.FilterSubjects))
}

// run takes messages in hand until ctx ends; then none is on its way any more.
func (s *source) run(ctx context.Context) {
	var measuring sync.WaitGroup
	measuring.Go(func() { s.measure(ctx) })
	defer measuring.Wait()
	wait := retryFirst
	for ctx.Err() == nil {
		var err error
		if s.consumer == nil {
			s.consumer, err = s.prepare(ctx)
		}
		var room <-chan struct{}
		if err == nil {
			room, err = s.follow(ctx, s.consumer)
		}
		if err == nil {
			wait = retryFirst
			select {
			case <-room:
			case <-ctx.Done():
			}
			continue
		}
		s.consumer = nil
		if ctx.Err() != nil {
			return
		}
		s.conn.metrics.readRestarts.WithLabelValues(s.stream).Inc()
		s.conn.log.Warn().Err(err).Str("consumer", s.sub.Name).Str("stream", s.stream).Msg("the consumer starts anew")
		select {
		case <-time.After(wait):
		case <-ctx.Done():
		}
		wait = min(2*wait, retryMost)
	}
}

// measure keeps the lag current while no message comes.
func (s *source) measure(ctx context.Context) {
	tick := time.NewTicker(s.sub.AckWait / 3)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		asking, finish := s.conn.within(ctx)
		consumer, err := s.conn.js.Consumer(asking, s.stream, s.sub.Name)
		finish()
		if err == nil { // run says what is wrong
			s.lag.Set(float64(consumer.CachedInfo().NumPending))
		}
	}
}

// drainTime bounds the wait for messages that are on their way.
const drainTime = 5 * time.Second

// follow takes messages until ctx ends, the consumer is of no more use, which is
// an error, or there is no room: then it gives what says that there is again.
func (s *source) follow(ctx context.Context, consumer jetstream.Consumer) (room <-chan struct{}, err error) {
	full := make(chan (<-chan struct{}), 1)
	failed := make(chan error, 1)
	take := func(m jetstream.Msg) {
		s.arrived(m)
		if room := s.hand.full(); room != nil {
			select {
			case full <- room:
			default:
			}
		}
	}
	running, err := consumer.Consume(take,
		jetstream.PullMaxMessagesWithBytesLimit(consumeMessages, consumeBytes),
		jetstream.PullExpiry(pullExpiry), jetstream.PullHeartbeat(pullHeartbeat),
		jetstream.ConsumeErrHandler(func(_ jetstream.ConsumeContext, err error) {
			s.conn.log.Debug().Err(err).Str("consumer", s.sub.Name).Str("stream", s.stream).Msg("the consumer reports an error")
			select {
			case failed <- err:
			default:
			}
		}))
	if err != nil {
		return nil, fmt.Errorf("consume %s: %w", s.stream, err)
	}
	select {
	case room = <-full:
	case <-ctx.Done():
	case err = <-failed:
	}
	running.Drain()
	select {
	case <-running.Closed():
	case <-time.After(drainTime): // the connection is broken; the broker gives them again
	}
	return room, err
}

// arrived takes a message in hand.
func (s *source) arrived(m jetstream.Msg) {
	meta, err := m.Metadata()
	if err != nil {
		return // no message of a stream
	}
	if m.Subject() != s.last {
		s.last = m.Subject()
		s.subject, _ = schemas.ParseSubject(s.last) // what is none is found when it is opened
	}
	h := &held{
		source: s, seq: meta.Sequence.Stream, msg: m, header: m.Headers(),
		name: m.Subject(), subject: s.subject, data: m.Data(), weight: len(m.Data()) + heldBytes,
		origin: Position{Stream: s.stream, Seq: meta.Sequence.Stream}, arrival: meta.Timestamp.UnixNano(),
	}
	s.lag.Set(float64(meta.NumPending))
	if meta.NumDelivered > 1 {
		s.conn.metrics.redelivered.WithLabelValues(s.sub.Name, s.stream).Inc()
	}
	if !s.hand.add(h) {
		_ = m.Ack() // again; if that is lost too, so once more
	}
}

// answer acknowledges a message, or gives it back for others. A lost answer
// means that it comes again. Under the hand's lock.
func (s *source) answer(m *held) {
	if m.dropped {
		_ = m.msg.Nak()
		return
	}
	s.settled.add(m.seq)
	_ = m.msg.Ack()
}
