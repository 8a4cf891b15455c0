package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
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
	g := &gone{world: w, p: p, keepers: w.newArchivers(p)} // who are in the middle of what is lost
	if err := g.busy(60); err != nil {
		return fmt.Errorf("before the rewind: %w", err)
	}
	kept, written := g.lose()
	w.stats.Rewinds++
	return errors.Join(w.noticed(p, kept, written), g.generations())
}

// write stores something in a partition, and gives the ids of its events.
func (w *world) write(p schemas.Partition) []string {
	if w.dice.chance(4) {
		must(w.broker.Tick(w.ctx, p))
		return nil
	}
	l := newLane(w, 1000+w.events, p)
	l.publish(w)
	return l.flight
}

// lose takes away what is behind a sequence, all of it where the stream was trimmed
// beyond that. The clock that stamps what is given the sequences again does not show the
// same nanoseconds.
func (s *stream) lose(seq int) {
	s.entries = s.entries[:seq:seq]
	s.skew, s.low = s.skew+1, min(s.low, uint64(seq)+1)
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

// gone is a partition's stream that loses its tail under who archives it.
type gone struct {
	*world
	p       schemas.Partition
	keepers []*archive.Archiver
	lost    []lost
}

// lost is a message that the stream has no more, and that the archive has, once, if one
// of the archivers had read it.
type lost struct {
	entry fence.Entry
	read  bool
}

// busy lets publishers, archivers and a compactor act in any order.
func (g *gone) busy(most int) error {
	for n := g.dice.Intn(most); n > 0; n-- {
		g.broker.now += unit
		switch i := g.dice.Intn(len(g.keepers)); g.dice.Intn(12) {
		case 0, 1, 2, 3:
			g.write(g.p)
		case 4:
			if _, err := g.compacts[g.dice.Intn(len(g.compacts))].Step(g.ctx); err != nil {
				return err
			}
		default:
			if _, err := g.keepers[i].Step(g.ctx); err != nil && !errors.Is(err, archive.ErrLate) {
				return err
			}
		}
	}
	return nil
}

// lose takes the tail away, and lets publishers write up to and beyond where the stream
// was. It gives the last sequence that is kept and the events that were written.
func (g *gone) lose() (kept int, written []string) {
	s := g.broker.stream(g.p.Stream())
	before := s.entries
	kept = len(before) - 1 - g.dice.Intn(min(20, len(before)))
	for kept > 0 && before[kept-1].Subject == "" {
		kept--
	}
	var read uint64
	for _, a := range g.keepers {
		read = max(read, max(a.Next(), 1)-1)
	}
	for _, e := range before[kept:] {
		g.lost = append(g.lost, lost{e, e.Seq <= read && len(e.Data) > 0})
	}
	g.broker.note("%s loses what is behind message %d of %d", g.p.Stream(), kept, len(before))
	s.lose(kept)
	for n := g.dice.Intn(30); n > 0; n-- {
		g.broker.now += unit
		written = append(written, g.write(g.p)...)
	}
	return kept, written
}

// generations checks that archivers go on by themselves, those that had read what is
// lost and those that had not and take what is written since for what comes next, and
// that the archive then has what was written since, and of what was lost what one of
// them had read, each message once. The stream may lose its tail again meanwhile.
func (g *gone) generations() error {
	g.keepers = append(g.keepers, g.newArchivers(g.p)...)
	if g.dice.chance(2) {
		if err := g.busy(40); err != nil {
			return fmt.Errorf("rewind: %w", err)
		}
		first := len(g.lost)
		g.lose()
		for i := range g.lost[first:] { // nobody knows of which of the two an archiver had read so much
			g.lost[first+i].read = false
		}
	}
	if err := g.busy(200); err != nil {
		return fmt.Errorf("rewind: %w", err)
	}
	for _, i := range []int{0, 1, 0, 1, 0} { // also in the middle of it
		if err := g.keepers[i].Flush(g.ctx); err != nil && !errors.Is(err, archive.ErrLate) {
			return fmt.Errorf("rewind: %w", err)
		}
	}
	times, err := g.archivedOf(g.p, append(g.keepers, g.newArchivers(g.p)...))
	if err != nil {
		return fmt.Errorf("rewind: %w", err)
	}
	s := g.broker.stream(g.p.Stream())
	all := g.lost
	for _, e := range s.entries {
		all = append(all, lost{e, len(e.Data) > 0})
	}
	for _, l := range all {
		if n := times[messageOf(s.created, l.entry)]; n > 1 || n == 0 && l.read {
			return fmt.Errorf("rewind: the archive has message %d of %s, or the one that was lost in its place, %d times", l.entry.Seq, g.p.Stream(), n)
		}
	}
	chains, err := archive.Chains(g.ctx, g.store, "", g.p.Stream())
	for _, c := range chains {
		g.stats.Tails += min(c.Epoch.Lost, 1)
	}
	return err
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

// archivedOf lets archivers end, and counts how often a full verification of the archive
// gives each message of a partition.
func (w *world) archivedOf(p schemas.Partition, keepers []*archive.Archiver) (map[message]int, error) {
	for _, a := range keepers {
		for busy := true; busy; {
			var err error
			if busy, err = a.Step(w.ctx); err != nil && !errors.Is(err, archive.ErrLate) {
				return nil, err
			}
			busy = busy || err != nil
		}
		err := a.Flush(w.ctx)
		for errors.Is(err, archive.ErrLate) {
			err = a.Flush(w.ctx)
		}
		if err != nil {
			return nil, err
		}
	}
	if err := w.compactAll(); err != nil { // it removes what those put who had slept
		return nil, err
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
