package archiver

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/dermai/millrace/archive"
	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/pipeline"
	"github.com/dermai/millrace/schemas"
)

// RestorePlan is what Restore makes of a stream that was lost.
type RestorePlan struct {
	Stream   string `json:"stream"`
	Epoch    string `json:"epoch"`    // of its chain, which goes on
	First    uint64 `json:"first"`    // the first sequence that is restored
	Archived uint64 `json:"archived"` // the last one
	End      uint64 `json:"end"`      // the last that it had given, as far as is known: those behind Archived are lost
	Messages uint64 `json:"messages"`
	Bytes    int64  `json:"bytes"` // in the stream
	Arrived  int64  `json:"arrived"`

	created  int64
	messages func(ctx context.Context) iter.Seq2[*fence.Entry, error]
}

// Lost tells how many sequences cannot be restored.
func (p *RestorePlan) Lost() uint64 { return p.End - p.Archived }

// PlanRestore finds what of a stream can be restored: what arrived since a time (Unix
// ns; 0: within the replay window before the end of the archive), and what its
// reducer has not read. It is refused where going on would be a lie: the stream is in
// use, or its reducer has read another one. The error is pipeline.ErrRestored if the
// stream was restored already.
func PlanRestore(ctx context.Context, conn *pipeline.Conn, store archive.Store, stream string, since int64) (*RestorePlan, error) {
	p, err := partitionOf(stream)
	if err != nil {
		return nil, err
	}
	log := conn.Log()
	defer log.Close()
	at, err := position(ctx, log, p)
	if err != nil {
		return nil, err
	}
	chain, tip, err := lostChain(ctx, store, p, at)
	if err != nil {
		return nil, err
	}
	if err := pipeline.Restorable(ctx, conn, stream, chain.Epoch.Created); err != nil {
		return nil, err
	}
	plan := &RestorePlan{Stream: stream, Epoch: chain.Epoch.String(), Archived: tip.First - 1, created: chain.Epoch.Created}
	plan.End = max(plan.Archived, at.To.Seq)
	if since == 0 {
		since = tip.Arrival - int64(pipeline.ReplayWindow)
	}
	if err := plan.read(ctx, store, chain, 0, since); err != nil {
		return nil, err
	}
	// What its reducer has not read to the end is restored, however old it is.
	if need := max(at.To.Seq, 1); need <= plan.Archived && plan.First > need {
		if err := plan.read(ctx, store, chain, need, 0); err != nil {
			return nil, fmt.Errorf("its reducer has read up to %d: %w", at.To.Seq, err)
		}
	}
	return plan, nil
}

// read counts what is to be restored from a sequence or an arrival on.
func (p *RestorePlan) read(ctx context.Context, store archive.Store, chain archive.Chain, from uint64, since int64) error {
	p.First, p.Messages, p.Bytes = p.End+1, 0, 0
	p.messages = func(ctx context.Context) iter.Seq2[*fence.Entry, error] {
		return archive.Tail(ctx, store, chain, from, since)
	}
	for e, err := range p.messages(ctx) {
		if err != nil {
			return err
		}
		if p.Messages == 0 {
			p.First = e.Seq
		}
		p.Messages++
		p.Bytes += pipeline.StoredBytes(e)
		p.Arrived = max(p.Arrived, e.Time)
	}
	return nil
}

// Restore does what was planned. progress, if set, is told how many messages were
// sent.
func (p *RestorePlan) Restore(ctx context.Context, conn *pipeline.Conn, layout pipeline.Layout, progress func(uint64)) error {
	return pipeline.Restore(ctx, conn, layout, pipeline.Restoration{
		Stream: p.Stream, Created: p.created, First: p.First, Archived: p.Archived, End: p.End,
		Messages: p.Messages, Bytes: p.Bytes, Entries: p.messages(ctx), Progress: progress,
	})
}

// partitionOf gives the partition of a stream of events.
func partitionOf(stream string) (schemas.Partition, error) {
	name, events := strings.CutPrefix(stream, "EVENTS_")
	if stream == schemas.StreamAudit {
		return schemas.Audit, nil
	}
	if p, err := schemas.ParsePartition(name); events && err == nil && p.Stream() == stream {
		return p, nil
	}
	return 0, fmt.Errorf("stream %q: only EVENTS_<p> and AUDIT can be restored; what evaluators and senders did rests on everything that ALERTS and CONTROL had, "+
		"and without what nobody had archived they would decide and tell again", stream)
}

// position is how far the reducer of a partition has read; zero: nothing.
func position(ctx context.Context, log fence.Log, p schemas.Partition) (at schemas.Partial, err error) {
	head, err := log.Head(ctx, p.Partials())
	if err != nil {
		return at, fmt.Errorf("how far the reducer of %s has read: %w", p.Stream(), fence.Missing(err, p.Partials()))
	}
	if head.Header[schemas.HeaderType] == schemas.TypeGenesis {
		return at, nil
	}
	if err := schemas.DecodeInto(head.Data, &at); err != nil {
		return at, fmt.Errorf("how far the reducer of %s has read: message %d: %w", p.Stream(), head.Seq, err)
	}
	return at, nil
}

// lostChain is the chain that is restored: the last one with messages, which must be
// of the stream that the reducer has read.
func lostChain(ctx context.Context, store archive.Store, p schemas.Partition, at schemas.Partial) (archive.Chain, archive.Tip, error) {
	chains, err := archive.Chains(ctx, store, string(p.Class()), p.Stream())
	if err != nil {
		return archive.Chain{}, archive.Tip{}, err
	}
	chains = slices.DeleteFunc(chains, func(c archive.Chain) bool { return c.Epoch.Lost > 0 }) // what it had lost before
	for _, chain := range slices.Backward(chains) {
		tip, err := archive.End(ctx, store, chain)
		if errors.Is(err, archive.ErrNotFound) || err == nil && tip.First == 1 {
			continue // nothing was archived of it
		}
		if err != nil {
			return archive.Chain{}, archive.Tip{}, err
		}
		if created := chain.Epoch.Created; at.Created != 0 && at.Created != created {
			return archive.Chain{}, archive.Tip{}, fmt.Errorf("the archive's last chain of %s is of a stream created %s, and its reducer has read one created %s: "+
				"with that one back it would still not go on", p.Stream(), clock(created), clock(at.Created))
		}
		return chain, tip, nil
	}
	return archive.Chain{}, archive.Tip{}, fmt.Errorf("the archive holds nothing of %s", p.Stream())
}

func clock(ns int64) string { return time.Unix(0, ns).UTC().Format(time.RFC3339) }
