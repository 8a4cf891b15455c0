package notify

import (
	"errors"
	"time"

	"github.com/dermai/millrace/schemas"
)

// verdict is what an answer of a receiver means.
type verdict struct {
	outcome    string
	detail     string
	retryAfter time.Duration
}

// verdictOf asks the error how it wants to be treated.
func verdictOf(err error) verdict {
	if err == nil {
		return verdict{outcome: schemas.DeliveryDelivered}
	}
	v := verdict{outcome: schemas.DeliveryAmbiguous, detail: err.Error()}
	var ambiguous interface{ Ambiguous() bool }
	if errors.As(err, &ambiguous) && !ambiguous.Ambiguous() {
		v.outcome = schemas.DeliveryRetry
	}
	var later interface{ RetryAfter() time.Duration }
	if errors.As(err, &later) {
		v.retryAfter = later.RetryAfter()
	}
	var permanent interface{ Permanent() bool }
	if errors.As(err, &permanent) && permanent.Permanent() {
		v.outcome = schemas.DeliveryRejected
	}
	return v
}

// panicError is a receiver that panicked. What it panicked with is not shown: it
// may be anything.
type panicError struct{ kind string }

func (e panicError) Error() string   { return "the receiver panicked with a " + e.kind }
func (e panicError) Permanent() bool { return true }

// Backoff is how long a sender waits between attempts.
type Backoff struct {
	Min time.Duration // after the first attempt; doubles with each. Default: 1s
	Max time.Duration // it doubles no further than this. Default: 5m
	// MaxRetryAfter bounds how long a receiver may ask to be left alone. Default:
	// 1h.
	MaxRetryAfter time.Duration
}

// delay is the time to wait after an attempt: half of it and up to half of it
// again, as jitter in [0, 1) says, and not less than the receiver asked for.
func (b Backoff) delay(attempt int, retryAfter time.Duration, jitter float64) time.Duration {
	shortest, longest, patience := b.Min, b.Max, b.MaxRetryAfter
	if shortest <= 0 {
		shortest = time.Second
	}
	if longest <= 0 {
		longest = 5 * time.Minute
	}
	if patience <= 0 {
		patience = time.Hour
	}
	d := shortest
	for i := 1; i < attempt && d < longest; i++ {
		d *= 2
	}
	d = min(d, longest)
	d = d/2 + time.Duration(jitter*float64(d/2))
	return max(d, min(retryAfter, patience))
}
