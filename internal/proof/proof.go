package proof

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/dermai/millrace/archive"
	"github.com/dermai/millrace/archive/compact"
	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/schemas"
)

// Config says what is compared.
type Config struct {
	Store archive.Store
	// Log is the broker. nil: the archive alone.
	Log fence.Log
	// Partitions are those that the broker has.
	Partitions []schemas.Partition
	// Quarantined gives every item of the quarantine to fn. nil: it is not compared.
	Quarantined func(ctx context.Context, fn func(schemas.Quarantined) error) error
	// Covered is the last sequence of a partition of which every event is counted, or
	// in quarantine. Needed with Quarantined.
	Covered func(ctx context.Context, p schemas.Partition) (uint64, error)
	// Expect are the publishers that must speak.
	Expect []Expected
	// Since and Until bound what is looked at by its arrival, Unix ns; 0: no bound.
	Since, Until int64
	// Progress, if set, is told now and then where the run is.
	Progress func(stream string, messages uint64, arrival int64)
	// Now is time.Now if it is nil.
	Now func() time.Time
}

// run is a running proof.
type run struct {
	Config
	*ledger
	refused  *refusals
	deleted  deletions
	stream   *Stream // that is being read
	from     int64   // arrival from which it is looked at, Unix ns
	mirror   *mirror // nil: the broker is not asked, or does not have the stream
	last     int64   // the latest arrival
	lost     Finding // sequences, not yet told
	messages uint64
}

// Run compares. An error means that it could not find out, and is no verdict.
func Run(ctx context.Context, c Config) (*Report, error) {
	if c.Now == nil {
		c.Now = time.Now
	}
	report := &Report{Format: 1, Since: c.Since, Until: c.Until, Findings: []Finding{}, Streams: []Stream{}, Heads: []archive.Head{}}
	recorded, err := readReports(ctx, c.Store, c.Since, c.Until)
	if err != nil {
		return nil, fmt.Errorf("verify: %w", err)
	}
	chains, err := archive.Chains(ctx, c.Store, "", "")
	if err != nil {
		return nil, fmt.Errorf("verify: %w", err)
	}
	before := recorded.before(c.Since)
	r := &run{Config: c, ledger: newLedger(report, before, c.Since <= earliest(chains))}
	if r.deleted, err = readDeletions(ctx, c.Store); err != nil {
		return nil, fmt.Errorf("verify: %w", err)
	}
	for _, e := range c.Expect {
		r.spoken = append(r.spoken, &spoken{Expected: e})
	}
	if r.refused, err = r.readRefusals(ctx); err != nil {
		return nil, fmt.Errorf("verify: %w", err)
	}
	for _, name := range r.streams(chains) {
		if err := r.verify(ctx, name, chains, recorded.kept(name)); err != nil {
			return nil, fmt.Errorf("verify %s: %w", name, err)
		}
	}
	r.refused.close(r)
	r.compareDays(recorded)
	r.compareSilence(before)
	r.unchecked()
	r.close()
	report.Ended = c.Now().UnixNano()
	return report, nil
}

