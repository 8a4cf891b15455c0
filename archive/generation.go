package archive

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/dermai/millrace/fence"
)

// latest is the generation that a stream is in, as far as the archive knows: the last
// that has objects or was declared. again tells that there are only other streams of its
// name.
func (a *Archiver) latest(ctx context.Context, created int64) (c Chain, again bool, err error) {
	found, _, err := chains(ctx, a.store, a.class, a.cfg.Stream)
	if err != nil {
		return c, false, err
	}
	again = len(found) > 0
	found = slices.DeleteFunc(found, func(c Chain) bool { return c.Epoch.Created != created })
	c, ok := Latest(found)
	if !ok {
		c = Chain{a.class, a.cfg.Stream, Epoch{Created: created}}
	}
	for {
		next := c
		next.Epoch.Generation++
		d, err := readDeclaration(ctx, a.store, next)
		if err != nil || d == nil {
			return c, again && len(found) == 0, err
		}
		c = next
	}
}

// enter goes on behind the end of a chain. Nothing may be in hand.
func (a *Archiver) enter(ctx context.Context, c Chain) error {
	tip, err := a.loadTip(ctx, c)
	if err != nil {
		return err
	}
	a.trim.known = false
	a.begin(tip)
	if tip.Key != "" {
		return nil
	}
	d, err := readDeclaration(ctx, a.store, c)
	if err != nil || d == nil {
		return err
	}
	a.opened, a.arrival = a.cfg.Now(), tip.Arrival
	if d.Same == 0 {
		return nil
	}
	return a.open.Miss(d.Same, MissingGeneration)
}

// rewound deals with a stream that lost its tail while it was read: what is in hand
// goes where it belongs, and then the chain is loaded anew. It may be that another
// archiver, which had not read what was lost, has not noticed and went on in the same
// generation.
func (a *Archiver) rewound(ctx context.Context, created int64, what string) error {
	if !a.cfg.NextGeneration {
		latest, _, err := a.latest(ctx, created)
		if err != nil {
			return err
		}
		if latest == a.tip.Chain {
			return a.stop(what)
		}
	}
	if err := a.settle(ctx); err != nil {
		return err
	}
	if err := a.leave(ctx); err != nil {
		return err
	}
	a.cfg.Log.Error().Msg("archive: the stream lost messages: " + what + "; what was read of them is stored")
	return nil
}

func (a *Archiver) stop(what string) error {
	return fence.Incident(a.cfg.Stream, "rewound: %s; it lost messages that it had accepted: find out why, then open its next generation", what)
}

// next opens the next generation of a stream that holds something else than the end of
// its chain, as it is in the store. So nobody who reads the stream can add to that chain
// any more: at its place in it there is an object that contradicts it.
func (a *Archiver) next(ctx context.Context, info fence.Info, what string) error {
	if !a.cfg.NextGeneration {
		return a.stop(what)
	}
	end := a.open.Next()
	if err := a.leave(ctx); err != nil || a.tip.First != end { // of one that has nothing else, that it was declared
		return err
	}
	same, err := a.common(ctx, info)
	if err != nil {
		return fmt.Errorf("open generation %d: %w", a.tip.Epoch.Generation+1, err)
	}
	c := a.tip.Chain
	c.Epoch.Generation++
	d, err := declare(ctx, a.store, c, declaration{
		Prev: a.tip.Hash, Last: a.tip.First - 1, Arrival: a.tip.Arrival, Same: same.Seq, Message: same,
	})
	if err != nil {
		return err
	}
	a.cfg.Log.Error().Int("generation", c.Epoch.Generation).Uint64("same_up_to", d.Same).
		Msg("archive: " + what + "; opens the next generation")
	return nil
}

