package archive

import (
	"bytes"
	"context"
	"errors"
	"fmt"

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

// ErrLate says that an archiver slept while others archived and compacted what it was
// about to put. It goes on behind the chain's end by itself, with what it alone has.
var ErrLate = errors.New("it slept meanwhile, and goes on behind the chain's end")

// late looks whether this archiver slept while its place in the chain was compacted
// and removed (ErrLate). Then what it has put is a ghost, which nobody reads.
func (a *Archiver) late(ctx context.Context) error {
	m, err := ReadManifest(ctx, a.store, a.tip.Chain)
	if err != nil {
		return err
	}
	if a.tip.First > m.Through() {
		return nil
	}
	if err := a.settle(ctx); err != nil {
		return err
	}
	return fmt.Errorf("everything up to %d is compacted: %w", m.Through(), ErrLate)
}

// adopt takes another archiver's object for the chain's next one, and keeps what this
// one holds behind it: the stream may have lost it meanwhile, and nobody else have
// read it. Where the two contradict each other it goes on elsewhere.
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
		return a.settle(ctx)
	}
	a.cfg.Metrics.adoptions.WithLabelValues(a.cfg.Stream).Inc()
	h, err := a.inHand()
	if err != nil {
		return err
	}
	a.trim.stored(tip)
	a.begin(tip)
	if !chaos.Bug("adopter drops the rest") {
		a.hold(h)
	}
	return nil
}
