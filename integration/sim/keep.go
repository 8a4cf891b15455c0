package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/dermai/millrace/archive"
	"github.com/dermai/millrace/archive/compact"
	"github.com/dermai/millrace/archive/query"
	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/internal/archiver"
	"github.com/dermai/millrace/schemas"
	"github.com/dermai/millrace/stages"
)

// hurry is how much faster the clock of an archiver runs: it looks once a minute
// for what may be purged.
const hurry = 20

// replay is for how many hours streams keep what is archived, and grace for how many
// objects stay beside their segments: as in a deployment.
const (
	replay = 72
	grace  = 96
)

// keeper is a process that archives. Several race.
type keeper struct {
	w          *world
	control    *stages.Control
	superseded *stages.Superseded
	streams    map[string]*archive.Archiver
	goesOn     bool // in another generation where a stream lost its tail
	pause      int64
}

func (w *world) newKeeper() *keeper {
	return &keeper{
		w: w, control: stages.NewControl(w.broker.reader(), w.clock(0), w.rules), superseded: stages.NewSuperseded(w.snapshots(keeping{w})),
		streams: map[string]*archive.Archiver{},
	}
}

// clock is what an archiver goes by.
func (k *keeper) clock() time.Time { return time.Unix(0, start+(k.w.broker.now-start)*hurry) }

// add begins to archive a stream.
func (k *keeper) add(c archive.Config) {
	if k.streams[c.Stream] != nil {
		return
	}
	c.NextGeneration, c.Segments = k.goesOn, compact.Segments(k.w.store)
	c.CutBytes, c.CutAge, c.Now = int64(500+k.w.dice.Intn(6000)), time.Duration(1+k.w.dice.Intn(100))*time.Second, k.clock
	if c.Stream == schemas.StreamControl { // so that a run sees it trimmed many times
		c.CutBytes, c.CutAge = 500, time.Second
	}
	a, err := archive.NewArchiver(k.w.broker, k.w.store, c)
	must(err)
	k.streams[c.Stream] = a
}

// look begins to archive the partitions that the control log has opened.
func (k *keeper) look() {
	k.add(archive.Config{Stream: schemas.StreamControl, Trim: &archive.Trim{
		Trimmer: k.superseded, Covered: k.superseded.Covered, Replay: time.Nanosecond,
	}})
	k.add(archive.Config{Stream: schemas.StreamAlerts})
	if _, err := k.control.Read(k.w.ctx); fence.IsIncident(err) {
		k.w.errs = append(k.w.errs, err)
	}
	for _, p := range k.control.Schedule().Partitions(schemas.Telemetry) {
		floor := k.control.Schedule().Floor(p)
		k.add(archive.Config{
			Stream: p.Stream(), Floor: func(context.Context) (int64, error) { return floor, nil },
			Trim: &archive.Trim{
				Trimmer: keeping{k.w}, Replay: replay * k.w.hour,
				Covered: func(ctx context.Context) (uint64, error) { return archiver.Covered(ctx, k.w.broker, p) },
			},
		})
	}
}

// archive lets the archivers do something, or crash, or sleep.
func (w *world) archive() {
	w.store.deliver()
	for i, k := range w.keepers {
		if w.broker.now < k.pause {
			continue
		}
		if w.dice.chance(60) {
			w.stats.KeeperCrashes++
			w.broker.note("archiver %d dies", i)
			k = w.newKeeper()
			w.keepers[i] = k
		}
		if w.dice.chance(60) {
			k.pause = w.broker.now + int64(w.dice.Intn(150))*unit
		} else if w.dice.chance(3) {
			w.act(k, func() { w.keep(i) })
		}
	}
}

// keep lets an archiver make a step of each stream.
func (w *world) keep(i int) {
	k := w.keepers[i]
	k.look()
	for _, name := range slices.Sorted(maps.Keys(k.streams)) {
		_, err := k.streams[name].Step(w.ctx)
		switch {
		case fence.IsIncident(err):
			w.errs = append(w.errs, err)
		case errors.Is(err, errCrash):
			w.stats.KeeperCrashes++
			w.broker.note("archiver %d dies in a put", i)
			w.keepers[i] = w.newKeeper()
			return
		case errors.Is(err, archive.ErrLate):
			w.stats.Slept++
			w.broker.note("archiver %d, %v", i, err)
		}
	}
}

// newCompactor makes a compactor of those that race. All of a run have one size, and
// each a clock of its own.
func (w *world) newCompactor() *compact.Compactor {
	k, skew := keeper{w: w}, time.Duration(w.dice.Intn(21)-10)*w.hour
	c, err := compact.New(w.store, compact.Config{
		Bytes: w.segment, Grace: grace * w.hour, Now: func() time.Time { return k.clock().Add(skew) },
		Committed: func(archive.Segment) { w.stats.Segments++ },
	})
	must(err)
	return c
}

// compact lets a compactor do something. It has no state, so that its death within a
// step is an error of the store.
func (w *world) compact() {
	if !w.dice.chance(12) {
		return
	}
	c := w.compacts[w.dice.Intn(len(w.compacts))]
	w.act(c, func() {
		if _, err := c.Step(w.ctx); err != nil && !errors.Is(err, errStore) && !errors.Is(err, errCrash) {
			w.errs = append(w.errs, err)
		}
	})
}

// act lets a machine use the store. Nobody is in the middle of two actions at once.
func (w *world) act(who any, fn func()) {
	if slices.Contains(w.acting, who) {
		return
	}
	w.acting = append(w.acting, who)
	fn()
	w.acting = w.acting[:len(w.acting)-1]
}