// declaration opens a generation, or the chain of a lost tail. It is put where none is,
// so that one archiver decides where the generation before ends and what both hold.
type declaration struct {
	Format  int    `json:"format"` // 1
	Prev    string `json:"prev,omitempty"`
	Last    uint64 `json:"last"`    // of the generation before, when it was declared
	Arrival int64  `json:"arrival"` // the running maximum before its first message, Unix ns
	Same    uint64 `json:"same"`    // up to here it is what a generation before it holds
	// Message is the last that both hold, without an ID where the stream had been trimmed
	// of it: one that it holds there later is another.
	Message Mark `json:"message,omitzero"`
}

func declarationKey(c Chain) string { return "generation/" + c.String() + ".json" }

// tip is the beginning of the chain that was declared.
func (d *declaration) tip(c Chain) Tip {
	t := newTip(c, d.Arrival, d.Prev)
	t.Message = d.Message
	return t
}

// hangs tells whether the chain begins behind a message, instead of one with a sequence.
func (d *declaration) hangs(behind Mark, seq uint64) bool {
	return behind.Seq <= d.Same && d.Same < seq && (d.Message.ID == "" || d.Message == behind)
}

// declare opens a chain, or gives what another archiver declared before.
func declare(ctx context.Context, store Store, c Chain, d declaration) (*declaration, error) {
	d.Format = 1
	if err := putJSON(ctx, store, declarationKey(c), &d); err != nil && !errors.Is(err, ErrExists) {
		return nil, fmt.Errorf("declare %s: %w", c, err)
	}
	return readDeclaration(ctx, store, c)
}

// readDeclaration reads what was declared of a chain, nil for nothing.
func readDeclaration(ctx context.Context, store Store, c Chain) (*declaration, error) {
	var d declaration
	err := readJSON(ctx, store, declarationKey(c), &d)
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if d.Format != 1 {
		return nil, &ManifestError{declarationKey(c), fmt.Sprintf("its format is %d; this build reads 1", d.Format)}
	}
	return &d, nil
}

// common is the last message of the archive that the stream holds too: all before it
// were the same. What the stream has been trimmed of was the same.
func (a *Archiver) common(ctx context.Context, info fence.Info) (same Mark, err error) {
	var entries []fence.Entry
	compare := func(r *Record) error {
		for len(entries) > 0 && entries[0].Seq < r.Seq {
			entries = entries[1:]
		}
		if len(entries) == 0 && r.Seq <= info.Last {
			if entries, err = a.log.Read(ctx, a.cfg.Stream, r.Seq, batch); err != nil {
				return err
			}
		}
		if len(entries) == 0 || !r.of(&entries[0]) {
			return errEnough
		}
		same = markOf(&entries[0])
		return nil
	}
	// A generation that has nothing of the stream may hang on one that has.
	for c := a.tip.Chain; same.Seq == 0 && err == nil; c.Epoch.Generation-- {
		entries = nil
		if err = a.walk(ctx, c, info.First, compare); c.Epoch.Generation == 0 {
			break
		}
	}
	if same.Seq < info.First {
		same = Mark{Seq: info.First - 1}
	}
	return same, err
}

// errEnough ends a walk.
var errEnough = errors.New("enough")

// walk gives the messages of a chain from a sequence on to fn, those of segments as far
// as it can read them.
func (a *Archiver) walk(ctx context.Context, c Chain, from uint64, fn func(*Record) error) error {
	m, err := ReadManifest(ctx, a.store, c)
	if err != nil {
		return err
	}
	rest, err := m.Rest(ctx, a.store)
	if err != nil {
		return err
	}
	f := &Filter{From: from}
	for _, s := range m.Segments {
		if a.cfg.Segments != nil && s.Last >= from && err == nil {
			err = a.cfg.Segments(ctx, c, s, func(r *Record) error {
				if r.Seq < from {
					return nil
				}
				return fn(r)
			})
		}
	}
	var tip Tip
	for i, o := range rest {
		behind := i+1 == len(rest) || rest[i+1].Name.First > from
		ghost := tip.Key != "" && o.Name.before(tip.Name)
		if behind && !ghost && err == nil {
			_, err = catObject(ctx, a.store, o, &tip, f, fn)
		}
	}
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}
