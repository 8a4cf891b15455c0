package backtest

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/dermai/millrace/archive"
	"github.com/dermai/millrace/archive/query"
	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/schemas"
	"github.com/dermai/millrace/stages"
)

// Source gives what is stored. Its methods may be used at once by several
// goroutines.
type Source interface {
	// Messages gives the messages of a stream in order, from the first whose arrival
	// (the running maximum of the timestamps) is at least since, Unix ns. A record is
	// valid until the next. It ends after an error.
	Messages(ctx context.Context, stream string, since int64) iter.Seq2[*archive.Record, error]
	// Has tells whether there is a message, in the same epoch of the stream.
	Has(ctx context.Context, stream string, seq uint64) (bool, error)
}

// Archive is what an archive holds of each stream's last epoch.
type Archive struct{ Store archive.Store }

// chain is the last of a stream; false: there is none.
func (a *Archive) chain(ctx context.Context, stream string) (c archive.Chain, ok bool, err error) {
	chains, err := archive.Chains(ctx, a.Store, "", stream)
	if err != nil {
		return c, false, err
	}
	c, ok = archive.Latest(chains)
	return c, ok, nil
}

// errEnough ends a reading whose rest is of no interest.
var errEnough = errors.New("enough")

// Messages implements Source. UnknownError: the stream was made again, or lost its tail,
// within the range.
func (a *Archive) Messages(ctx context.Context, stream string, since int64) iter.Seq2[*archive.Record, error] {
	return func(yield func(*archive.Record, error) bool) {
		err := a.messages(ctx, stream, since, func(r *archive.Record) error {
			if !yield(r, nil) {
				return errEnough
			}
			return nil
		})
		if err != nil && !errors.Is(err, errEnough) {
			yield(nil, err)
		}
	}
}

func (a *Archive) messages(ctx context.Context, stream string, since int64, fn func(*archive.Record) error) error {
	chains, err := archive.Chains(ctx, a.Store, "", stream)
	if err != nil {
		return err
	}
	last, ok := archive.Latest(chains)
	if !ok {
		return nil
	}
	needed := false // what is in others: epochs before, tails that it lost
	for _, c := range chains {
		if c == last {
			continue
		}
		_, arrival, err := a.reach(ctx, c)
		if err != nil {
			return err
		}
		needed = needed || arrival >= since
	}
	return a.cat(ctx, last, archive.Filter{Since: since}, func(r *archive.Record) error {
		if needed {
			return &UnknownError{Stream: stream, Begins: r.Arrival, Needed: since}
		}
		return fn(r)
	})
}

