package pipeline

import (
	"context"
	"time"

	"github.com/dermai/millrace/fence"
)

// Judge judges looks at one stream.
func Judge() func(info fence.Info, read uint64, limit time.Duration, now time.Time) error {
	return new(reach).judge
}

// Doubt sets for how long a shorter stream is doubted.
func Doubt(c *Conn, limit time.Duration) { c.doubt = limit }

// Buffered tells how many bytes of a stream a log holds in memory.
func Buffered(l *Log, stream string) int {
	r := l.readers[stream]
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.size
}

// Ask asks over a connection that breaks after a while; 0: never.
func Ask(ctx context.Context, timeout, breaks time.Duration, question func(context.Context) (int, error)) (int, error) {
	c := &Conn{timeout: timeout}
	c.epoch, c.end = context.WithCancel(context.Background())
	if breaks > 0 {
		time.AfterFunc(breaks, c.renew)
	}
	defer c.renew()
	return ask(ctx, c, askAgain, question)
}

// Restores tells whether a server of a version restores streams.
var Restores = restores

// ErrBehind is what Read says while its reader has no consumer and owes messages.
var ErrBehind = errBehind
