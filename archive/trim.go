package archive

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/internal/chaos"
)

// Trim says what a stream may forget: what is below all of the archive's end
// (stored, durable, read back, and read once more before it is forgotten), what
// Covered returns, and Replay.
type Trim struct {
	Trimmer fence.Trimmer
	// Covered gives the highest sequence that the stage which reads the stream will
	// not read again, 0 for none.
	Covered func(ctx context.Context) (uint64, error)
	// Replay is for how long messages stay in any case, by the broker's timestamps.
	// 0: 72 h.
	Replay time.Duration
	// Subjects, if set, are those of the stream, whose last messages stay however old
	// they are: each is trimmed by itself.
	Subjects []string
}

const (
	defaultReplay = 72 * time.Hour
	trimEvery     = time.Minute
)

func (t *Trim) validate() error {
	var errs error
	if t.Trimmer == nil || t.Covered == nil {
		errs = errors.Join(errs, errors.New("trim: want a Trimmer and Covered"))
	}
	if t.Replay < 0 {
		errs = errors.Join(errs, fmt.Errorf("trim: replay window %s: want 0 or more", t.Replay))
	}
	return errs
}

// trimming remembers what of the archive the stream may still have.
type trimming struct {
	looked time.Time // when it was last looked for something to trim
	known  bool      // whether the queue is
	queue  []stretch // ascending
	proven string    // the last segment that was read whole
}

// stretch is what one object covers.
type stretch struct {
	object  Object
	last    uint64
	arrival int64 // of the last message, Unix ns; -1: to be read from the object
}

// load queues the objects of a chain that hold what arrived since, Unix ns. Older
// ones need not be known: trimming takes everything below a sequence.
func (t *trimming) load(ctx context.Context, store Store, tip Tip, since int64) error {
	t.queue = nil
	f := Filter{Since: since}
	for o, err := range objects(ctx, store, tip.Chain, &f) {
		if err != nil {
			return err
		}
		if o.Name.First >= tip.First { // put by others since, perhaps of what the stream lost
			break
		}
		if n := len(t.queue); n > 0 {
			t.queue[n-1].last = o.Name.First - 1
		}
		t.queue = append(t.queue, stretch{o.Object, tip.First - 1, -1})
	}
	t.known = true
	return nil
}

// oldest is the broker's timestamp of the first message that the stream may be
// trimmed of, or keep if that is earlier.
func (a *Archiver) oldest(ctx context.Context, info fence.Info, keep int64) (int64, error) {
	if info.First > info.Last {
		return keep, nil
	}
	entries, err := a.log.Read(ctx, a.cfg.Stream, info.First, len(a.cfg.Trim.Subjects)+1)
	if err != nil || len(entries) == 0 {
		return 0, err // it is not known
	}
	for _, e := range entries {
		stays := false
		if slices.Contains(a.cfg.Trim.Subjects, e.Subject) {
			head, err := a.log.Head(ctx, e.Subject)
			if err != nil {
				return 0, err
			}
			stays = head.Seq == e.Seq
		}
		if !stays {
			return min(e.Time, keep), nil
		}
	}
	return keep, nil
}

// stored queues the object that a chain now ends with.
func (t *trimming) stored(tip Tip) {
	t.queue = append(t.queue, stretch{Object{Key: tip.Key}, tip.First - 1, tip.Arrival})
}

// checkMost is how many objects are read again before the stream is trimmed of what
// they hold, at one look: 320 MB.
const checkMost = 32

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
	if chaos.Bug("purge ahead of the archive") {
		return a.cut(ctx, info.Last)
	}
	covered, err := a.cfg.Trim.Covered(ctx)
	if err != nil {
		return fmt.Errorf("trim: %w", err)
	}
	keep := now.Add(-a.cfg.Trim.Replay).UnixNano()
	if !t.known {
		since, err := a.oldest(ctx, info, keep)
		if err == nil {
			err = t.load(ctx, a.store, a.tip, since)
		}
		if err != nil {
			return fmt.Errorf("trim: %w", err)
		}
	}
	n, seq, err := a.forgettable(ctx, info, covered, keep)
	if err != nil && !broken(err) {
		return fmt.Errorf("trim: %w", err)
	}
	a.refuse(err)
	if seq > info.First {
		known, err := a.recognise(ctx, info)
		if err != nil {
			return fmt.Errorf("trim: %w", err)
		}
		if !known {
			return a.rewound(ctx, info.Created, fmt.Sprintf("message %d is another than the archived one", a.tip.Message.Seq))
		}
		if err := a.cut(ctx, seq); err != nil {
			return fmt.Errorf("trim below %d: %w", seq, err)
		}
		a.cfg.Metrics.trimmed.WithLabelValues(a.cfg.Stream).Set(float64(seq))
	}
	t.queue = t.queue[n:]
	if n < checkMost {
		t.looked = now
	}
	return nil
}

