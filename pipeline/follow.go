package pipeline

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/internal/chaos"
	"github.com/nats-io/nats.go/jetstream"
)

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
