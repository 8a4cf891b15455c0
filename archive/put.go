package archive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"time"

	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/internal/chaos"
)

// put closes the object if it is not closed yet, stores it, reads it back, and
// begins the next one. nextDay is as in Writer.Close.
func (a *Archiver) put(ctx context.Context, nextDay string) error {
	if a.sealed == nil {
		tip, err := a.open.Close(nextDay)
		if err != nil {
			return err
		}
		a.sealed = &tip
	}
	key := a.sealed.Key
	chaos.Die(chaos.BeforePut, a.cfg.Stream)
	err := a.store.Put(ctx, key, bytes.NewReader(a.buf.Bytes()), int64(a.buf.Len()))
	chaos.Die(chaos.AfterPut, a.cfg.Stream)
	if err != nil && !errors.Is(err, ErrExists) {
		if chaos.Bug("position moved before the put") {
			a.begin(*a.sealed)
		}
		return err
	}
	same, err := holds(ctx, a.store, key, a.buf.Bytes())
	if err != nil {
		return err
	}
	same = same || chaos.Bug("loser of a put not adopted")
	if !same {
		return a.adopt(ctx, key)
	}
	if !chaos.Bug("late archiver's object counts") {
		if err := a.late(ctx); err != nil {
			return err
		}
	}
	m, x := a.cfg.Metrics, &a.open.x
	m.objects.WithLabelValues(a.cfg.Stream).Inc()
	m.bytes.WithLabelValues(a.cfg.Stream).Add(float64(a.buf.Len()))
	m.messages.WithLabelValues(a.cfg.Stream).Add(float64(x.Count))
	for _, gap := range x.Missing {
		m.missing.WithLabelValues(gap.Reason, a.cfg.Stream).Add(float64(gap.To - gap.From + 1))
		if gap.Reason != MissingGeneration {
			a.cfg.Log.Warn().Uint64("from", gap.From).Uint64("to", gap.To).
				Str("reason", gap.Reason).Msg("archive: the stream lost messages before they were archived")
		}
	}
	a.trim.stored(*a.sealed)
	a.begin(*a.sealed)
	return nil
}

// late looks whether this archiver slept while its place in the chain was compacted
// and removed. Then what it has put is a ghost, which nobody reads, and it begins
// again from the chain's end.
func (a *Archiver) late(ctx context.Context) error {
	m, err := ReadManifest(ctx, a.store, a.tip.Chain)
	if err != nil {
		return err
	}
	if a.tip.First > m.Through() {
		return nil
	}
	a.loaded, a.sealed = false, nil
	return fmt.Errorf("it slept while everything up to %d was compacted, and begins again from the chain's end", m.Through())
}

// adopt takes another archiver's object for the chain's next one, if it does not
// contradict what this archiver holds itself.
func (a *Archiver) adopt(ctx context.Context, key string) error {
	if !chaos.Bug("late archiver adopts") {
		if err := a.late(ctx); err != nil {
			return err
		}
	}
	name, err := ParseKey(key)
	if err != nil {
		return fence.Incident(a.cfg.Stream, "corrupt: %v; move it out of the archive", err)
	}
	body, x, hash, err := load(ctx, a.store, key)
	if corrupt := (*CorruptError)(nil); errors.As(err, &corrupt) {
		return fence.Incident(a.cfg.Stream, "corrupt: %v", err)
	}
	if err != nil {
		return err
	}
	tip := a.tip
	if err := tip.Follow(name, x, hash); err != nil {
		return fence.Incident(a.cfg.Stream, "conflict: object %s: %v", key, err)
	}
	seq, err := compare(a.buf.Bytes(), body)
	if err != nil {
		return fmt.Errorf("compare with %s: %w", key, err)
	}
	if seq > 0 {
		return fence.Incident(a.cfg.Stream, "conflict: object %s of another archiver holds another message %d than this one read "+
			"from the stream; find out which of them is right before anything is archived further", key, seq)
	}
	a.cfg.Metrics.adoptions.WithLabelValues(a.cfg.Stream).Inc()
	a.trim.stored(tip)
	held, own, opened := a.open, bytes.Clone(a.buf.Bytes()), a.opened
	a.begin(tip)
	if held.Next() <= a.open.Next() || chaos.Bug("adopter drops the rest") {
		return nil
	}
	return a.carry(held, own, opened)
}

// carry takes over what this archiver held itself behind an object that it has adopted:
// the stream may have lost it meanwhile, and nobody else have read it.
func (a *Archiver) carry(held *Writer, body []byte, opened time.Time) error {
	r := newPartialReader(bytes.NewReader(body), 0, new(codec))
	for {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("take over what is in hand: %w", err)
		}
		if rec.Seq < a.open.Next() {
			continue
		}
		if a.open.day(rec.Time) != a.open.x.Day {
			return nil // the stream is read again from here on
		}
		if err := a.carryMissing(held, rec.Seq-1, opened); err != nil {
			return err
		}
		e := rec.entry()
		e.Data, e.Header = bytes.Clone(e.Data), maps.Clone(e.Header)
		if err := a.open.Write(e); err != nil {
			return err
		}
		if !tick(e) {
			a.opened = opened
		}
	}
	return a.carryMissing(held, held.x.Last, opened)
}

// carryMissing takes over what was recorded as missing up to a sequence.
func (a *Archiver) carryMissing(held *Writer, to uint64, opened time.Time) error {
	for _, m := range held.x.Missing {
		if m.To < a.open.Next() || m.From > to {
			continue
		}
		if err := a.open.Miss(min(m.To, to), m.Reason); err != nil {
			return err
		}
		a.opened = opened
	}
	return nil
}
