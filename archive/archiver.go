package archive

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/internal/chaos"
	"github.com/dermai/millrace/schemas"
)

// batch is how many messages are read at once: with the largest frames 32 MiB.
const batch = 64

// Archiver writes one stream's chain. It is not safe for concurrent use; any
// number of archivers of the same stream, in any processes, may run at once.
type Archiver struct {
	log   fence.Log
	store Store
	cfg   Config
	class string
	codec *codec

	loaded bool
	tip    Tip // of the chain, in the store
	// The object behind the tip, being written.
	open    *Writer
	buf     bytes.Buffer
	opened  time.Time // when it got something that must not wait; zero for nothing
	arrival int64     // of its first message, Unix ns
	sealed  *Tip      // set once it is closed and has to be put
	hand    hand      // what comes behind it, and was read before
	trim    trimming
}

// NewArchiver prepares an archiver. The position is read from the store at the
// first Step.
func NewArchiver(log fence.Log, store Store, cfg Config) (*Archiver, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("archiver: %w", err)
	}
	age := 5 * time.Minute
	if cfg.Stream == schemas.StreamAudit {
		age = time.Minute
	}
	cfg.CutBytes = cmp.Or(cfg.CutBytes, 10_000_000)
	cfg.CutAge = cmp.Or(cfg.CutAge, age)
	if cfg.Trim != nil {
		trim := *cfg.Trim
		trim.Replay = cmp.Or(trim.Replay, defaultReplay)
		cfg.Trim = &trim
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Metrics == nil {
		cfg.Metrics = NewMetrics(nil)
	}
	class, err := classOf(cfg.Stream)
	return &Archiver{log: log, store: store, cfg: cfg, class: class, codec: new(codec)}, err
}

// Tip is the end of the chain as far as this archiver knows it.
func (a *Archiver) Tip() Tip { return a.tip }

// Next is the sequence of the stream that is read next, 0 before the first Step.
func (a *Archiver) Next() uint64 {
	if a.open == nil {
		return 0
	}
	return a.open.Next()
}

// Step does one piece of work: reads some messages, and stores an object if one
// is to be cut. busy tells that there may be more to do at once; otherwise step
// again when something arrived, or after a moment, since age is looked at here.
// After an error the next Step tries again; after an incident (fence.IsIncident)
// in vain.
func (a *Archiver) Step(ctx context.Context) (busy bool, err error) {
	busy, err = a.step(ctx)
	if err != nil {
		return false, fmt.Errorf("archive %s: %w", a.cfg.Stream, err)
	}
	return busy, nil
}

// Flush stores what was read and is not stored yet, unless it is only ticks. Who
// ends an archiver calls it last, after an incident too: what the stream lost may
// be nowhere else.
func (a *Archiver) Flush(ctx context.Context) error {
	if !a.loaded {
		return nil
	}
	for end := a.open.Next(); ; {
		if err := a.flush(ctx); err != nil {
			return fmt.Errorf("archive %s: flush: %w", a.cfg.Stream, err)
		}
		if !a.loaded || a.open.Next() >= end {
			return nil
		}
		// Another archiver's object was adopted and ends earlier: read the rest again.
		if busy, err := a.Step(ctx); err != nil || !busy {
			return err
		}
	}
}