// meanwhile lets others act while a machine waits for the store.
func (w *world) meanwhile() {
	if w.broker.calm || len(w.acting) != 1 || !w.dice.chance(40) {
		return
	}
	w.stats.Meanwhile++
	if i := w.dice.Intn(len(w.keepers) + 1); i < len(w.keepers) {
		w.act(w.keepers[i], func() { w.keep(i) })
		return
	}
	w.compact()
}

// compactAll compacts all that makes a segment.
func (w *world) compactAll() error {
	for busy := true; busy; {
		var err error
		if busy, err = w.compacts[0].Step(w.ctx); err != nil {
			return err
		}
	}
	return nil
}

// look reads the archive while it is written, compacted and removed from: a reader
// finds each message of a stream once, up to where the archive went at least when
// somebody looked before, and when the stream forgot what it had. Verify finds nothing
// but what archivers put that had slept, until a compactor removes it.
func (w *world) look() {
	if !w.dice.chance(100) {
		return
	}
	w.stats.Looks++
	w.act(w, func() {
		if err := errors.Join(w.readable(), w.verified()); err != nil {
			w.errs = append(w.errs, fmt.Errorf("while it is written: %w", err))
		}
	})
}

func (w *world) readable() error {
	least := maps.Clone(w.found)
	for p := range partitions {
		name := schemas.Partition(p).Stream()
		least[name] = max(least[name], int(w.broker.stream(name).low)-1)
	}
	kept, err := w.keptBy(patient{w.store})
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(w.broker.streams)) {
		s := w.broker.stream(name)
		n := len(kept.stream(name).entries)
		if n < least[name] || n > len(s.entries) {
			return fmt.Errorf("the archive has %d messages of %s, and had %d; stored are %d", n, name, least[name], len(s.entries))
		}
		if err := same(name, s.entries[:n], kept.stream(name).entries); err != nil {
			return err
		}
		w.found[name] = n
	}
	return nil
}

func (w *world) verified() error {
	store := patient{w.store}
	report, err := archive.Verify(w.ctx, store, archive.Options{Full: true, Segments: compact.Segments(store)})
	for _, p := range report.Problems {
		if !strings.Contains(p.What, "a ghost") && !strings.Contains(p.What, "another object than the one that was compacted") {
			return fmt.Errorf("verify: %v", p)
		}
	}
	return err
}

// archived reads back what the archive has, after a last archiver has stored the
// rest and a last compactor has compacted, and compares it with the streams, byte for byte. It gives the archive as a
// log, for references that see nothing else.
func (w *world) archived() (fence.Log, error) {
	w.store.deliver()
	k := w.newKeeper()
	k.look()
	for _, name := range slices.Sorted(maps.Keys(k.streams)) {
		for busy := true; busy; {
			var err error
			if busy, err = k.streams[name].Step(w.ctx); err != nil {
				return nil, err
			}
		}
		if err := k.streams[name].Flush(w.ctx); err != nil {
			return nil, err
		}
	}
	if err := w.compactAll(); err != nil {
		return nil, err
	}
	report, err := archive.Verify(w.ctx, w.store, archive.Options{Full: true, Segments: compact.Segments(w.store)})
	if err != nil {
		return nil, err
	}
	if !report.OK() {
		return nil, fmt.Errorf("archive: %v", report.Problems)
	}
	kept, err := w.keptBy(w.store)
	if err != nil {
		return nil, err
	}
	w.stats.Objects += len(w.store.objects)
	for name := range k.streams {
		if err := same(name, w.broker.stream(name).entries, kept.stream(name).entries); err != nil {
			return nil, err
		}
	}
	return kept, nil
}

// keptBy is what a reader finds in the archive, as a log.
func (w *world) keptBy(s archive.Store) (*broker, error) {
	kept := &broker{dice: w.dice, now: w.broker.now, streams: map[string]*stream{}, calm: true}
	err := query.Messages(w.ctx, s, archive.Filter{}, func(r *archive.Record) error {
		s := kept.stream(r.Stream)
		for uint64(len(s.entries))+1 < r.Seq {
			s.hole()
		}
		s.entries = append(s.entries, fence.Entry{
			Seq: r.Seq, Time: r.Time, Subject: r.Subject, Header: maps.Clone(r.Header), Data: bytes.Clone(r.Payload),
		})
		return nil
	})
	return kept, err
}

// same compares a stream with its archive, where only ticks may be missing at the
// end: they do not wait to be stored.
func same(name string, live, kept []fence.Entry) error {
	for i, e := range live {
		switch {
		case i < len(kept) && equal(e, kept[i]):
		case i >= len(kept) && len(e.Data) == 0, i >= len(kept) && string(e.Data) == "{}":
		case i >= len(kept):
			return fmt.Errorf("archive: %s ends before message %d of %d", name, e.Seq, len(live))
		default:
			return fmt.Errorf("archive: %s has message %d where %d is stored, or another", name, kept[i].Seq, e.Seq)
		}
	}
	if len(kept) > len(live) {
		return fmt.Errorf("archive: %s has %d messages, stored are %d", name, len(kept), len(live))
	}
	return nil
}

func equal(a, b fence.Entry) bool {
	return a.Seq == b.Seq && a.Time == b.Time && a.Subject == b.Subject && maps.Equal(a.Header, b.Header) && unpacked(a.Data) == unpacked(b.Data)
}
