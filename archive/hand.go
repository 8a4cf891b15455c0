package archive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/dermai/millrace/fence"
)

// hand is what an archiver has read of the stream and not stored.
type hand struct {
	entries []fence.Entry
	missing []Missing // what was recorded as missing between them
	opened  time.Time // as the archiver's
}

// reason is why a sequence is missing.
func (h *hand) reason(seq uint64) string {
	for _, m := range h.missing {
		if m.From <= seq && seq <= m.To {
			return m.Reason
		}
	}
	return MissingDeleted
}

// inHand is what is being written and what is still to be written behind it.
func (a *Archiver) inHand() (hand, error) {
	h := hand{missing: slices.Concat(a.open.x.Missing, a.hand.missing), opened: a.opened}
	if h.opened.IsZero() {
		h.opened = a.hand.opened
	}
	r := newPartialReader(bytes.NewReader(a.buf.Bytes()), 0, new(codec))
	for {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return hand{}, fmt.Errorf("take over what is in hand: %w", err)
		}
		e := rec.entry()
		e.Data, e.Header = bytes.Clone(e.Data), maps.Clone(e.Header)
		h.entries = append(h.entries, *e)
	}
	for _, e := range a.hand.entries {
		if e.Seq >= a.open.Next() {
			h.entries = append(h.entries, e)
		}
	}
	return h, nil
}

// hold takes in hand what lies behind the chain's end, to be written next.
func (a *Archiver) hold(h hand) {
	h.entries = slices.DeleteFunc(h.entries, func(e fence.Entry) bool { return e.Seq < a.open.Next() })
	if a.hand = h; len(h.entries) == 0 {
		a.hand = hand{}
	}
}

// writeHand writes what is in hand into objects, as far as no other archiver's is met.
func (a *Archiver) writeHand(ctx context.Context) error {
	for len(a.hand.entries) > 0 {
		e := a.hand.entries[0]
		if e.Seq < a.open.Next() {
			a.hand.entries = a.hand.entries[1:]
			continue
		}
		if on, err := a.write(ctx, &e); !on || err != nil {
			return err
		}
	}
	a.hand = hand{}
	return nil
}

// write takes a message into the object, cutting it where it must be. on tells that
// what follows the message may be written next; otherwise another archiver's object
// was met.
func (a *Archiver) write(ctx context.Context, e *fence.Entry) (on bool, err error) {
	if e.Seq > a.open.Next() {
		if adopted, err := a.miss(ctx, e.Seq-1, a.hand.reason(e.Seq-1)); adopted || err != nil {
			return false, err
		}
	}
	if day := a.open.day(e.Time); day != a.open.x.Day {
		chain := a.tip.Chain
		if err := a.put(ctx, day); err != nil {
			return false, err
		}
		if !a.loaded || a.tip.Chain != chain || a.open.Next() != e.Seq || a.open.x.Day != day {
			return false, nil
		}
	}
	if err := a.open.Write(e); err != nil {
		return false, err
	}
	if !tick(e) && a.opened.IsZero() {
		a.arrival = a.open.x.ArrivalTo
		if a.opened = a.hand.opened; a.opened.IsZero() {
			a.opened = a.cfg.Now()
		}
	}
	if a.open.Len() < a.cfg.CutBytes {
		return true, nil
	}
	chain := a.tip.Chain
	err = a.put(ctx, "")
	return a.loaded && a.tip.Chain == chain && a.open.Next() == e.Seq+1, err
}