// flush stores what is in hand, if it is more than ticks.
func (a *Archiver) flush(ctx context.Context) error {
	for a.loaded && (a.sealed != nil || len(a.hand.entries) > 0 || !a.opened.IsZero()) {
		var err error
		if a.sealed == nil && len(a.hand.entries) > 0 {
			err = a.writeHand(ctx)
		} else {
			err = a.put(ctx, "")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// leave stores what is in hand and loads the chain anew.
func (a *Archiver) leave(ctx context.Context) error {
	err := a.flush(ctx)
	a.loaded = a.loaded && err != nil
	return err
}

func (a *Archiver) step(ctx context.Context) (bool, error) {
	switch {
	case a.sealed != nil:
		return true, a.put(ctx, "")
	case len(a.hand.entries) > 0:
		return true, a.writeHand(ctx)
	case a.loaded && a.tip.Epoch.Lost > 0:
		return true, a.leave(ctx) // nothing of the stream belongs there
	}
	var known uint64
	if a.loaded {
		known = a.open.Next() - 1
	}
	info, err := fence.Extent(ctx, a.log, a.cfg.Stream, known)
	if err != nil {
		// The stream may be gone, and what is in hand nowhere else.
		return false, errors.Join(err, a.aged(ctx))
	}
	if !a.loaded {
		err := a.load(ctx, info)
		a.loaded = a.loaded && err == nil
		return true, err
	}
	if info.Created != a.tip.Epoch.Created && !chaos.Bug("epoch not looked at") {
		// Another stream of the same name: end the old one's chain.
		return true, a.leave(ctx)
	}
	if info.Last+1 < a.open.Next() {
		return true, a.rewound(ctx, info.Created, fmt.Sprintf("the stream ends at %d, but %d was read", info.Last, a.open.Next()-1))
	}
	busy, err := a.read(ctx, info)
	if err != nil {
		return false, err
	}
	if !a.loaded {
		return true, nil // what info says is to be compared first
	}
	if err := a.aged(ctx); err != nil {
		return false, err
	}
	a.measure(info)
	return busy, a.forget(ctx, info)
}

// aged stores the object that is open once it has waited for long enough.
func (a *Archiver) aged(ctx context.Context) error {
	if a.opened.IsZero() || a.cfg.Now().Sub(a.opened) < a.cfg.CutAge {
		return nil
	}
	return a.put(ctx, "")
}

// begin starts the object behind a tip.
func (a *Archiver) begin(tip Tip) {
	a.tip, a.loaded, a.sealed = tip, true, nil
	a.buf.Reset()
	a.open = newWriter(&a.buf, tip, a.codec)
	a.opened = time.Time{}
}

// load finds the end of the chain in the store and makes sure that it is durable,
// whole, and part of the stream that is there now.
func (a *Archiver) load(ctx context.Context, info fence.Info) error {
	chain, again, err := a.latest(ctx, info.Created)
	if err != nil {
		return err
	}
	if again {
		a.cfg.Log.Error().Str("epoch", chain.Epoch.String()).
			Msg("archive: the stream was deleted and made again; what is archived stays, and the new one begins an epoch")
	}
	before := a.tip.Chain
	if err := a.enter(ctx, chain); err != nil {
		return err
	}
	if before.Epoch.Created == info.Created && before.Epoch.Generation < chain.Epoch.Generation {
		a.cfg.Log.Error().Int("generation", chain.Epoch.Generation).Msg("archive: the stream lost its tail; goes on in the next generation")
	}
	if info.Last+1 < a.open.Next() {
		info, err = fence.Extent(ctx, a.log, a.cfg.Stream, a.open.Next()-1)
		if err != nil || info.Created != a.tip.Epoch.Created {
			return err // another stream of the same name: the next Step ends the chain
		}
	}
	if info.Last+1 < a.open.Next() {
		return a.next(ctx, info, fmt.Sprintf("the stream ends at %d, but the archive at %d", info.Last, a.open.Next()-1))
	}
	known, err := a.recognise(ctx, info)
	if err != nil || known {
		return err
	}
	return a.next(ctx, info, fmt.Sprintf("message %d is another than the archived one", a.tip.Message.Seq))
}

// recognise tells whether the stream still holds the last message of the chain, if it
// was not trimmed of it and holds any at its sequence.
func (a *Archiver) recognise(ctx context.Context, info fence.Info) (bool, error) {
	mark := a.tip.Message
	if mark.Seq < info.First || mark.Seq > info.Last {
		return mark.Seq < info.First, nil
	}
	entries, err := a.log.Read(ctx, a.cfg.Stream, mark.Seq, 1)
	if err != nil {
		return false, err
	}
	return len(entries) == 0 || entries[0].Seq != mark.Seq || markOf(&entries[0]) == mark, nil
}

func (a *Archiver) loadTip(ctx context.Context, chain Chain) (Tip, error) {
	guess := dayOf(a.cfg.Now().Add(-48 * time.Hour).UnixNano())
	last, ok, err := lastObject(ctx, a.store, chain, guess)
	if err != nil {
		return Tip{}, err
	}
	if !ok {
		d, err := readDeclaration(ctx, a.store, chain)
		if err != nil {
			return Tip{}, err
		}
		if d != nil {
			return d.tip(chain), nil
		}
		var floor int64
		if a.cfg.Floor != nil {
			if floor, err = a.cfg.Floor(ctx); err != nil {
				return Tip{}, fmt.Errorf("arrival before the first message: %w", err)
			}
		}
		return newTip(chain, floor, ""), nil
	}
	name, err := ParseKey(last.Key)
	if err != nil {
		return Tip{}, fence.Incident(a.cfg.Stream, "corrupt: %v; move it out of the archive", err)
	}
	body, x, hash, err := load(ctx, a.store, last.Key)
	if corrupt := (*CorruptError)(nil); errors.As(err, &corrupt) {
		return Tip{}, fence.Incident(a.cfg.Stream, "corrupt: %v; restore it, or move it away while the stream still has its messages", err)
	}
	if err != nil {
		return Tip{}, err
	}
	if err := x.check(name); err != nil {
		return Tip{}, fence.Incident(a.cfg.Stream, "corrupt: object %s: %v", last.Key, err)
	}
	// Its archiver may have died before it was durable: ErrExists says that it is.
	err = a.store.Put(ctx, last.Key, bytes.NewReader(body), int64(len(body)))
	if err == nil {
		err = fmt.Errorf("object %s was compacted and removed while it was read", last.Key)
	}
	if !errors.Is(err, ErrExists) {
		return Tip{}, err
	}
	return tipAfter(name, x, hash), nil
}

// read takes the next messages into the object, cutting it where it must be.
// The last message known is read again and compared, so that a stream that lost
// its tail and used the sequences again is noticed.
func (a *Archiver) read(ctx context.Context, info fence.Info) (busy bool, err error) {
	next := a.open.Next()
	if info.Last < next {
		return false, nil
	}
	mark := a.open.Mark()
	trimmed, from := mark.Seq > 0 && mark.Seq < info.First, next
	switch {
	case trimmed && mark.Seq >= a.tip.First: // others archived what is in hand, or what came in its place
		return true, a.leave(ctx)
	case mark.Seq >= info.First:
		from = mark.Seq
	}
	entries, err := a.log.Read(ctx, a.cfg.Stream, from, batch)
	if errors.Is(err, fence.ErrRewound) || errors.Is(err, fence.ErrRecreated) {
		return true, nil // the next Step sees the stream's new end, or the new stream
	}
	if err != nil {
		return false, err
	}
	if trimmed {
		// Nothing can be compared. But who trims what came in the place of a message that
		// is archived has declared a generation before, so the archive tells.
		c, _, err := a.latest(ctx, info.Created)
		if err != nil {
			return false, err
		}
		if c != a.tip.Chain {
			return true, a.leave(ctx)
		}
	}
	if info.First > next {
		if adopted, err := a.miss(ctx, info.First-1, MissingExpired); adopted || err != nil {
			return true, err
		}
	}
	for i := range entries {
		e := &entries[i]
		if e.Seq == mark.Seq && markOf(e) != mark && !chaos.Bug("rewind not noticed") {
			return true, a.rewound(ctx, info.Created, fmt.Sprintf("message %d is another than the one that was read before", e.Seq))
		}
		if e.Seq < a.open.Next() {
			continue
		}
		if on, err := a.write(ctx, e); !on || err != nil {
			return err == nil, err
		}
		busy = true
	}
	return busy, nil
}

// tick tells that a message exists for its timestamp only.
func tick(e *fence.Entry) bool {
	return len(e.Data) == 0 || e.Subject == schemas.SubjectControl && string(e.Data) == "{}"
}

// miss records that the stream no longer has the messages up to a sequence,
// unless another archiver has stored them: then its object is adopted.
func (a *Archiver) miss(ctx context.Context, to uint64, reason string) (adopted bool, err error) {
	if reason == MissingExpired {
		o, ok, err := firstObject(ctx, a.store, a.tip.prefix(), a.tip.Key)
		if err != nil {
			return false, err
		}
		if ok {
			return true, a.adopt(ctx, o.Key)
		}
	}
	if err := a.open.Miss(to, reason); err != nil {
		return false, err
	}
	if a.opened.IsZero() {
		a.opened, a.arrival = a.cfg.Now(), a.open.x.ArrivalTo
	}
	return false, nil
}

func (a *Archiver) measure(info fence.Info) {
	m := a.cfg.Metrics
	m.lag.WithLabelValues(a.cfg.Stream).Set(float64(info.Last + 1 - a.tip.First))
	var age float64
	if !a.opened.IsZero() {
		age = a.cfg.Now().Sub(time.Unix(0, a.arrival)).Seconds()
	}
	m.lagSeconds.WithLabelValues(a.cfg.Stream).Set(age)
}
