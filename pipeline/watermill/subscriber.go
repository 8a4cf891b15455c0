package watermill

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats.go/jetstream"
)

var (
	_ message.Subscriber           = (*Subscriber)(nil)
	_ message.SubscribeInitializer = (*Subscriber)(nil)
)

// Subscriber implements message.Subscriber. It is safe for concurrent use.
type Subscriber struct {
	transport Transport
	js        jetstream.JetStream
	ctx       context.Context // of all subscriptions; ends with Close
	cancel    context.CancelFunc
	running   sync.WaitGroup

	mu     sync.Mutex
	closed bool
}

// NewSubscriber returns a subscriber, and makes the stream if it is not there.
func NewSubscriber(ctx context.Context, t Transport) (*Subscriber, error) {
	err := t.Validate()
	if t.Group == "" {
		err = errors.Join(err, errors.New("group: missing; say who shares the messages"))
	}
	if err != nil {
		return nil, fmt.Errorf("watermill subscriber: %w", err)
	}
	t = t.withDefaults()
	js, err := t.open(ctx)
	if err != nil {
		return nil, fmt.Errorf("watermill subscriber: %w", err)
	}
	s := &Subscriber{transport: t, js: js}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s, nil
}

// ackPending bounds what all subscribers of a group have of a topic and have not
// acknowledged, in messages: the broker gives no more.
const ackPending = 256

// consumer finds the group's consumer of a topic, or makes it.
func (s *Subscriber) consumer(ctx context.Context, topic string) (jetstream.Consumer, error) {
	subject, err := s.transport.subject(topic)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256([]byte(topic))
	return s.js.CreateOrUpdateConsumer(ctx, s.transport.Stream, jetstream.ConsumerConfig{
		Durable: s.transport.Group + "_" + hex.EncodeToString(sum[:8]), Description: subject,
		FilterSubject: subject, AckPolicy: jetstream.AckExplicitPolicy, AckWait: s.transport.AckWait,
		MaxDeliver: -1, MaxAckPending: ackPending,
	})
}

// SubscribeInitialize makes the group's consumer of a topic.
func (s *Subscriber) SubscribeInitialize(topic string) error {
	if _, err := s.consumer(s.ctx, topic); err != nil {
		return fmt.Errorf("subscribe to %s: %w", topic, err)
	}
	return nil
}

// Subscribe gives the group's messages of a topic until ctx ends or Close. A
// group that is new gets all that is kept. After Nack a message comes again from
// here, before later ones if InFlight is 1; what is not acknowledged at the end
// goes to another subscriber at once.
func (s *Subscriber) Subscribe(ctx context.Context, topic string) (<-chan *message.Message, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, fmt.Errorf("subscribe to %s: %w", topic, ErrClosed)
	}
	consumer, err := s.consumer(ctx, topic)
	if err != nil {
		return nil, fmt.Errorf("subscribe to %s: %w", topic, err)
	}
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(s.ctx, cancel)
	sub := &subscription{
		transport: s.transport, ctx: ctx, out: make(chan *message.Message),
		held: map[jetstream.Msg]struct{}{}, wake: make(chan struct{}, ackPending),
	}
	reading, err := consumer.Consume(sub.add, jetstream.PullMaxMessages(ackPending))
	if err != nil {
		cancel()
		return nil, fmt.Errorf("subscribe to %s: %w", topic, err)
	}
	s.running.Go(func() {
		defer stop()
		defer cancel()
		sub.run(reading)
	})
	return sub.out, nil
}

// Close ends all subscriptions and waits for them. The connection stays open.
func (s *Subscriber) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.cancel()
	s.running.Wait()
	return nil
}

// subscription is one call of Subscribe.
type subscription struct {
	transport Transport
	ctx       context.Context
	out       chan *message.Message
	wake      chan struct{}

	mu    sync.Mutex
	queue []jetstream.Msg
	held  map[jetstream.Msg]struct{} // not acknowledged, those of the queue too
}

// add takes what the broker gives: never more than ackPending.
func (s *subscription) add(m jetstream.Msg) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queue = append(s.queue, m)
	s.held[m] = struct{}{}
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *subscription) run(reading jetstream.ConsumeContext) {
	var giving sync.WaitGroup
	for range s.transport.InFlight {
		giving.Go(s.give)
	}
	s.beat()
	giving.Wait()
	reading.Drain() // what is on its way is taken, and left to others below
	select {
	case <-reading.Closed():
	case <-time.After(patience):
	}
	close(s.out)
	s.mu.Lock()
	defer s.mu.Unlock()
	for m := range s.held {
		_ = m.Nak() // if it is lost, the broker waits for AckWait
	}
}

// beat tells the broker that what is held is worked on, until ctx ends.
func (s *subscription) beat() {
	tick := time.NewTicker(s.transport.AckWait / 3)
	defer tick.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-tick.C:
		}
		s.mu.Lock()
		for m := range s.held {
			_ = m.InProgress() // one that is lost costs a redelivery
		}
		s.mu.Unlock()
	}
}

// give hands out one message after the other.
func (s *subscription) give() {
	for s.ctx.Err() == nil {
		s.mu.Lock()
		var m jetstream.Msg
		if len(s.queue) > 0 {
			m, s.queue = s.queue[0], s.queue[1:]
		}
		s.mu.Unlock()
		if m == nil {
			select {
			case <-s.wake:
			case <-s.ctx.Done():
			}
			continue
		}
		for !s.attempt(m) {
			select {
			case <-time.After(s.transport.Again):
			case <-s.ctx.Done():
				return
			}
		}
	}
}

// attempt hands out a message once, and tells whether that is the end of it.
func (s *subscription) attempt(m jetstream.Msg) bool {
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	given := decode(m.Headers(), m.Data())
	given.SetContext(ctx)
	select {
	case s.out <- given:
	case <-s.ctx.Done():
		return true
	}
	select {
	case <-given.Acked():
	case <-given.Nacked():
		return false
	case <-s.ctx.Done():
		return true
	}
	s.mu.Lock()
	delete(s.held, m)
	s.mu.Unlock()
	_ = m.Ack() // if it is lost, the message comes again
	return true
}
