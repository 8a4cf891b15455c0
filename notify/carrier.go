package notify

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/message/router/middleware"
	"github.com/rs/zerolog"
	"github.com/sony/gobreaker"

	"github.com/dermai/millrace/schemas"
)

// How a carrier treats a receiver.
const (
	// sendEvery is the least time between two messages, so that a backlog does not
	// hammer a receiver. How many it gets in a minute, max_per_minute bounds.
	sendEvery = 100 * time.Millisecond
	// breakAfter failures in a row, a receiver is left alone for breakReceiver. By then
	// the sender waits for half a minute between attempts.
	breakAfter    = 5
	breakReceiver = time.Minute
)

// Carrier takes attempts to receivers through a Watermill router: each receiver
// is a handler, whose panics become errors, whose attempts keep a distance, and
// which is left alone for a while after failures in a row.
//
// What has to outlive a crash is not the router's: Send, the machine, is the
// subscriber that feeds it. An attempt that failed is a message that was not
// acknowledged; the machine has recorded that, and gives it again when its time
// has come, or puts it into the quarantine.
type Carrier struct {
	metrics *Metrics
	log     zerolog.Logger
	router  *message.Router
}

// NewCarrier makes a carrier without receivers. metrics may be nil. The logger is
// told of receivers that fail for long, and when they answer again.
func NewCarrier(metrics *Metrics, log zerolog.Logger) (*Carrier, error) {
	router, err := message.NewRouter(message.RouterConfig{}, watermill.NopLogger{})
	if err != nil {
		return nil, fmt.Errorf("carrier: %w", err)
	}
	return &Carrier{metrics: metrics.orNone(), log: log, router: router}, nil
}

// Run carries until ctx ends and what is in hand is done. Before it runs, and
// afterwards, attempts fail as if the receiver were away.
func (c *Carrier) Run(ctx context.Context) error {
	if err := c.router.Run(ctx); err != nil {
		return fmt.Errorf("carrier: %w", err)
	}
	return nil
}

// Carry gives a receiver through which attempts at r are carried. It is called
// before Run, once for each name.
func (c *Carrier) Carry(name string, r Receiver) Receiver {
	h := &carried{receiver: r, log: c.log.With().Str("receiver", name).Logger(), messages: make(chan *message.Message)}
	state := c.metrics.breaker.WithLabelValues(name)
	state.Set(0)
	breaker := middleware.NewCircuitBreaker(gobreaker.Settings{
		Name:        name,
		Timeout:     breakReceiver,
		ReadyToTrip: func(n gobreaker.Counts) bool { return n.ConsecutiveFailures >= breakAfter },
		// A receiver that says never is there.
		IsSuccessful: func(err error) bool { return err == nil || verdictOf(err).outcome == schemas.DeliveryRejected },
		OnStateChange: func(_ string, from, to gobreaker.State) {
			if state.Set(0); to == gobreaker.StateOpen {
				state.Set(1)
				h.opened(time.Now())
			}
			h.fails = from == gobreaker.StateClosed
			if to == gobreaker.StateClosed {
				h.log.Info().Msg("the receiver answers again")
			}
		},
	})
	// The first is the outermost. What the breaker sees of a panic is an error.
	c.router.AddConsumerHandler(name, name, h, h.handle).AddMiddleware(
		h.outcome, breaker.Middleware, middleware.NewThrottle(1, sendEvery).Middleware, middleware.Recoverer,
	)
	if _, ok := r.(Follower); ok {
		return follower{h}
	}
	return h
}

// carried is a receiver behind the router, and the subscriber of its handler.
// One attempt is in hand at a time.
type carried struct {
	receiver Receiver
	log      zerolog.Logger
	messages chan *message.Message

	// Of the attempt in hand: set before the message is given, read after it was
	// acknowledged, or was not.
	notification schemas.Notification
	follows      bool
	first        string
	reference    string
	err          error
	fails        bool // the breaker opened by it, and was closed before

	mu     sync.Mutex
	closed time.Time // when the breaker, open now, lets an attempt through
}

// follower is a carried Follower.
type follower struct{ *carried }

// Follow implements Follower.
func (f follower) Follow(ctx context.Context, n schemas.Notification, first string) (string, error) {
	return f.attempt(ctx, n, true, first)
}

// Send implements Receiver.
func (h *carried) Send(ctx context.Context, n schemas.Notification) (string, error) {
	return h.attempt(ctx, n, false, "")
}

// attempt gives one message to the router and waits for what becomes of it. Who
// handles it minds ctx.
func (h *carried) attempt(ctx context.Context, n schemas.Notification, follows bool, first string) (string, error) {
	m := message.NewMessage(n.ID, nil)
	m.SetContext(ctx)
	h.notification, h.follows, h.first = n, follows, first
	h.reference, h.err = "", nil
	select {
	case h.messages <- m:
	case <-ctx.Done():
		return "", &waitError{reason: "stopped before it was sent"}
	}
	select {
	case <-m.Acked():
	case <-m.Nacked():
	}
	return h.reference, h.err
}

// handle makes the attempt.
func (h *carried) handle(m *message.Message) (err error) {
	if h.follows {
		h.reference, err = h.receiver.(Follower).Follow(m.Context(), h.notification, h.first)
		return err
	}
	h.reference, err = h.receiver.Send(m.Context(), h.notification)
	return err
}

// outcome keeps what the others made of an attempt, as an error that Send can
// judge.
func (h *carried) outcome(next message.HandlerFunc) message.HandlerFunc {
	return func(m *message.Message) ([]*message.Message, error) {
		out, err := next(m)
		var panicked middleware.RecoveredPanicError
		switch {
		case errors.As(err, &panicked): // its text shows what it panicked with
			err = panicError{fmt.Sprintf("%T", panicked.V)}
		case errors.Is(err, gobreaker.ErrOpenState), errors.Is(err, gobreaker.ErrTooManyRequests):
			err = &waitError{reason: "left alone after failures in a row", after: h.left(time.Now())}
		}
		h.err = err
		if h.fails {
			h.log.Warn().Str("answer", verdictOf(err).detail).Msg("the receiver fails, and is left alone for a while; what it is to be told waits")
			h.fails = false
		}
		return out, err
	}
}

func (h *carried) opened(now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = now.Add(breakReceiver)
}

// left is for how long the breaker stays open.
func (h *carried) left(now time.Time) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	return max(0, h.closed.Sub(now))
}

// waitError is an attempt that did not reach the receiver.
type waitError struct {
	reason string
	after  time.Duration
}

func (e *waitError) Error() string             { return e.reason }
func (e *waitError) Ambiguous() bool           { return false }
func (e *waitError) RetryAfter() time.Duration { return e.after }

// Subscribe implements message.Subscriber: what is not acknowledged comes again
// when Send, the machine, says so.
func (h *carried) Subscribe(ctx context.Context, _ string) (<-chan *message.Message, error) {
	out := make(chan *message.Message)
	go func() {
		defer close(out)
		for {
			select {
			case <-ctx.Done():
				return
			case m := <-h.messages:
				out <- m // the router reads until it is closed
			}
		}
	}()
	return out, nil
}

// Close implements message.Subscriber.
func (h *carried) Close() error { return nil }
