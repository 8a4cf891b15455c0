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
			a.loaded = false
			return nil
		}
	}
	if !a.cfg.NextGeneration {
		return fence.Incident(a.cfg.Stream, "rewound: %s; it lost messages that it had accepted: find out why, then open its next generation", what)
	}
	// What the stream lost and only this archiver still has belongs to the old
	// generation.
	if err := a.flush(ctx); err != nil {
		return err
	}
	same, err := a.common(ctx, info)
	if err != nil {
		return fmt.Errorf("open generation %d: %w", a.tip.Epoch.Generation+1, err)
	}
	chain := a.tip.Chain
	chain.Epoch.Generation++
	a.begin(newTip(chain, a.tip.Arrival, a.tip.Hash))
	a.trim.queue = nil // of sequences that are used again
	a.opened, a.arrival = a.cfg.Now(), a.tip.Arrival
	a.cfg.Log.Error().Int("generation", chain.Epoch.Generation).Uint64("same_up_to", same).
		Msg("archive: " + what + "; opened the next generation")
	if same == 0 {
		return nil
	}
	return a.open.Miss(same, MissingGeneration)
}

// common is the last sequence up to which the chain and the stream hold the same
// messages. What the stream has been trimmed of was the same.
func (a *Archiver) common(ctx context.Context, info fence.Info) (same uint64, err error) {
	first, ok, err := firstObject(ctx, a.store, a.tip.prefix(), "")
	if err != nil {
		return 0, err
	}
	if n, err := ParseKey(first.Key); ok && err == nil && n.First > info.First {
		info.First = n.First // what was compacted and removed since was the same
	}
	same = info.First - 1
	var entries []fence.Entry
	differ := errors.New("differ")
	f := Filter{From: info.First, To: info.Last}
	err = catChain(ctx, a.store, a.tip.Chain, &f, func(r *Record) error {
		for len(entries) > 0 && entries[0].Seq < r.Seq {
			entries = entries[1:]
		}
		if len(entries) == 0 {
			if entries, err = a.log.Read(ctx, a.cfg.Stream, r.Seq, batch); err != nil {
				return err
			}
		}
		if len(entries) == 0 || entries[0].Seq != r.Seq || markOf(&entries[0]) != markOf(r.entry()) {
			return differ
		}
		same = r.Seq
		return nil
	})
	if err != nil && !errors.Is(err, differ) {
		return 0, err
	}
	return same, nil
}
