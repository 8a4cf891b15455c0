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
	"github.com/dermai/millrace/internal/chaos"
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

// errBroken ends a consumer whose server may come back without it.
var errBroken = errors.New("the connection broke")

// follow is the life of one consumer. It returns when the consumer is of no
// more use.
func (r *reader) follow(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(r.conn.unbroken(), func() { cancel(errBroken) })()

	// A consumer that starts beyond the end would silently wait until the
	// sequences are given again, and skip the messages before.
	there, err := r.extent(ctx)
	if err != nil {
		return err
	}
	r.await(there)
	config := jetstream.ConsumerConfig{
		DeliverPolicy:     jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:       r.again(),
		AckPolicy:         jetstream.AckNonePolicy,
		MemoryStorage:     true,
		Replicas:          1,
		InactiveThreshold: consumerIdle,
	}
	// A consumer that was made and not heard of is forgotten as well.
	consumer, err := ask(ctx, r.conn, makeAgain, func(ctx context.Context) (jetstream.Consumer, error) { return r.stream.CreateConsumer(ctx, config) })
	if err != nil {
		return fmt.Errorf("create a consumer: %w", err)
	}
	name := consumer.CachedInfo().Name
	defer func() {
		ctx, done := context.WithTimeout(context.Background(), time.Second)
		defer done()
		_ = r.stream.DeleteConsumer(ctx, name) // the broker forgets it anyway
	}()
	if _, err := r.extent(ctx); err != nil { // it may have been made again since it was looked at
		return err
	}
	for delivered := uint64(0); ; {
		if err := r.pull(ctx, consumer, &delivered); err != nil {
			return cmp.Or(context.Cause(ctx), err)
		}
	}
}

// await notes what is there, which Read waits for. The stream's leader says it: the
// consumer may be on a server that has not caught up, and finds nothing.
func (r *reader) await(there fence.Info) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.there, r.broken = end(there), nil
	r.whole = r.whole || r.next > r.there
	r.tell()
}

// waive stops waiting for what is there and is not given.
func (r *reader) waive(there fence.Info) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.there = end(there)
	r.void, r.whole = r.there, true
	r.tell()
}

// end is the last message that is there, 0 if none is: a stream that was restored may
// have given sequences behind it.
func end(i fence.Info) uint64 {
	last := i.Last
	if i.Lost(last) {
		last = i.LostFrom - 1
	}
	if last < i.First {
		return 0
	}
	return last
}

// extent checks that the stream is the one that was read, and has not lost what was
// read from it.
func (r *reader) extent(ctx context.Context) (fence.Info, error) {
	info, err := r.conn.extent(ctx, r.stream, r.position()-1)
	if err != nil {
		return info, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.created = cmp.Or(r.created, info.Created)
	switch {
	case info.Created != r.created && !chaos.Bug("another stream read on"):
		return info, fmt.Errorf("it was created %s, and the one that was read %s: %w", stamp(info.Created), stamp(r.created), fence.ErrRecreated)
	case r.next > info.Last+1:
		return info, fmt.Errorf("it ends at %d: %w", info.Last, fence.ErrRewound)
	}
	return info, nil
}

func stamp(ns int64) string { return time.Unix(0, ns).UTC().Format(time.RFC3339Nano) }

// stale tells that what is read is of another stream, or one with another end.
func (r *reader) stale(info fence.Info) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.next > info.Last+1 || r.created != 0 && r.created != info.Created
}

// epoch is when the stream that is read was created, 0 if that is not known yet.
func (r *reader) epoch() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.created
}

// pull asks for as much as there is room for and takes it in.
func (r *reader) pull(ctx context.Context, consumer jetstream.Consumer, delivered *uint64) error {
	room, err := r.waitRoom(ctx)
	if err != nil {
		return err
	}
	before := r.position()
	pullCtx, done := context.WithTimeout(ctx, pullExpiry)
	defer done()
	batch, err := consumer.Fetch(pullMessages, jetstream.FetchMaxBytes(room),
		jetstream.FetchContext(pullCtx), jetstream.FetchHeartbeat(pullHeartbeat))
	if err != nil {
		return fmt.Errorf("pull: %w", err)
	}
	for m := range batch.Messages() {
		if err := r.receive(m, delivered); err != nil {
			return err
		}
	}
	if err := batch.Error(); err != nil && (ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded)) {
		return fmt.Errorf("pull: %w", err)
	}
	if r.position() != before {
		return nil
	}
	// Nothing came for a whole pull: see that there is nothing.
	asked := time.Now()
	info, err := r.extent(ctx)
	if err != nil {
		return err
	}
	r.waive(info)
	switch {
	case end(info) >= before:
		return fmt.Errorf("the consumer is stuck: it gave nothing while the stream goes to %d", end(info))
	case time.Since(asked) > askAgain:
		return errors.New("the stream's leader was asked twice: the consumer may be gone with the one before")
	}
	return nil
}

// waitRoom waits until half of the memory is free.
func (r *reader) waitRoom(ctx context.Context) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.size > r.limit/2 && ctx.Err() == nil {
		r.room.Wait()
	}
	return r.limit - r.size, context.Cause(ctx)
}

// receive takes in one message.
func (r *reader) receive(m jetstream.Msg, delivered *uint64) error {
	meta, err := m.Metadata()
	if err != nil {
		return fmt.Errorf("message without metadata: %w", err)
	}
	if *delivered++; meta.Sequence.Consumer != *delivered {
		return fmt.Errorf("delivery %d came in place of %d", meta.Sequence.Consumer, *delivered)
	}
	e := fence.Entry{
		Seq:     meta.Sequence.Stream,
		Time:    meta.Timestamp.UnixNano(),
		Subject: m.Subject(),
		Header:  header(m.Headers()),
		Data:    m.Data(),
	}
	if err := r.add(e, *delivered == 1); err != nil {
		return err
	}
	r.wake()
	return nil
}

// add appends a message to what is at hand. The first of a consumer may be the last of
// the one before, which is only compared.
func (r *reader) add(e fence.Entry, first bool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := mark{e.Seq, e.Time}
	switch {
	case first && e.Seq == r.last.seq && m != r.last:
		return fmt.Errorf("message %d is another than the one that was read: %w", e.Seq, fence.ErrRewound)
	case first && m == r.last:
	case e.Seq < r.next:
		return fmt.Errorf("message %d came after %d", e.Seq, r.next-1)
	default:
		r.entries = append(r.entries, e)
		r.size += weight(e)
		r.next, r.last = e.Seq+1, m
		r.conn.metrics.readMessages.WithLabelValues(r.name).Inc()
	}
	r.whole = r.whole || r.size > r.limit/2 || r.next > r.there
	r.tell()
	return nil
}
