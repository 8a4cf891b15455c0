package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/dermai/millrace/archive"
	"github.com/dermai/millrace/archive/compact"
	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/schemas"
)

// reader is the broker as one process reads it: it knows what it read last of a
// stream, and which stream that was, and sees when there is something else (pipeline's
// reader looks when its consumer ends, as that of a broker that crashed does, or of a
// stream that is deleted).
type reader struct {
	*broker
	last    map[string]fence.Entry
	created map[string]int64
	acked   map[string]uint64 // last sequence that an append was given
	asked   map[string]int    // times that a stream was read or appended to
}

func (b *broker) reader() reader {
	return reader{b, map[string]fence.Entry{}, map[string]int64{}, map[string]uint64{}, map[string]int{}}
}

// Append implements fence.Log.
func (r reader) Append(ctx context.Context, m fence.Message, prev uint64) (uint64, error) {
	name := schemas.StreamOf(m.Subject)
	r.asked[name]++
	seq, err := r.broker.Append(ctx, m, prev)
	if err == nil {
		r.acked[name] = seq
	}
	return seq, err
}

// Info implements fence.Log.
func (r reader) Info(ctx context.Context, name string) (fence.Info, error) {
	r.created[name] = r.stream(name).created
	return r.broker.Info(ctx, name)
}

// Read implements fence.Log.
func (r reader) Read(ctx context.Context, name string, from uint64, limit int) ([]fence.Entry, error) {
	s := r.stream(name)
	r.asked[name]++
	if r.created[name] = cmp.Or(r.created[name], s.created); r.created[name] != s.created {
		return nil, fmt.Errorf("read %s from %d: %w", name, from, fence.ErrRecreated)
	}
	last := r.last[name]
	goesOn := last.Seq > 0 && last.Seq+1 == from
	if from > uint64(len(s.entries))+1 || goesOn && s.entries[last.Seq-1].Time != last.Time {
		return nil, fmt.Errorf("read %s from %d: %w", name, from, fence.ErrRewound)
	}
	found, err := r.broker.Read(ctx, name, from, limit)
	if len(found) > 0 {
		r.last[name] = found[len(found)-1]
	} else if !goesOn {
		delete(r.last, name)
	}
	return found, err
}

// rewind takes the tail of a partition's stream away, as a crash does where the disk
// did not keep what was synced or a backup is restored, lets publishers write there
// again, and checks that whoever had read what is gone says so, that nothing counts
// twice, and that the archive has both.
func (w *world) rewind(p schemas.Partition) error {
	s := w.broker.stream(p.Stream())
	before := s.entries
	kept := len(before) - 1 - w.dice.Intn(min(20, len(before)))
	for kept > 0 && before[kept-1].Subject == "" {
		kept--
	}
	w.broker.note("%s loses what is behind message %d of %d", p.Stream(), kept, len(before))
	w.stats.Rewinds++
	s.lose(kept)
	var written []string                   // ids of events
	for n := w.dice.Intn(30); n > 0; n-- { // up to and beyond where the stream was
		w.broker.now += unit
		if w.dice.chance(4) {
			must(w.broker.Tick(w.ctx, p))
			continue
		}
		l := newLane(w, 100+n, p)
		l.publish(w)
		written = append(written, l.flight...)
	}
	return errors.Join(w.noticed(p, kept, written), w.generations(p, kept, before))
}

// lose takes away what is behind a sequence. The clock that stamps what is given the
// sequences again does not show the same nanoseconds.
func (s *stream) lose(seq int) {
	s.entries = s.entries[:seq:seq]
	s.skew++
	clear(s.heads)
	for _, e := range s.entries {
		s.heads[e.Subject] = e.Seq
	}
}