// Has implements Source.
func (a *Archive) Has(ctx context.Context, stream string, seq uint64) (bool, error) {
	chain, ok, err := a.chain(ctx, stream)
	if err != nil || !ok {
		return false, err
	}
	found := false
	err = a.cat(ctx, chain, archive.Filter{From: seq, To: seq}, func(*archive.Record) error {
		found = true
		return errEnough
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return found, err
}

// cat gives the messages of one chain to fn.
func (a *Archive) cat(ctx context.Context, chain archive.Chain, f archive.Filter, fn func(*archive.Record) error) error {
	f.Class, f.Stream = chain.Class, chain.Stream
	return query.Messages(ctx, a.Store, f, func(r *archive.Record) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if r.Chain.Epoch != chain.Epoch {
			return nil
		}
		return fn(r)
	})
}

// end is the end of a stream's last chain: the last sequence, and the arrival there.
func (a *Archive) end(ctx context.Context, stream string) (chain archive.Chain, last uint64, arrival int64, err error) {
	chain, ok, err := a.chain(ctx, stream)
	if err != nil || !ok {
		return chain, 0, 0, err
	}
	last, arrival, err = a.reach(ctx, chain)
	return chain, last, arrival, err
}

// reach is how far a chain goes.
func (a *Archive) reach(ctx context.Context, chain archive.Chain) (last uint64, arrival int64, err error) {
	m, err := archive.ReadManifest(ctx, a.Store, chain)
	if err != nil {
		return 0, 0, err
	}
	rest, err := m.Rest(ctx, a.Store)
	if err != nil || len(rest) == 0 {
		return m.Through(), m.Tip.Arrival, err
	}
	x, _, err := archive.ReadIndex(ctx, a.Store, rest[len(rest)-1].Object)
	if err != nil {
		return 0, 0, err
	}
	return x.Last, x.ArrivalTo, nil
}

// Live is an archive and what the streams hold behind it.
type Live struct {
	Archive
	// Log opens the streams for one reader, which calls done at its end.
	Log func() (log fence.Log, done func())
}

// Messages implements Source. What is stored while it reads may be left out.
func (l *Live) Messages(ctx context.Context, stream string, since int64) iter.Seq2[*archive.Record, error] {
	return func(yield func(*archive.Record, error) bool) {
		chain, last, arrival, err := l.end(ctx, stream)
		if err != nil {
			yield(nil, err)
			return
		}
		for r, err := range l.Archive.Messages(ctx, stream, since) {
			if !yield(r, err) || err != nil {
				return
			}
			last, arrival = max(last, r.Seq), max(arrival, r.Arrival)
		}
		rec := archive.Record{Chain: chain, Seq: last, Arrival: arrival}
		if err := l.rest(ctx, stream, rec, since, yield); err != nil {
			yield(nil, err)
		}
	}
}

// rest gives what a stream holds behind the archive's end.
func (l *Live) rest(ctx context.Context, stream string, at archive.Record, since int64, yield func(*archive.Record, error) bool) error {
	log, done := l.Log()
	defer done()
	info, err := log.Info(ctx, stream)
	switch {
	case err != nil:
		return err
	case at.Seq > 0 && info.Created != at.Epoch.Created:
		return fmt.Errorf("%s was made again since it was archived: it can't be read on from the archive's end", stream)
	case info.First > at.Seq+1: // also with no archive at all: how late the messages before arrived is unknown
		return fmt.Errorf("%s begins at message %d, and its archive ends at %d", stream, info.First, at.Seq)
	}
	for next := max(at.Seq+1, info.First); next <= info.Last; {
		entries, err := log.Read(ctx, stream, next, 64)
		if err != nil {
			return err
		}
		for _, e := range entries {
			next = e.Seq + 1
			at.Seq, at.Time, at.Subject, at.Header, at.Payload = e.Seq, e.Time, e.Subject, e.Header, e.Data
			if at.Arrival = max(at.Arrival, e.Time); at.Arrival < since {
				continue
			}
			if !yield(&at, nil) {
				return nil
			}
		}
	}
	return nil
}

// Has implements Source.
func (l *Live) Has(ctx context.Context, stream string, seq uint64) (bool, error) {
	if ok, err := l.Archive.Has(ctx, stream, seq); ok || err != nil {
		return ok, err
	}
	log, done := l.Log()
	defer done()
	info, err := log.Info(ctx, stream)
	if err != nil || seq < info.First || seq > info.Last {
		return false, err
	}
	entries, err := log.Read(ctx, stream, seq, 1)
	return len(entries) > 0 && entries[0].Seq == seq, err
}

// Ask stores a tick in the control log and in every partition, so that what is
// stored by now can be decided: their time has passed it. Twice does no harm.
func Ask(ctx context.Context, log fence.Log, storeTick func(context.Context, schemas.Partition) error) error {
	control := stages.NewControl(log, time.Now, nil)
	if _, err := control.Read(ctx); err != nil {
		return err
	}
	if err := control.Tick(ctx); err != nil {
		return err
	}
	for _, class := range schemas.Classes {
		for _, p := range control.Schedule().Partitions(class) {
			if err := storeTick(ctx, p); err != nil {
				return err
			}
		}
	}
	return nil
}
