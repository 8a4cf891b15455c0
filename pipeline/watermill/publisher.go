package watermill

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats.go/jetstream"
)

var _ message.Publisher = (*Publisher)(nil)

// Publisher implements message.Publisher. It is safe for concurrent use.
type Publisher struct {
	transport Transport
	js        jetstream.JetStream

	mu     sync.RWMutex // held for reading while messages are on their way
	closed bool
}

// ErrClosed: the publisher or subscriber was closed.
var ErrClosed = errors.New("closed")

// patience bounds the wait for the broker's answer.
const patience = 10 * time.Second

// NewPublisher returns a publisher, and makes the stream if it is not there.
func NewPublisher(ctx context.Context, t Transport) (*Publisher, error) {
	if err := t.Validate(); err != nil {
		return nil, fmt.Errorf("watermill publisher: %w", err)
	}
	t = t.withDefaults()
	js, err := t.open(ctx)
	if err != nil {
		return nil, fmt.Errorf("watermill publisher: %w", err)
	}
	return &Publisher{transport: t, js: js}, nil
}

// Publish stores messages and returns when they are on the broker's disk. After
// an error some may be; publishing again stores those twice.
func (p *Publisher) Publish(topic string, messages ...*message.Message) error {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if p.closed {
		return fmt.Errorf("publish to %s: %w", topic, ErrClosed)
	}
	subject, err := p.transport.subject(topic)
	if err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	var faults []error
	sent := make([]jetstream.PubAckFuture, 0, len(messages))
	for _, m := range messages {
		ack, err := p.js.PublishMsgAsync(encode(subject, m))
		if err != nil {
			faults = append(faults, err)
			break
		}
		sent = append(sent, ack)
	}
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for i, ack := range sent {
		select {
		case <-ack.Ok():
		case err := <-ack.Err():
			faults = append(faults, err)
		case <-messages[i].Context().Done():
			faults = append(faults, messages[i].Context().Err())
		case <-timeout.C:
			timeout.Reset(0) // nor do the others wait
			faults = append(faults, errors.New("no answer in time"))
		}
	}
	if err := errors.Join(faults...); err != nil {
		return fmt.Errorf("publish to %s: %w", topic, err)
	}
	return nil
}

// Close waits for calls under way. The connection stays open.
func (p *Publisher) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	return nil
}