// noticed checks that reducers that had read what is gone, or begin behind it, end with
// an incident that names the stream, and that what was written in its place is counted
// only where nobody had, and once. One that stands by, has not read so far and finds
// nothing new has nothing to say.
func (w *world) noticed(p schemas.Partition, kept int, written []string) error {
	var to uint64 // how far the partition was reduced
	for _, part := range w.partials() {
		if part.Partition == p {
			to = part.To.Seq
		}
	}
	gone := to > uint64(kept)
	fresh := w.newWorker(0)
	for _, k := range append(w.workers, fresh) {
		idle := k != fresh && len(w.broker.stream(p.Stream()).entries) == kept && k.logs[p].last[p.Stream()].Seq <= uint64(kept)
		for n := 0; n < 200 && len(w.errs) == 0; n++ {
			w.broker.now += unit
			w.reduce(k, int(p))
		}
		err := errors.Join(w.errs...)
		w.errs = nil
		if err != nil && !strings.Contains(err.Error(), p.Stream()) {
			return fmt.Errorf("rewind of %s: a reducer names another: %w", p.Stream(), err)
		}
		if err != nil {
			w.stats.Noticed++
		}
		if gone && err == nil && !idle {
			return fmt.Errorf("rewind: %s was reduced up to message %d, has lost what is behind %d, and a reducer does not say so", p.Stream(), to, kept)
		}
	}
	want := 1
	if gone {
		want = 0
	}
	for _, id := range written {
		if w.tallied[id] != want {
			return fmt.Errorf("rewind: %s lost what is behind message %d, and event %s, written since, is counted %d times, wanted %d", p.Stream(), kept, id, w.tallied[id], want)
		}
	}
	for id, n := range w.tallied {
		if n > 1 {
			return fmt.Errorf("rewind: event %s is counted %d times", id, n)
		}
	}
	return nil
}

// generations checks that two archivers go on by themselves, and that the archive then
// has what was lost and what was written since, each message once.
func (w *world) generations(p schemas.Partition, kept int, before []fence.Entry) error {
	keepers := w.newArchivers(p)
	for range 100 {
		if _, err := keepers[w.dice.Intn(len(keepers))].Step(w.ctx); err != nil {
			return fmt.Errorf("rewind: %w", err)
		}
	}
	times, err := w.archivedOf(p, keepers)
	if err != nil {
		return fmt.Errorf("rewind: %w", err)
	}
	created := w.broker.stream(p.Stream()).created
	for _, e := range append(slices.Clip(before), w.broker.stream(p.Stream()).entries[kept:]...) {
		n := times[messageOf(created, e)]
		if n > 1 || n == 0 && len(e.Data) > 0 {
			return fmt.Errorf("rewind: the archive has message %d of %s, which lost what was behind %d, %d times", e.Seq, p.Stream(), kept, n)
		}
	}
	return nil
}

// newArchivers makes two archivers of a partition, as a deployment has them.
func (w *world) newArchivers(p schemas.Partition) (list []*archive.Archiver) {
	for range 2 {
		k := w.newKeeper()
		k.goesOn = true
		k.look()
		list = append(list, k.streams[p.Stream()])
	}
	return list
}

// message is one of a stream of that name.
type message struct {
	created int64 // of the stream
	seq     uint64
	id      string
}

func messageOf(created int64, e fence.Entry) message {
	return message{created, e.Seq, schemas.FrameID(e.Time, e.Subject, []byte(unpacked(e.Data)))}
}

// archivedOf flushes archivers, and counts how often a full verification of the archive
// gives each message of a partition.
func (w *world) archivedOf(p schemas.Partition, keepers []*archive.Archiver) (map[message]int, error) {
	for _, a := range keepers {
		if err := a.Flush(w.ctx); err != nil {
			return nil, err
		}
	}
	times := map[message]int{}
	report, err := archive.Verify(w.ctx, w.store, archive.Options{
		Full: true, Streams: []string{p.Stream()}, Segments: compact.Segments(w.store),
		Each: func(r *archive.Record) error {
			times[messageOf(r.Epoch.Created, fence.Entry{Seq: r.Seq, Time: r.Time, Subject: r.Subject, Data: r.Payload})]++
			return nil
		},
	})
	if err == nil && !report.OK() {
		err = fmt.Errorf("archive: %v", report.Problems)
	}
	return times, err
}
