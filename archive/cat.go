package archive

import (
	"context"
	"fmt"
	"io"
	"iter"
)

// Filter chooses from the archive. The zero Filter is everything.
type Filter struct {
	Class  string // telemetry, audit, alerts or control; "": each
	Stream string // "": each
	// From and To are the first and the last sequence; 0: no bound.
	From, To uint64
	// Since and Until bound the arrival, Since <= arrival < Until, Unix ns; 0: no
	// bound.
	Since, Until int64
}

// chosen tells whether a message is chosen, and whether anything behind it is.
func (f *Filter) chosen(r *Record) (ok, done bool) {
	done = f.To > 0 && r.Seq > f.To || f.Until > 0 && r.Arrival >= f.Until
	return !done && r.Seq >= f.From && (f.Since == 0 || r.Arrival >= f.Since), done
}

// Listed is an object with its index.
type Listed struct {
	Object
	Index *Index `json:"index"`
	Hash  string `json:"hash"`
}

// List gives the objects that may hold something of what is chosen, chain by
// chain, each chain in order. It ends after an error.
func List(ctx context.Context, store Store, f Filter) iter.Seq2[Listed, error] {
	return func(yield func(Listed, error) bool) {
		all, _, err := chains(ctx, store, f.Class, f.Stream)
		if err != nil {
			yield(Listed{}, err)
			return
		}
		for _, c := range all {
			for o, err := range objects(ctx, store, c, &f) {
				l := Listed{Object: o.Object}
				if err == nil {
					l.Index, l.Hash, err = ReadIndex(ctx, store, o.Object)
				}
				if err != nil {
					yield(Listed{}, err)
					return
				}
				if f.Since > 0 && l.Index.ArrivalTo < f.Since || f.Until > 0 && l.Index.ArrivalFrom >= f.Until {
					continue
				}
				if !yield(l, nil) {
					return
				}
			}
		}
	}
}

// Cat gives each message that is chosen to fn, once: stream by stream, epoch by
// epoch, in order of sequence, ticks too (their payload is empty). What retention
// deleted is passed over; Deletions lists it. The record is
// valid during the call. An error of fn ends Cat and is returned. After any
// error what fn was given is not to be relied on: damage may be found behind it.
// Cat reads objects; where something chosen is in segments alone it is an error, and
// query.Messages reads both.
func Cat(ctx context.Context, store Store, f Filter, fn func(*Record) error) error {
	all, _, err := chains(ctx, store, f.Class, f.Stream)
	if err != nil {
		return err
	}
	for _, c := range all {
		if err := catChain(ctx, store, c, &f, fn); err != nil {
			return err
		}
	}
	return nil
}

func catChain(ctx context.Context, store Store, c Chain, f *Filter, fn func(*Record) error) error {
	var tip Tip // behind the object before, zero for the first
	m, err := ReadManifest(ctx, store, c)
	if err != nil {
		return err
	}
	for o, err := range objects(ctx, store, c, f) {
		if err != nil {
			return err
		}
		if tip.Key == "" && m.holds(f.From, o.Name.First-1, f.Since) {
			return fmt.Errorf("the messages before %d of %s are in segments alone", o.Name.First, c)
		}
		if tip.Key != "" && o.Name.before(tip.Name) {
			continue // it was replaced, or is a ghost, which Verify reports
		}
		done, err := catObject(ctx, store, o, &tip, f, fn)
		if err != nil {
			return fmt.Errorf("object %s: %w", o.Key, err)
		}
		if done {
			break
		}
	}
	return nil
}

// catObject gives an object's messages to fn and moves the tip behind it. done
// tells that nothing behind the last message is chosen.
func catObject(ctx context.Context, store Store, o Named, tip *Tip, f *Filter, fn func(*Record) error) (done bool, err error) {
	if tip.Key != "" && o.Name != tip.Name {
		return false, fmt.Errorf("the object before it ends at %d, so that %s should follow", tip.First-1, tip.Name.Key())
	}
	var off int64
	if tip.Key == "" && (f.From > o.Name.First || f.Since > 0) {
		x, _, err := readIndex(ctx, store, o.Object)
		if err != nil {
			return false, err
		}
		for _, at := range x.Offsets {
			if at.Seq <= f.From || at.Arrival < f.Since {
				off = at.Offset
			}
		}
	}
	body, err := store.Get(ctx, o.Key, off, -1)
	if err != nil {
		return false, err
	}
	defer body.Close()
	r := NewReader(body)
	if off > 0 {
		r = newPartialReader(body, off, new(codec))
	}
	for {
		rec, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return false, err
		}
		ok, done := f.chosen(rec)
		if done {
			return true, nil
		}
		if !ok {
			continue
		}
		rec.Chain = o.Name.Chain
		if err := fn(rec); err != nil {
			return false, err
		}
	}
	if tip.Key == "" {
		err = r.Index().check(o.Name)
		*tip = tipAfter(o.Name, r.Index(), r.Hash())
		return false, err
	}
	return false, tip.Follow(o.Name, r.Index(), r.Hash())
}

// Named is an object and what its key says.
type Named struct {
	Object
	Name Name
}

// objects lists a chain's objects from the one that holds f's beginning on.
func objects(ctx context.Context, store Store, c Chain, f *Filter) iter.Seq2[Named, error] {
	return func(yield func(Named, error) bool) {
		after := ""
		if f.Since > 0 {
			after = c.prefix() + "dt=" + dayOf(f.Since) // arrivals of a day lie under it or later
		}
		// An object ends where the next one begins, so one is held back. One that only
		// ends a day begins there, too.
		var held Named
		for o, err := range store.List(ctx, c.prefix(), after) {
			var n Name
			if err == nil {
				n, err = ParseKey(o.Key)
			}
			if err != nil {
				yield(Named{}, err)
				return
			}
			if f.To > 0 && n.First > f.To {
				break
			}
			if held.Key != "" && (n.First > f.From || held.Name.First >= f.From) && !yield(held, nil) {
				return
			}
			held = Named{o, n}
		}
		if held.Key != "" {
			yield(held, nil)
		}
	}
}
