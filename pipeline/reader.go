package pipeline

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/dermai/millrace/fence"
	"github.com/nats-io/nats.go/jetstream"
)

// Read implements fence.Log. The first call for a stream starts a reader that
// follows it from there and keeps up to Config.ReadAhead bytes at hand. Calls for
// the same or a later position are served from memory; one for an earlier position,
// or one for another than where the last call ended that finds nothing in memory,
// starts the reader anew. Where there is nothing in memory, Read waits for what the
// stream had when the reader last connected, and returns nothing only behind that.
// A reader that lost the broker goes on trying, and what it still owes is an error
// meanwhile.
func (l *Log) Read(ctx context.Context, stream string, from uint64, most int) ([]fence.Entry, error) {
	from = max(from, 1)
	r := l.readers[stream]
	if r == nil || !r.serves(from) {
		s, err := l.stream(ctx, stream)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", stream, err)
		}
		l.closeReader(stream)
		r = startReader(l.conn, s, stream, l.created[stream], from, l.wake)
		l.readers[stream] = r
	}
	for {
		entries, owed, err := r.take(from, most)
		l.created[stream] = cmp.Or(l.created[stream], r.epoch())
		if errors.Is(err, errBehind) {
			return nil, fmt.Errorf("read %s from %d: %w", stream, from, err)
		}
		if err != nil {
			l.closeReader(stream)
			return nil, fmt.Errorf("read %s from %d: %w", stream, from, err)
		}
		if owed == nil {
			return entries, nil
		}
		select {
		case <-owed:
		case <-ctx.Done():
			return nil, fmt.Errorf("read %s: %w", stream, ctx.Err())
		}
	}
}

func (l *Log) wake() {
	select {
	case l.changed <- struct{}{}:
	default:
	}
}

func (l *Log) closeReader(stream string) {
	if r := l.readers[stream]; r != nil {
		r.close()
		delete(l.readers, stream)
	}
}

// reader follows one stream through a consumer that the broker forgets when
// nobody pulls. The consumer numbers its deliveries, so a lost one is noticed,
// and then, as after every error, a new consumer goes on at the next sequence.
type reader struct {
	conn   *Conn
	stream jetstream.Stream
	name   string
	wake   func()
	limit  int // bytes

	cancel context.CancelFunc
	done   chan struct{}

	mu      sync.Mutex
	room    sync.Cond     // size fell
	entries []fence.Entry // ascending, at or after from
	size    int           // bytes of entries
	from    uint64        // everything from here on is in entries, or yet to come
	next    uint64        // sequence after the last that was received
	last    mark          // of that last message; zero: none was received
	created int64         // of the stream that is read, Unix ns; 0: not known yet
	there   uint64        // sequence that the stream goes to, as the last consumer began
	void    uint64        // nothing is given up to here, though the stream goes so far
	whole   bool          // there was all of it at hand once, or as much as there is memory for
	broken  error         // why there is no consumer
	news    chan struct{} // closed when any of this changes; nil: nobody waits
	ended   uint64        // where the last answer ended
	err     error         // final
}

// mark tells a message from another that was given its sequence: a stream that lost
// its tail gives sequences again, and not the same nanosecond with them.
type mark struct {
	seq  uint64
	time int64 // Unix ns
}

// Timing of readers.
const (
	pullHeartbeat = 1 * time.Second  // of the broker while a pull waits; two that are missed end it
	pullExpiry    = 10 * time.Second // of a pull, after which an idle reader checks that nothing is there
	consumerIdle  = 30 * time.Second // after which the broker forgets a consumer
	pullMessages  = 512              // in one pull
	retryFirst    = 50 * time.Millisecond
	retryMost     = 2 * time.Second
)

func startReader(c *Conn, s jetstream.Stream, name string, created int64, from uint64, wake func()) *reader {
	ctx, cancel := context.WithCancel(context.Background())
	r := &reader{
		conn: c, stream: s, name: name, wake: wake, limit: c.readAhead,
		cancel: cancel, done: make(chan struct{}),
		created: created, from: from, next: from, ended: from,
	}
	r.room.L = &r.mu
	go func() {
		defer close(r.done)
		r.run(ctx)
	}()
	return r
}

func (r *reader) close() {
	r.cancel()
	r.mu.Lock()
	r.room.Broadcast()
	r.mu.Unlock()
	<-r.done
}

// serves tells that the reader can answer for a sequence: it has entries from
// there on, or it is where the last answer ended.
func (r *reader) serves(from uint64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return from >= r.from && (from < r.next || from == r.ended && from == r.next)
}

// take returns up to most entries from a sequence on and forgets those before. If
// the reader owes what is known to be there, it returns what to wait for instead.
func (r *reader) take(from uint64, most int) (_ []fence.Entry, owed <-chan struct{}, _ error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := 0
	for i < len(r.entries) && r.entries[i].Seq < from {
		r.size -= weight(r.entries[i])
		r.entries[i] = fence.Entry{}
		i++
	}
	r.entries, r.from = r.entries[i:], from
	if i > 0 {
		r.room.Broadcast()
	}
	r.ended = from
	switch {
	case r.err != nil && len(r.entries) == 0:
		return nil, nil, r.err
	case r.err == nil && !r.whole, len(r.entries) == 0 && r.next <= r.there && r.void < r.there:
		if r.whole && r.broken != nil {
			return nil, nil, fmt.Errorf("%w: %w", errBehind, r.broken)
		}
		if r.news == nil {
			r.news = make(chan struct{})
		}
		return nil, r.news, nil
	case len(r.entries) == 0:
		return nil, nil, nil
	}
	out := slices.Clone(r.entries[:min(most, len(r.entries))])
	if len(out) > 0 {
		r.ended = out[len(out)-1].Seq + 1
	}
	return out, nil, nil
}

// errBehind: the reader has no consumer, and has not received all that it knows of.
var errBehind = errors.New("not read yet")

// tell wakes whoever waits. Under the lock.
func (r *reader) tell() {
	if r.news != nil {
		close(r.news)
		r.news = nil
	}
}

// weight is about what an entry costs in memory, in bytes.
func weight(e fence.Entry) int { return len(e.Data) + len(e.Subject) + 64*len(e.Header) + 128 }

// run follows the stream until ctx ends or an error is final.
func (r *reader) run(ctx context.Context) {
	wait := retryFirst
	for ctx.Err() == nil {
		before := r.position()
		err := r.follow(ctx)
		if fence.IsIncident(err) || errors.Is(err, jetstream.ErrStreamNotFound) {
			r.mu.Lock()
			r.err = err
			r.tell()
			r.mu.Unlock()
			r.wake()
			return
		}
		if ctx.Err() != nil {
			return
		}
		r.mu.Lock()
		r.broken = err
		r.tell()
		r.mu.Unlock()
		r.conn.metrics.readRestarts.WithLabelValues(r.name).Inc()
		r.conn.log.Debug().Err(err).Str("stream", r.name).Msg("the reader starts anew")
		if r.position() != before {
			wait = retryFirst
		}
		select {
		case <-time.After(wait):
		case <-r.conn.unbroken().Done():
		case <-ctx.Done():
		}
		wait = min(2*wait, retryMost)
	}
}

func (r *reader) position() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.next
}

// again is the sequence that a consumer begins at: that of the last message, if there
// was one, so that it is seen whether the stream still has it.
func (r *reader) again() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return cmp.Or(r.last.seq, r.next)
}
