package pipeline

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// How long an answer is awaited before a question is asked once more. With the leader
// of a stream, or of the cluster, a question dies that was on its way to it, and one
// that comes before there is another leader (4 s to 9 s later) is dropped without a
// word. An answer that takes longer than this is not lost: whichever comes first is
// taken.
const (
	askAgain  = 250 * time.Millisecond
	makeAgain = 500 * time.Millisecond // of what leaves something at the broker
)

// ask asks the broker what may be asked twice, again and again until there is an
// answer, the time-out of a request is over, or the connection breaks. That there is no
// leader is no answer.
func ask[T any](ctx context.Context, c *Conn, every time.Duration, question func(context.Context) (T, error)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	var asked sync.WaitGroup
	defer asked.Wait()
	ctx, done := c.within(ctx)
	defer done()
	answers := make(chan answer)
	var leaderless error
	again := time.NewTicker(every)
	defer again.Stop()
	put := func() {
		value, err := question(ctx)
		select {
		case answers <- answer{value, err}:
		case <-ctx.Done():
		}
	}
	asked.Go(put)
	for {
		select {
		case a := <-answers:
			if errors.Is(a.err, nats.ErrReconnectBufExceeded) {
				return a.value, fmt.Errorf("not connected to the broker: %w", a.err)
			}
			if !isLeaderless(a.err) {
				return a.value, a.err
			}
			leaderless = a.err
		case <-ctx.Done():
			var none T
			return none, cmp.Or(leaderless, ctx.Err())
		case <-again.C:
			asked.Go(put)
		}
	}
}

// isLeaderless tells that an answer comes of a server that waits for another leader too.
func isLeaderless(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && api.ErrorCode == codeClusterNotAvailable
}
