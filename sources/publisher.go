package sources

import (
	"context"
	"errors"
	"time"

	"github.com/dermai/millrace/schemas"
)

// Publisher stores events. pipeline.Publisher is one.
type Publisher interface {
	// PublishEncoded stores lines, each one canonical JSON event without its
	// newline, as one frame, and tells where they came from in the frame's header.
	// nil means that they are on disk. An error that has RetryAfter means that
	// nothing was stored and that the same call may be made again after that time;
	// after any other error it is open what was stored, and only the stored frames
	// can tell. The lines are the caller's again when the call returns.
	// Safe for concurrent use.
	PublishEncoded(ctx context.Context, kind schemas.Kind, service string, lines [][]byte, source string) error
}

// retryAfter tells that nothing was stored and when to try again.
func retryAfter(err error) (time.Duration, bool) {
	var r interface{ RetryAfter() time.Duration }
	if !errors.As(err, &r) {
		return 0, false
	}
	return r.RetryAfter(), true
}

// pause waits, and reports false if ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
