package pipeline

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/dermai/millrace/schemas"
	"github.com/rs/zerolog"
)

// panicError is a function of the user's that panicked. What it panicked with is
// not shown, since it may be anything, unless it is an error of the runtime, which
// names types and indices.
type panicError struct{ who, with, place string }

func (e panicError) Error() string { return e.who + " panicked " + e.with + " at " + e.place }

// panicked makes an error of what recover returned. The deferred function calls it.
func panicked(who string, with any) error {
	e := panicError{who, fmt.Sprintf("with a %T", with), "a place unknown"}
	if fault, ok := with.(runtime.Error); ok {
		e.with = "(" + fault.Error() + ")"
	}
	pcs := make([]uintptr, 32)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(3, pcs)]) // what called the deferred function
	for more := true; more; {
		var f runtime.Frame
		f, more = frames.Next()
		if f.Function != "" && !strings.HasPrefix(f.Function, "runtime.") {
			e.place = fmt.Sprintf("%s (%s:%d)", f.Function, filepath.Base(f.File), f.Line)
			break
		}
	}
	return e
}

// maxPanics is how often a handler may panic at one event.
const maxPanics = 5

// patience bounds how long a handler may ask to be left alone.
const patience = time.Hour

// detailBytes bounds what is kept of a handler's error.
const detailBytes = 1 << 10

func isPermanent(err error) bool {
	var p interface{ Permanent() bool }
	return errors.As(err, &p) && p.Permanent()
}

// last tells whether an attempt that ended with err is the last one at an item.
func (c *consumption[D]) last(it *item, err error) bool {
	if p := (panicError{}); errors.As(err, &p) && it.panics+1 >= maxPanics {
		return true
	}
	return c.sub.MaxAttempts > 0 && it.attempts+1 >= c.sub.MaxAttempts
}

// failed decides what becomes of an item that was not handled.
func (c *consumption[D]) failed(ctx context.Context, it *item, err error) {
	verdict := isPermanent(err) || c.last(it, err)
	it.attempts++
	if p := (panicError{}); errors.As(err, &p) {
		it.panics++
		c.metrics.panics.Inc()
	}
	if verdict {
		it.verdict = &refusal{attempts: it.attempts, permanent: isPermanent(err), err: err}
		c.condemn(ctx, it)
		return
	}
	c.metrics.retried.Inc()
	level := zerolog.DebugLevel
	if it.attempts >= stubborn && c.complains() {
		level = zerolog.WarnLevel
	}
	c.sub.Conn.log.WithLevel(level).Err(err).Str("consumer", c.sub.Name).Stringer("event", it.position()).
		Int("attempts", it.attempts).Msg("an event is given again")
	it.fate, it.wait = retried, c.sub.Retry.delay(it.attempts, err)
}

// stubborn is after how many attempts at an event a consumer speaks up.
const stubborn = 3

// complains tells whether a consumer that fails may say so: once a minute.
func (c *consumption[D]) complains() bool {
	last, now := c.complained.Load(), time.Now().UnixNano()
	return now-last >= int64(time.Minute) && c.complained.CompareAndSwap(last, now)
}

// refusal is why a handler's event is quarantined.
type refusal struct {
	attempts  int
	permanent bool
	err       error
}

func (r *refusal) Error() string {
	if r.permanent {
		return "refused by the handler"
	}
	return fmt.Sprintf("not handled in %d attempts", r.attempts)
}

// delay is how long to wait after an attempt.
func (r Retry) delay(attempts int, err error) time.Duration {
	d := r.Min
	for i := 1; i < attempts && d < r.Max; i++ {
		d *= 2
	}
	d = min(d, r.Max)
	d = d/2 + rand.N(d/2+1)
	var later interface{ RetryAfter() time.Duration }
	if errors.As(err, &later) {
		d = max(d, min(later.RetryAfter(), patience))
	}
	return d
}

// condemn puts an item into quarantine. While that fails it is tried again.
func (c *consumption[D]) condemn(ctx context.Context, it *item) {
	q := c.quarantined(it)
	if err := c.quarantine.Put(ctx, q); err != nil {
		if ctx.Err() == nil {
			c.sub.Conn.log.Warn().Err(err).Str("consumer", c.sub.Name).Msg("an event waits for the quarantine")
		}
		it.attempts++
		it.fate, it.wait = retried, c.sub.Retry.delay(it.attempts, nil)
		return
	}
	it.fate = done
	c.metrics.quarantined.Inc()
	c.sub.Conn.log.Warn().Str("consumer", c.sub.Name).Str("item", q.ID).Str("reason", q.Reason).Msg("an event went to the quarantine")
}

func (c *consumption[D]) quarantined(it *item) schemas.Quarantined {
	at := it.position()
	q := schemas.Quarantined{
		ID: schemas.QuarantineID(c.sub.Name+"/"+at.String(), it.of.redriven), Stage: schemas.StageConsume, Reason: it.verdict.Error(),
		Consumer: c.sub.Name, Redriven: it.of.redriven,
		Stream: at.Stream, Seq: at.Seq, Index: at.Index, Subject: it.of.name, Arrival: it.of.arrival,
		Data: it.line, Size: len(it.line),
	}
	if r := (*refusal)(nil); errors.As(it.verdict, &r) {
		q.Detail = r.err.Error()
		q.Detail = q.Detail[:min(len(q.Detail), detailBytes)]
	}
	return q
}
