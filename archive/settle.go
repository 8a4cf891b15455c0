package archive

import (
	"context"
	"errors"
	"slices"

	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/internal/chaos"
)

// settle finds where in the archive belongs what is in hand, and goes on behind the end
// of that chain. A stream that lost its tail gives sequences again, but never the same
// message with one: so a message tells all that lay before it, and what was ever read of
// a stream is a tree, of which the archive holds each branch in a chain. What is in hand
// is compared with the chain that it was read for; where that goes on with another
// message, with those that hang there. If none does, the next generation is declared
// where the stream goes on as what is in hand; otherwise that is a tail that the stream
// lost and the archive has no place for, because another archiver, which had not read
// it, went on in the generation: it gets a chain of its own, which is no generation, so
// that the stream stays in the one where it is.
func (a *Archiver) settle(ctx context.Context) error {
	h, err := a.inHand()
	if err != nil {
		return err
	}
	chain, mark := a.tip.Chain, a.tip.Message
	for {
		var at int
		if at, mark, err = a.diverges(ctx, chain, &h, mark); err != nil {
			return err
		}
		if at == len(h.entries) {
			break
		}
		var ok bool
		if chain, ok, err = a.branch(ctx, h.entries, at, mark); err != nil {
			return err
		}
		if !ok { // only ticks
			h.entries = nil
			chain = a.tip.Chain
			break
		}
	}
	if chaos.Bug("lost tail dropped") && chain.Epoch.Lost > 0 {
		h.entries = nil
	}
	if err := a.enter(ctx, chain); err != nil {
		return err
	}
	a.hold(h)
	return nil
}

// diverges is the first message in hand instead of which a chain holds another, all of
// them if there is none, and the last that both hold, or before.
func (a *Archiver) diverges(ctx context.Context, c Chain, h *hand, before Mark) (at int, last Mark, err error) {
	if len(h.entries) == 0 {
		return 0, before, nil
	}
	at, last = len(h.entries), before
	i := 0
	err = a.walk(ctx, c, h.entries[0].Seq, func(r *Record) error {
		for i < len(h.entries) && h.entries[i].Seq < r.Seq {
			i++
		}
		switch {
		case i == len(h.entries):
			return errEnough
		case h.entries[i].Seq > r.Seq: // it is recorded as missing
		case !r.of(&h.entries[i]):
			at = i
			return errEnough
		default:
			last = markOf(&h.entries[i])
		}
		return nil
	})
	return at, last, err
}

// branch finds the chain which holds a message that is in hand, or is to hold it, behind
// the last that it has in common with others. ok: there is something to be held.
func (a *Archiver) branch(ctx context.Context, entries []fence.Entry, at int, behind Mark) (c Chain, ok bool, err error) {
	e := &entries[at]
	stays, err := a.inStream(ctx, e)
	if err != nil {
		return c, false, err
	}
	generation, _, err := a.latest(ctx, a.tip.Epoch.Created)
	if err != nil {
		return c, false, err
	}
	lost := generation
	lost.Epoch = Epoch{Created: lost.Epoch.Created}
	free := false
	// The generations, the last of which stays in generation, and behind them the tails,
	// up to the first that nobody has declared.
	for n := lost; ; {
		if n.Epoch.Lost == 0 && n.Epoch.Generation < generation.Epoch.Generation {
			n.Epoch.Generation++
		} else {
			n.Epoch = Epoch{Created: n.Epoch.Created, Lost: n.Epoch.Lost + 1}
		}
		d, err := readDeclaration(ctx, a.store, n)
		if err != nil {
			return c, false, err
		}
		if d == nil && n.Epoch.Lost > 0 {
			lost = n
			break
		}
		if d == nil || !d.hangs(behind, e.Seq) {
			continue
		}
		empty, same, err := a.begins(ctx, n, e)
		if same || err != nil {
			return n, same, err
		}
		if empty && !free && (!stays || n.Epoch.Lost == 0) {
			c, free = n, true
		}
	}
	if free {
		return c, true, nil
	}
	if !stays && !slices.ContainsFunc(entries[at:], func(e fence.Entry) bool { return !tick(&e) }) {
		return c, false, nil
	}
	if !a.cfg.NextGeneration {
		return c, false, fence.Incident(a.cfg.Stream, "conflict: another archiver has stored another message %d than this one read "+
			"from the stream; find out which of them is right before anything is archived further", e.Seq)
	}
	tip, err := a.loadTip(ctx, generation)
	if err != nil {
		return c, false, err
	}
	d := declaration{Prev: tip.Hash, Last: tip.First - 1, Arrival: tip.Arrival, Same: behind.Seq, Message: behind}
	c = generation
	c.Epoch.Generation++
	if !stays {
		c, d.Arrival = lost, a.tip.Arrival
		for _, e := range entries[:at] {
			d.Arrival = max(d.Arrival, e.Time)
		}
	}
	if _, err := declare(ctx, a.store, c, d); err != nil {
		return c, false, err
	}
	return a.branch(ctx, entries, at, behind) // whoever declared it
}

// inStream tells whether the stream holds a message that was read of it.
func (a *Archiver) inStream(ctx context.Context, e *fence.Entry) (bool, error) {
	info, err := fence.Extent(ctx, a.log, a.cfg.Stream, e.Seq)
	if err != nil || info.Created != a.tip.Epoch.Created || e.Seq < info.First || e.Seq > info.Last {
		return false, err
	}
	entries, err := a.log.Read(ctx, a.cfg.Stream, e.Seq, 1)
	if errors.Is(err, fence.ErrRewound) || errors.Is(err, fence.ErrRecreated) {
		return false, nil
	}
	return len(entries) > 0 && markOf(&entries[0]) == markOf(e), err
}

// begins tells whether a chain has a message where it begins, and whether it is this one.
func (a *Archiver) begins(ctx context.Context, c Chain, e *fence.Entry) (empty, same bool, err error) {
	empty = true
	err = a.walk(ctx, c, e.Seq, func(r *Record) error {
		empty, same = false, r.of(e)
		return errEnough
	})
	return empty, same, err
}
