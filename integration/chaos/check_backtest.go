package main

import (
	"cmp"
	"context"
	"iter"
	"slices"

	"github.com/dermai/millrace/archive"
	"github.com/dermai/millrace/backtest"
	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/schemas"
)

// checkBacktest: who reads the archive, and of the streams what is behind it,
// decides again what was decided, byte for byte. Of a stream without its first
// message a backtest refuses to say what was before; one of which the archive has
// something twice is a matter of checkArchive.
func checkBacktest(e *evidence, c *Counts, fault func(string, ...any)) {
	for _, class := range schemas.Classes {
		for _, p := range e.schedule.Partitions(class) {
			if e.torn(p.Stream()) > 0 {
				return
			}
		}
	}
	for _, list := range e.archived {
		if !slices.IsSortedFunc(list, func(a, b fence.Entry) int { return cmp.Compare(a.Seq, b.Seq) }) {
			return
		}
	}
	sum, err := backtest.Run(context.Background(), backtest.Config{Source: shelf{e}, Check: true},
		func(schemas.Transition) error { return nil })
	if err != nil {
		fault("%v", err)
	}
	for _, m := range sum.Missing {
		fault("the sequences %d to %d of %s are missing", m.First, m.Last, m.Stream)
	}
	for _, class := range sum.Classes {
		c.Backtested += int(class.Checked)
	}
}

// shelf gives what the archive has, and then what the stream has behind it: ticks,
// which no object is made for until there is something else, or the day is over.
type shelf struct{ *evidence }

func (s shelf) list(stream string) []fence.Entry {
	list := s.archived[stream]
	for i, m := range s.streams[stream] {
		if len(list) == 0 || m.Seq > list[len(list)-1].Seq {
			return slices.Concat(list, s.streams[stream][i:])
		}
	}
	return list
}

// Messages implements backtest.Source.
func (s shelf) Messages(_ context.Context, stream string, since int64) iter.Seq2[*archive.Record, error] {
	return func(yield func(*archive.Record, error) bool) {
		var arrival int64
		for _, m := range s.list(stream) {
			if arrival = max(arrival, m.Time); arrival < since {
				continue
			}
			r := &archive.Record{Seq: m.Seq, Arrival: arrival, Time: m.Time, Subject: m.Subject, Header: m.Header, Payload: m.Data}
			if !yield(r, nil) {
				return
			}
		}
	}
}

// Has implements backtest.Source.
func (s shelf) Has(_ context.Context, stream string, seq uint64) (bool, error) {
	return slices.ContainsFunc(s.list(stream), func(m fence.Entry) bool { return m.Seq == seq }), nil
}
