package pipeline_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dermai/millrace/pipeline"
	"github.com/nats-io/nats.go/jetstream"
)

// TestAsk: a question that got lost is asked again, a slow answer is not, and nothing
// is waited for longer than a request, or after the connection broke.
func TestAsk(t *testing.T) {
	const never, nobody = time.Hour, time.Nanosecond // nobody leads: a server says so at once
	for name, test := range map[string]struct {
		answers []time.Duration // after which the first askings get their answers
		breaks  time.Duration   // of the connection; 0: never
		want    int             // asking whose answer is taken; -1: none
		after   time.Duration
	}{
		"at once":      {answers: []time.Duration{0}, want: 0},
		"lost":         {answers: []time.Duration{never, 10 * time.Millisecond}, want: 1, after: 260 * time.Millisecond},
		"lost twice":   {answers: []time.Duration{never, never, 0}, want: 2, after: 500 * time.Millisecond},
		"slow":         {answers: []time.Duration{2500 * time.Millisecond}, want: 0, after: 2500 * time.Millisecond},
		"never":        {want: -1, after: 5 * time.Second},
		"leaderless":   {answers: []time.Duration{nobody, nobody, nobody, 0}, want: 3, after: 750 * time.Millisecond},
		"disconnected": {breaks: 1500 * time.Millisecond, want: -1, after: 1500 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var asked atomic.Int64
				began := time.Now()
				got, err := pipeline.Ask(t.Context(), 5*time.Second, test.breaks, func(ctx context.Context) (int, error) {
					n := int(asked.Add(1)) - 1
					after := never
					if n < len(test.answers) {
						after = test.answers[n]
					}
					select {
					case <-time.After(after):
						if after == nobody {
							return n, &jetstream.APIError{Code: 503, ErrorCode: 10008}
						}
						return n, nil
					case <-ctx.Done():
						return 0, ctx.Err()
					}
				})
				if took := time.Since(began); took != test.after {
					t.Errorf("it took %s, want %s", took, test.after)
				}
				if test.want < 0 && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) {
					t.Errorf("an answer that nobody gave: %d, %v", got, err)
				}
				if test.want >= 0 && (err != nil || got != test.want) {
					t.Errorf("got the answer to asking %d (%v), want %d", got, err, test.want)
				}
			})
		})
	}
}
