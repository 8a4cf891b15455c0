package replay

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"slices"

	"github.com/dermai/millrace/archive"
	"github.com/dermai/millrace/archive/query"
)

// source is what is chosen of one stream, in order.
type source struct {
	next    func() (*archive.Record, error, bool)
	record  *archive.Record
	arrival int64 // running maximum, across the stream's epochs
}

func (s *source) advance() (more bool, err error) {
	r, err, ok := s.next()
	if err != nil || !ok {
		return false, err
	}
	s.record, s.arrival = r, max(s.arrival, r.Arrival)
	return true, nil
}

// merged gives what is chosen of the archive to fn, of all streams, in order of
// arrival, and of streams by name within it. The order follows from the archive
// alone. The record is valid during the call.
func merged(ctx context.Context, store archive.Store, f archive.Filter, fn func(*archive.Record) error) error {
	chains, err := archive.Chains(ctx, store, f.Class, f.Stream)
	if err != nil {
		return err
	}
	var names []string
	for _, c := range chains {
		names = append(names, c.Stream)
	}
	slices.Sort(names)
	var sources []*source
	for _, name := range slices.Compact(names) {
		one := f
		one.Stream = name
		next, stop := iter.Pull2(records(ctx, store, one))
		defer stop()
		s := &source{next: next}
		more, err := s.advance()
		if err != nil {
			return err
		}
		if more {
			sources = append(sources, s)
		}
	}
	for len(sources) > 0 {
		i := 0
		for j, s := range sources[1:] {
			if s.arrival < sources[i].arrival {
				i = j + 1
			}
		}
		if err := fn(sources[i].record); err != nil {
			return err
		}
		more, err := sources[i].advance()
		if err != nil {
			return err
		}
		if !more {
			sources = slices.Delete(sources, i, i+1)
		}
	}
	return nil
}

// records is query.Messages as a sequence, which ends after an error.
func records(ctx context.Context, store archive.Store, f archive.Filter) iter.Seq2[*archive.Record, error] {
	return func(yield func(*archive.Record, error) bool) {
		done := errors.New("done")
		err := query.Messages(ctx, store, f, func(r *archive.Record) error {
			if !yield(r, nil) {
				return done
			}
			return nil
		})
		if err != nil && !errors.Is(err, done) {
			yield(nil, cmp.Or(context.Cause(ctx), err))
		}
	}
}
