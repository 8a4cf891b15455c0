package archive

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/dermai/millrace/fence"
)

// End is the end of a chain, ErrNotFound if there is none.
func End(ctx context.Context, store Store, c Chain) (Tip, error) {
	last, ok, err := lastObject(ctx, store, c, "")
	if err != nil {
		return Tip{}, err
	}
	if !ok {
		return Tip{}, fmt.Errorf("chain %s: %w", c, ErrNotFound)
	}
	name, err := ParseKey(last.Key)
	if err != nil {
		return Tip{}, err
	}
	_, x, hash, err := load(ctx, store, last.Key)
	if err != nil {
		return Tip{}, err
	}
	return tipAfter(name, x, hash), x.check(name)
}

// Tail gives the messages of a chain from a sequence or an arrival (Unix ns) on, as
// they were in the stream, byte for byte. Those come from objects alone: what is in
// segments alone, before what was asked for by its arrival, is left out, and what was
// asked for by its sequence is an error. An entry may be used until the next one is
// asked for.
func Tail(ctx context.Context, store Store, c Chain, from uint64, since int64) iter.Seq2[*fence.Entry, error] {
	return func(yield func(*fence.Entry, error) bool) {
		f := Filter{From: from, Since: since}
		if from == 0 {
			for o, err := range objects(ctx, store, c, &f) {
				if err != nil {
					yield(nil, err)
					return
				}
				f.From = o.Name.First
				break
			}
		}
		done := errors.New("done")
		err := catChain(ctx, store, c, &f, func(r *Record) error {
			if !yield(r.entry(), nil) {
				return done
			}
			return nil
		})
		if err != nil && !errors.Is(err, done) {
			yield(nil, err)
		}
	}
}
