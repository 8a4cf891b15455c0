package main

import (
	"bytes"
	"io"
	"sync"
	"time"
)

// nameWithin is how long after the broker is back a loss may stay without a name.
const nameWithin = time.Minute

// witness is a log that notes when it is first said that a stream lost something.
type witness struct {
	io.Writer
	mu    sync.Mutex
	named time.Time
}

// Write implements io.Writer.
func (w *witness) Write(line []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	loss := bytes.Contains(line, []byte("goes on in the next generation")) || bytes.Contains(line, []byte("the stream lost messages"))
	if w.named.IsZero() && loss && bytes.Contains(line, []byte("EVENTS_0")) {
		w.named = time.Now()
	}
	return w.Writer.Write(line)
}

// since is how long after a moment the loss was named, and whether it was.
func (w *witness) since(t time.Time) (time.Duration, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return max(time.Millisecond, w.named.Sub(t)), !w.named.IsZero()
}