// streams are those that the archive or the broker has.
func (r *run) streams(chains []archive.Chain) []string {
	var names []string
	for _, c := range chains {
		names = append(names, c.Stream)
	}
	if r.Log != nil {
		names = append(names, schemas.StreamAlerts, schemas.StreamControl)
		for _, p := range r.Partitions {
			names = append(names, p.Stream())
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// verify reads one stream: its chains, and then what is not archived yet.
func (r *run) verify(ctx context.Context, name string, chains []archive.Chain, kept []archive.Head) error {
	r.report.Streams = append(r.report.Streams, Stream{Stream: name})
	r.stream = &r.report.Streams[len(r.report.Streams)-1]
	r.from = max(r.Since, r.deleted[name])
	r.cut = r.from > r.Since
	chains = slices.DeleteFunc(slices.Clone(chains), func(c archive.Chain) bool { return c.Stream != name })
	if err := r.openMirror(ctx, name, chains); err != nil {
		return err
	}
	found, err := archive.Verify(ctx, r.Store, archive.Options{
		Full: true, Streams: []string{name}, Kept: kept, Since: r.from, Until: r.Until,
		Segments: compact.Segments(r.Store),
		Each:     func(rec *archive.Record) error { return r.archived(ctx, rec) },
	})
	if err != nil {
		return err
	}
	r.flushLost()
	for _, p := range found.Problems {
		r.find(Finding{Kind: Archive, Where: p.Key, Stream: name, From: p.Seq, What: strings.TrimPrefix(p.String(), p.Key+": ")})
	}
	var tip archive.ChainReport
	for _, c := range found.Chains {
		r.report.Heads = append(r.report.Heads, c.Head)
		r.epochs(name, &c)
		for _, m := range c.Missing {
			if m.Reason != archive.MissingGeneration {
				r.find(Finding{Kind: Lost, Where: name, Stream: name, From: m.From, To: m.To,
					What: span("sequence", m.From, m.To) + " missing: " + m.Reason + " before archived"})
			}
		}
		if r.mirror != nil && c.Chain == r.mirror.chain.String() {
			tip = c
		}
	}
	if r.mirror == nil {
		return nil
	}
	return r.waiting(ctx, tip)
}

// openMirror prepares to read what the broker has of a stream.
func (r *run) openMirror(ctx context.Context, name string, chains []archive.Chain) error {
	r.mirror = nil
	if r.Log == nil {
		return nil
	}
	info, err := r.Log.Info(ctx, name)
	if err != nil {
		return err
	}
	r.mirror = &mirror{log: r.Log, info: info, stream: name}
	if c, ok := archive.Latest(chains); ok && c.Epoch.Created == info.Created {
		r.mirror.chain = c
	}
	if n := len(chains); n > 0 && info.Created > chains[n-1].Epoch.Created && r.within(info.Created) {
		r.find(Finding{Kind: Broker, Where: name, Stream: name, Since: info.Created, What: fmt.Sprintf(
			"it was made anew at %s; what the stream before it held and nobody had archived is gone", clock(info.Created))})
	}
	return nil
}

// epochs tells of a chain that it is not its stream's first.
func (r *run) epochs(name string, c *archive.ChainReport) {
	chain, err := archive.ParseChain(c.Chain)
	if err != nil || !r.within(c.ArrivalFrom) || chain.Epoch.Generation == 0 && chain.Epoch.Lost == 0 {
		return
	}
	what := fmt.Sprintf("generation %d, behind %s", chain.Epoch.Generation, clock(c.ArrivalFrom))
	if chain.Epoch.Lost > 0 {
		what = fmt.Sprintf("an archiver had read up to sequence %d of it, which is in %s, behind %s", c.Last, chain.Epoch, clock(c.ArrivalFrom))
	}
	r.find(Finding{Kind: Broker, Where: name, Stream: name, Since: c.ArrivalFrom,
		What: "it lost its tail and gave sequences again: " + what + "; what it had accepted and nobody had archived is gone"})
}

// within tells whether an arrival of the stream is looked at.
func (r *run) within(t int64) bool {
	return t >= r.from && (r.Until == 0 || t < r.Until)
}

// archived accounts for a message of the archive, and for what the stream has
// before it that the archive lacks.
func (r *run) archived(ctx context.Context, rec *archive.Record) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	r.stream.Archived++
	m := r.mirror
	if !m.holds(rec) {
		return r.message(ctx, rec)
	}
	if m.next == 0 {
		m.next = rec.Seq
		if r.from == 0 && m.chain.Epoch.Generation == 0 {
			m.next = m.info.First
		}
	}
	for {
		e, err := m.peek(ctx)
		if err != nil {
			return err
		}
		if e != nil && e.Seq < rec.Seq {
			m.next = e.Seq + 1
			r.lack(Archive, e.Seq, e.Seq, rec.Arrival, "in the stream and not in the archive, which goes on behind")
			if err := r.message(ctx, entry(m.chain, e, max(r.last, e.Time))); err != nil {
				return err
			}
			continue
		}
		m.next = rec.Seq + 1
		if e != nil && e.Seq == rec.Seq {
			if !same(rec, e) {
				r.lack(Broker, rec.Seq, rec.Seq, rec.Arrival, "another message in the stream than in the archive")
			}
		} else if gone, err := m.gone(ctx, rec.Seq); err != nil {
			return err
		} else if !gone {
			r.lack(Broker, rec.Seq, rec.Seq, rec.Arrival, "gone from the stream; the archive has it")
		}
		return r.message(ctx, rec)
	}
}

func entry(c archive.Chain, e *fence.Entry, arrival int64) *archive.Record {
	return &archive.Record{Chain: c, Seq: e.Seq, Arrival: arrival, Time: e.Time, Subject: e.Subject, Header: e.Header, Payload: e.Data}
}

// lack notes sequences, and tells those that follow each other as one.
func (r *run) lack(kind string, from, to uint64, arrival int64, what string) {
	f := &r.lost
	if f.Kind != kind || f.What != what || f.To+1 != from {
		r.flushLost()
		*f = Finding{Kind: kind, Where: r.stream.Stream, Stream: r.stream.Stream, From: from, Since: arrival, What: what}
	}
	f.To, f.Until = to, arrival
}

func (r *run) flushLost() {
	if f := r.lost; f.Kind != "" {
		f.What = span("sequence", f.From, f.To) + " " + f.What
		r.find(f)
	}
	r.lost = Finding{}
}

// waiting accounts for what the stream has behind the archive.
func (r *run) waiting(ctx context.Context, tip archive.ChainReport) error {
	m := r.mirror
	m.chain.Stream = m.stream
	now, err := r.Log.Info(ctx, m.stream)
	if err != nil {
		return err
	}
	if tip.Last > now.Last && now.Created == m.info.Created {
		r.lack(Broker, now.Last+1, tip.Last, tip.Arrival, "gone from the stream, which ends before: it lost its tail; the archive has it")
	}
	m.next = max(m.next, tip.Last+1)
	arrival := tip.Arrival
	for {
		e, err := m.peek(ctx)
		if err != nil {
			return err
		}
		end := m.info.Last + 1
		if e != nil {
			end, arrival = e.Seq, max(arrival, e.Time)
		}
		if end > m.next && r.within(arrival) {
			if gone, err := m.gone(ctx, m.next); err != nil {
				return err
			} else if gone && m.next >= m.info.First {
				return fmt.Errorf("sequence %d was archived and removed while it was waited for: run again", m.next)
			}
			r.lack(Lost, m.next, end-1, arrival, "neither in the archive nor in the stream")
		}
		m.next = end + 1
		if e == nil {
			break
		}
		if !r.within(arrival) {
			continue
		}
		r.stream.Waiting++
		if err := r.message(ctx, entry(m.chain, e, arrival)); err != nil {
			return err
		}
	}
	r.flushLost()
	return nil
}

// unchecked says what could not be looked at.
func (r *run) unchecked() {
	if r.Log == nil {
		r.report.Unchecked = append(r.report.Unchecked,
			"the broker: whether the archive lacks what came last, and whether events that no reader can read are in quarantine")
	} else if r.Quarantined == nil {
		r.report.Unchecked = append(r.report.Unchecked, "the quarantine")
	}
	for _, name := range slices.Sorted(maps.Keys(r.deleted)) {
		if t := r.deleted[name]; t > r.Since {
			r.report.Unchecked = append(r.report.Unchecked,
				fmt.Sprintf("%s before %s: retention deleted of it, and archive verify tells what", name, clock(t)))
		}
	}
	if r.report.Begun > 0 {
		r.report.Unchecked = append(r.report.Unchecked,
			fmt.Sprintf("what %d lanes sent before what was looked at", r.report.Begun))
	}
	if len(r.Expect) == 0 {
		r.report.Unchecked = append(r.report.Unchecked,
			"whether a publisher was silent that should have spoken: none is listed in verify.expect")
	}
}
