package archive

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/schemas"
)

// Trim says what a stream may forget: what is below all of the archive's end
// (stored, durable and read back), what Covered returns, and Replay.
type Trim struct {
	Trimmer fence.Trimmer
	// Covered gives the highest sequence that the stage which reads the stream will
	// not read again, 0 for none.
	Covered func(ctx context.Context) (uint64, error)
	// Replay is for how long messages stay in any case, by the broker's timestamps.
	// 0: 72 h.
	Replay time.Duration
}

const (
	defaultReplay = 72 * time.Hour
	trimEvery     = time.Minute
)

func (t *Trim) validate(stream string) error {
	var errs error
	if t.Trimmer == nil || t.Covered == nil {
		errs = errors.Join(errs, errors.New("trim: want a Trimmer and Covered"))
	}
	if t.Replay < 0 {
		errs = errors.Join(errs, fmt.Errorf("trim: replay window %s: want 0 or more", t.Replay))
	}
	if stream == schemas.StreamControl || stream == schemas.StreamAlerts {
		errs = errors.Join(errs, fmt.Errorf("trim: %s keeps itself short and is never trimmed by its archiver", stream))
	}
	return errs
}

// trimming remembers what of the archive the stream may still have.
type trimming struct {
	looked time.Time // when it was last looked for something to trim
	queue  []stretch // ascending
}

// stretch is what one object covers.
type stretch struct {
	object  Object
	last    uint64
	arrival int64 // of the last message, Unix ns; -1: to be read from the object
}

// load queues the objects of a chain that may be trimmed some day after since.
// Older ones need not be known: trimming takes everything below a sequence.
func (t *trimming) load(ctx context.Context, store Store, tip Tip, since time.Time) error {
	t.queue = nil
	f := Filter{Since: since.Add(-48 * time.Hour).UnixNano()}
	for o, err := range objects(ctx, store, tip.Chain, &f) {
		if err != nil {
			return err
		}
		if n := len(t.queue); n > 0 {
			t.queue[n-1].last = o.Name.First - 1
		}
		t.queue = append(t.queue, stretch{o.Object, tip.First - 1, -1})
	}
	return nil
}

// stored queues the object that a chain now ends with.
func (t *trimming) stored(tip Tip) {
	t.queue = append(t.queue, stretch{Object{Key: tip.Key}, tip.First - 1, tip.Arrival})
}

// forget trims the stream, at most once a minute.
func (a *Archiver) forget(ctx context.Context, info fence.Info) error {
	now, t := a.cfg.Now(), &a.trim
	if a.cfg.Trim == nil {
		t.queue = nil
		return nil
	}
	if !t.looked.IsZero() && now.Sub(t.looked) < trimEvery {
		return nil
	}
	covered, err := a.cfg.Trim.Covered(ctx)
	if err != nil {
		return fmt.Errorf("trim: %w", err)
	}
	// Whatever is in the queue was read back, by this archiver or, before an object
	// was built on it, by another.
	keep := now.Add(-a.cfg.Trim.Replay).UnixNano()
	n, seq := 0, uint64(0)
	for ; n < len(t.queue) && t.queue[n].last <= covered; n++ {
		q := &t.queue[n]
		if q.last >= info.First && q.arrival < 0 {
			x, _, err := ReadIndex(ctx, a.store, q.object)
			if err != nil {
				return fmt.Errorf("trim: %w", err)
			}
			q.arrival = x.ArrivalTo
		}
		if q.arrival >= keep {
			break
		}
		seq = q.last + 1
	}
	if seq > info.First {
		known, err := a.recognise(ctx, info)
		if err != nil {
			return fmt.Errorf("trim: %w", err)
		}
		if !known {
			return a.rewound(ctx, info, fmt.Sprintf("message %d is another than the archived one", a.tip.Message.Seq))
		}
		if err := a.cfg.Trim.Trimmer.Trim(ctx, a.cfg.Stream, "", seq); err != nil {
			return fmt.Errorf("trim below %d: %w", seq, err)
		}
		a.cfg.Metrics.trimmed.WithLabelValues(a.cfg.Stream).Set(float64(seq))
	}
	t.queue = t.queue[n:]
	t.looked = now
	return nil
}
