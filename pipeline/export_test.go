package pipeline

import (
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