// cut trims the stream below a sequence.
func (a *Archiver) cut(ctx context.Context, seq uint64) error {
	t := a.cfg.Trim
	if len(t.Subjects) == 0 {
		return t.Trimmer.Trim(ctx, a.cfg.Stream, "", seq)
	}
	for _, subject := range t.Subjects {
		head, err := a.log.Head(ctx, subject)
		if errors.Is(err, fence.ErrNoHead) {
			continue
		}
		if err != nil {
			return err
		}
		if err := t.Trimmer.Trim(ctx, a.cfg.Stream, subject, min(seq, head.Seq)); err != nil {
			return err
		}
	}
	return nil
}

// forgettable says how much of the queue the stream may be trimmed of: what arrived
// before keep, is covered, and was read again in the archive just now. seq is the
// first sequence that stays, also if there is an error, which stops it.
func (a *Archiver) forgettable(ctx context.Context, info fence.Info, covered uint64, keep int64) (n int, seq uint64, err error) {
	queue, checked := a.trim.queue, 0
	for ; n < len(queue) && queue[n].last <= covered && checked < checkMost; n++ {
		q := &queue[n]
		if q.last < info.First {
			continue // trimmed before
		}
		if q.arrival < 0 {
			switch _, x, _, err := load(ctx, a.store, q.object.Key); {
			case errors.Is(err, ErrNotFound):
				q.arrival = 0 // what was removed behind its segment is older than what stays
			case err != nil:
				return n, seq, err
			default:
				q.arrival = x.ArrivalTo
			}
		}
		if q.arrival >= keep {
			break
		}
		checked++
		if err := a.prove(ctx, q); err != nil {
			return n, seq, err
		}
		seq = q.last + 1
	}
	return n, seq, nil
}

// broken tells that an object is not there, or not as it was put.
func broken(err error) bool {
	var corrupt *CorruptError
	return errors.As(err, &corrupt) || errors.Is(err, ErrNotFound)
}

// prove reads an object again, every message of it. One that was compacted and
// removed is proven by its segment.
func (a *Archiver) prove(ctx context.Context, q *stretch) error {
	body, x, _, err := load(ctx, a.store, q.object.Key)
	if errors.Is(err, ErrNotFound) {
		return a.proveSegment(ctx, q)
	}
	if err != nil {
		return err
	}
	n, err := ParseKey(q.object.Key)
	if err == nil {
		err = x.check(n)
	}
	if err == nil && x.Last < q.last {
		err = fmt.Errorf("it ends at %d, not %d", x.Last, q.last)
	}
	if err != nil {
		return fmt.Errorf("object %s: %w", q.object.Key, &CorruptError{Offset: int64(len(body)), What: err.Error()})
	}
	return nil
}

// proveSegment reads the segment that took an object's place. One that retention
// deleted needs no proof.
func (a *Archiver) proveSegment(ctx context.Context, q *stretch) error {
	gone := fmt.Errorf("object %s: %w", q.object.Key, ErrNotFound)
	n, err := ParseKey(q.object.Key)
	if err != nil {
		return gone
	}
	m, err := ReadManifest(ctx, a.store, a.tip.Chain)
	if err != nil {
		return err
	}
	owner := m.owner(n)
	switch {
	case owner.Key == "" || owner.Last < q.last:
		return gone
	case owner.At > 0 || owner.Key == a.trim.proven:
		return nil
	}
	body, err := a.store.Get(ctx, owner.Key, 0, -1)
	if err != nil {
		return fmt.Errorf("segment %s: %w", owner.Key, err)
	}
	defer body.Close()
	h := sha256.New()
	if _, err := io.Copy(h, body); err != nil {
		return fmt.Errorf("segment %s: %w", owner.Key, err)
	}
	if sum(h) != owner.SHA256 {
		return fmt.Errorf("segment %s: %w", owner.Key, &CorruptError{What: "it is not as it was written"})
	}
	a.trim.proven = owner.Key
	return nil
}

// refuse tells what keeps the stream from being trimmed, nil for nothing.
func (a *Archiver) refuse(why error) {
	g := a.cfg.Metrics.refused.WithLabelValues(a.cfg.Stream)
	if why == nil {
		g.Set(0)
		return
	}
	g.Set(1)
	a.cfg.Log.Error().Err(why).Msg("archive: the stream is not trimmed, since what it holds is not in the archive as it was put; run millrace archive verify --full")
}
