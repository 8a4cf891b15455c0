package archive

import (
	"context"
	"errors"
	"fmt"

	"github.com/dermai/millrace/fence"
)

// rewound deals with a stream that lost its tail. If somebody has opened a later
// generation, that one is gone on with; otherwise it is an incident, or the next
// generation is opened if the configuration says so.
func (a *Archiver) rewound(ctx context.Context, info fence.Info, what string) error {
	found, _, err := chains(ctx, a.store, a.class, a.cfg.Stream)
	if err != nil {
		return err
	}
	for _, c := range found {
		if c.Epoch.Created == info.Created && c.Epoch.Generation > a.tip.Epoch.Generation {
			err := a.flush(ctx) // what only this archiver still has belongs to the old one
			a.loaded = a.loaded && err != nil
			return err
		}
	}
	next := a.tip.Chain
	next.Epoch.Generation++
	d, err := readDeclaration(ctx, a.store, next)
	if err != nil {
		return err
	}
	if d == nil && !a.cfg.NextGeneration {
		return fence.Incident(a.cfg.Stream, "rewound: %s; it lost messages that it had accepted: find out why, then open its next generation", what)
	}
	if err := a.flush(ctx); err != nil { // as above
		return err
	}
	if d != nil {
		return a.generation(next, d, what)
	}
	same, err := a.common(ctx, info)
	if err != nil {
		return fmt.Errorf("open generation %d: %w", a.tip.Epoch.Generation+1, err)
	}
	d, err = declare(ctx, a.store, next, declaration{Format: 1, Prev: a.tip.Hash, Last: a.tip.First - 1, Arrival: a.tip.Arrival, Same: same})
	if err != nil {
		return err
	}
	return a.generation(next, d, what)
}

// generation goes on in the generation that was declared.
func (a *Archiver) generation(chain Chain, d *declaration, what string) error {
	a.begin(newTip(chain, d.Arrival, d.Prev))
	a.trim.queue = nil // of sequences that are used again
	a.opened, a.arrival = a.cfg.Now(), a.tip.Arrival
	a.cfg.Log.Error().Int("generation", chain.Epoch.Generation).Uint64("same_up_to", d.Same).
		Msg("archive: " + what + "; goes on in the next generation")
	if d.Same == 0 {
		return nil
	}
	return a.open.Miss(d.Same, MissingGeneration)
}

// declaration opens a generation. It is put where none is, so that one archiver
// decides where the generation before ends and what both hold.
type declaration struct {
	Format  int    `json:"format"` // 1
	Prev    string `json:"prev,omitempty"`
	Last    uint64 `json:"last"`    // of the generation before, when it was declared
	Arrival int64  `json:"arrival"` // and its running maximum there, Unix ns
	Same    uint64 `json:"same"`    // up to here both are the same; the generation before holds it
}

func declarationKey(c Chain) string { return "generation/" + c.String() + ".json" }

// declare opens a generation, or gives what another archiver declared before.
func declare(ctx context.Context, store Store, c Chain, d declaration) (*declaration, error) {
	if err := putJSON(ctx, store, declarationKey(c), &d); err != nil && !errors.Is(err, ErrExists) {
		return nil, fmt.Errorf("declare %s: %w", c, err)
	}
	return readDeclaration(ctx, store, c)
}

// readDeclaration reads what was declared of a generation, nil for nothing.
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

// common is the last sequence up to which the chain and the stream hold the same
// messages. What the stream has been trimmed of was the same.
func (a *Archiver) common(ctx context.Context, info fence.Info) (same uint64, err error) {
	m, err := ReadManifest(ctx, a.store, a.tip.Chain)
	if err != nil {
		return 0, err
	}
	rest, err := m.Rest(ctx, a.store)
	if err != nil {
		return 0, err
	}
	same = info.First - 1
	var entries []fence.Entry
	differ := errors.New("differ")
	compare := func(r *Record) error {
		if r.Seq < info.First {
			return nil
		}
		for len(entries) > 0 && entries[0].Seq < r.Seq {
			entries = entries[1:]
		}
		if len(entries) == 0 && r.Seq <= info.Last {
			if entries, err = a.log.Read(ctx, a.cfg.Stream, r.Seq, batch); err != nil {
				return err
			}
		}
		if len(entries) == 0 || !r.of(&entries[0]) {
			return differ
		}
		same = r.Seq
		return nil
	}
	for _, s := range m.Segments {
		if a.cfg.Segments != nil && s.Last >= info.First && err == nil {
			err = a.cfg.Segments(ctx, m.Chain, s, compare)
		}
	}
	var tip Tip
	for i, o := range rest {
		behind := i+1 == len(rest) || rest[i+1].Name.First > info.First
		if behind && err == nil {
			_, err = catObject(ctx, a.store, o, &tip, &Filter{From: info.First}, compare)
		}
	}
	if err != nil && !errors.Is(err, differ) {
		return 0, err
	}
	return same, nil
}
