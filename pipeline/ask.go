package pipeline

import (
	"context"
	"sync"
	"time"
)

// askAgain is how long an answer is awaited before a question is asked once more.
// With the leader of a stream, or of the cluster, a question dies that was on its way
// to it, and one that comes before there is another leader (4 s to 9 s later) is
// dropped without a word. An answer that takes longer than this is not lost: whichever
// comes first is taken.
const askAgain = time.Second

// ask asks the broker what may be asked twice, again and again until there is an
// answer, the time-out of a request is over, or the connection breaks.
func ask[T any](ctx context.Context, c *Conn, question func(context.Context) (T, error)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	var asked sync.WaitGroup
	defer asked.Wait()
	ctx, done := c.within(ctx)
	defer done()
	answers := make(chan answer)
	again := time.NewTicker(askAgain)
	defer again.Stop()
	for {
		asked.Go(func() {
			value, err := question(ctx)
			select {
			case answers <- answer{value, err}:
			case <-ctx.Done():
			}
		})
		select {
		case a := <-answers:
			return a.value, a.err
		case <-ctx.Done():
			var none T
			return none, ctx.Err()
		case <-again.C:
		}
	}
}
