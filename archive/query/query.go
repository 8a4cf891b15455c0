package query

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/dermai/millrace/archive"
	"github.com/dermai/millrace/fence"
)

// Day is a UTC day of arrival of a stream.
type Day struct {
	Stream string
	Day    string // 2006-01-02
}

// Days lists what an archive holds, by stream and day, as far as it may hold
// something that is looked for.
func Days(ctx context.Context, store archive.Store, o Options) ([]Day, error) {
	streams, err := o.chains(ctx, store)
	if err != nil {
		return nil, err
	}
	var out []Day
	for _, name := range slices.Sorted(maps.Keys(streams)) {
		for _, c := range streams[name] {
			m, rest, err := plan(ctx, store, c)
			if err != nil {
				return nil, err
			}
			for _, s := range m.Segments {
				out = append(out, Day{name, s.Day})
			}
			for _, r := range rest {
				out = append(out, Day{name, r.Name.Day})
			}
		}
	}
	slices.SortFunc(out, func(a, b Day) int {
		return cmp.Or(strings.Compare(a.Stream, b.Stream), strings.Compare(a.Day, b.Day))
	})
	return slices.Compact(out), nil
}

// Run gives each event that is looked for to fn, once: those of a stream in order
// of sequence, those of several streams in order of arrival. The event is valid
// during the call. An error of fn ends Run and is returned.
func Run(ctx context.Context, store archive.Store, o Options, fn func(*Event) error) (Stats, error) {
	var stats Stats
	streams, err := o.chains(ctx, store)
	if err != nil {
		return stats, err
	}
	var heads []*head
	for name, chains := range streams {
		next, stop := iter.Pull2(stream(ctx, store, &o, name, chains, &stats))
		defer stop()
		heads = append(heads, &head{next: next, name: name})
	}
	for _, h := range heads {
		if err := h.advance(); err != nil {
			return stats, err
		}
	}
	for {
		h := first(heads)
		if h == nil {
			return stats, nil
		}
		stats.Events++
		if err := fn(h.event); err != nil {
			return stats, err
		}
		if err := h.advance(); err != nil {
			return stats, err
		}
	}
}

// head is a stream with its next event.
type head struct {
	name  string
	next  func() (*Event, error, bool)
	event *Event // nil: there is none
}

func (h *head) advance() error {
	e, err, more := h.next()
	h.event = e
	if !more {
		h.event = nil
	}
	return err
}

// first is the stream whose next event arrived first.
func first(heads []*head) (min *head) {
	for _, h := range heads {
		if h.event == nil {
			continue
		}
		if min == nil || h.event.Arrival < min.event.Arrival || h.event.Arrival == min.event.Arrival && h.name < min.name {
			min = h
		}
	}
	return min
}

var errEnough = errors.New("enough")

// stream gives the events of a stream: of its chains, then of what the stream
// itself still holds behind them.
func stream(ctx context.Context, store archive.Store, o *Options, name string, chains []archive.Chain, stats *Stats) iter.Seq2[*Event, error] {
	return func(yield func(*Event, error) bool) {
		fn := func(e *Event) error {
			if !yield(e, nil) {
				return errEnough
			}
			return ctx.Err()
		}
		err := o.stream(ctx, store, name, chains, stats, fn)
		if err != nil && !errors.Is(err, errEnough) {
			if stop, ok := errors.AsType[*stopError](err); ok {
				err = stop.error
			}
			yield(nil, err)
		}
	}
}

func (o *Options) stream(ctx context.Context, store archive.Store, name string, chains []archive.Chain, stats *Stats, fn func(*Event) error) error {
	var live fence.Info
	if o.Log != nil {
		var err error
		if live, err = o.Log.Info(ctx, name); err != nil {
			return fmt.Errorf("stream %s: %w", name, err)
		}
	}
	var last *reader
	latest, _ := archive.Latest(chains)
	for _, c := range chains {
		r := &reader{store: store, chain: c, want: newEvents(o, c, stats, fn), stats: stats, progress: o.Progress, next: 1}
		if err := r.run(ctx); err != nil {
			return err
		}
		if c == latest {
			last = r
		}
	}
	if o.Log == nil {
		return nil
	}
	archived := last != nil && last.chain.Epoch.Created == live.Created
	if !archived {
		c := archive.Chain{Class: classOf(name), Stream: name, Epoch: archive.Epoch{Created: live.Created}}
		last = &reader{store: store, chain: c, want: newEvents(o, c, stats, fn), stats: stats, progress: o.Progress, next: 1}
	}
	return last.live(ctx, o.Log, live.Last, archived)
}

// readMax is how many messages are read from a stream at once.
const readMax = 256

// live reads what is not archived yet, up to a sequence. archived tells that the
// chain has objects.
func (r *reader) live(ctx context.Context, log fence.Log, through uint64, archived bool) error {
	for again := archived; r.next <= through && !r.ended; {
		entries, err := log.Read(ctx, r.chain.Stream, r.next, readMax)
		if err != nil {
			return fmt.Errorf("read %s: %w", r.chain.Stream, err)
		}
		if again && len(entries) > 0 && entries[0].Seq > r.next {
			// The stream may have forgotten what was archived a moment ago.
			if err := r.run(ctx); err != nil {
				return err
			}
			again = false
			continue
		}
		for _, e := range entries {
			if e.Seq > through {
				return nil
			}
			r.stats.Messages++
			r.next, r.arrival = e.Seq+1, max(r.arrival, e.Time)
			if r.want.behind(e.Seq, r.arrival) {
				return nil
			}
			rec := archive.Record{
				Chain: r.chain, Seq: e.Seq, Arrival: r.arrival, Time: e.Time, Subject: e.Subject, Header: e.Header, Payload: e.Data,
			}
			if err := r.want.message(&rec); err != nil {
				return err
			}
		}
		if len(entries) == 0 {
			return nil
		}
	}
	return nil
}
