package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// Options says what Verify looks at.
type Options struct {
	// Full reads every message. Otherwise the keys and indexes are read, which
	// proves the chains but not the messages.
	Full    bool
	Streams []string // none: all
	// Kept are heads that somebody kept elsewhere. Each must still be in the
	// archive: then nothing before it was altered or removed since.
	Kept []Head
	// Since and Until bound what is read in full, and the problems of single objects
	// that are told, to what arrived Since <= arrival < Until, Unix ns, 0: no bound.
	// How the objects hang together is looked at from the beginning to the end.
	Since, Until int64
	// Each, if set, is given every message that a full verification reads, in order:
	// stream by stream, epoch by epoch, and each once, those of an object that is
	// damaged up to the damage. The record is valid during the call. An error of
	// Each ends Verify and is returned.
	Each func(*Record) error
	// Segments reads the messages of a segment for Each.
	Segments func(ctx context.Context, c Chain, s Segment, fn func(*Record) error) error
}

// within tells whether something of what arrived from one time to another is read.
func (o *Options) within(from, to int64) bool {
	return (o.Since == 0 || to >= o.Since) && (o.Until == 0 || from < o.Until)
}

// days tells whether something that arrived on a day is read.
func (o *Options) days(day string) bool {
	return (o.Since == 0 || day >= dayOf(o.Since)) && (o.Until == 0 || day <= dayOf(o.Until-1))
}

// Head commits to everything in a chain up to a sequence.
type Head struct {
	Chain string `json:"chain"` // <class>/<stream>/<epoch>
	Last  uint64 `json:"last"`  // the last sequence that it covers
	Hash  string `json:"hash"`
}

// Report is what Verify found.
type Report struct {
	Full     bool          `json:"full"`
	Chains   []ChainReport `json:"chains"`
	Problems []Problem     `json:"problems"`
}

// ChainReport sums up one epoch of a stream.
type ChainReport struct {
	Head        // of the chain's last object
	Objects int `json:"objects"`
	// Segments are those that objects were compacted into; what they hold counts too.
	Segments int    `json:"segments,omitzero"`
	Bytes    int64  `json:"bytes"`
	Count    uint64 `json:"count"` // messages, ticks too
	Ticks    uint64 `json:"ticks"`
	// ArrivalFrom is the running maximum before its first message; the chain is
	// complete from there up to Arrival, exclusive, Unix ns.
	ArrivalFrom int64 `json:"arrival_from"`
	Arrival     int64 `json:"arrival"`
	// Missing are the sequences that are recorded as missing, with the reasons: no
	// fault of the archive.
	Missing []Missing `json:"missing,omitempty"`
	// Deleted are the segments that retention deleted: no fault either. What they
	// held counts above.
	Deleted []Tombstone `json:"deleted,omitempty"`
}

// Problem is something that is not as it must be.
type Problem struct {
	Key  string `json:"key"`          // of the object, or the chain
	Seq  uint64 `json:"seq,omitzero"` // the first sequence that is in doubt, if known
	What string `json:"what"`         // a sentence
}

func (p Problem) String() string {
	if p.Seq > 0 {
		return fmt.Sprintf("%s: sequence %d: %s", p.Key, p.Seq, p.What)
	}
	return p.Key + ": " + p.What
}

// OK tells that nothing is wrong.
func (r *Report) OK() bool { return len(r.Problems) == 0 }

// Verify checks the archive: that each chain's objects follow each other without
// gap or overlap, that each names the hash of the one before it, and, if Full,
// that each message is as it was written. An error means that it could not find
// out, and is no verdict. It may run while archivers do.
func Verify(ctx context.Context, store Store, o Options) (Report, error) {
	v := verifier{ctx: ctx, store: store, o: o, report: Report{Full: o.Full}}
	all, stray, err := chains(ctx, store, "", "")
	if err != nil {
		return Report{}, fmt.Errorf("verify: %w", err)
	}
	for _, key := range stray {
		v.problem(key, 0, "the key is not one of an archive object")
	}
	var before Chain
	var hash string
	for _, c := range all {
		if len(o.Streams) > 0 && !slices.Contains(o.Streams, c.Stream) {
			continue
		}
		if c.Class != before.Class || c.Stream != before.Stream || c.Epoch.Created != before.Epoch.Created {
			before, hash, v.hashes = c, "", map[string]bool{}
			before.Epoch.Generation = -1
		}
		if hash, err = v.hangs(c, before, hash); err != nil {
			return Report{}, fmt.Errorf("verify: %w", err)
		}
		if hash, err = v.chain(c, hash); err != nil {
			return Report{}, fmt.Errorf("verify %s: %w", c, err)
		}
		before = c
	}
	for _, h := range o.Kept {
		if !slices.Contains(v.seen, h) {
			v.problem("l0/"+h.Chain, h.Last, fmt.Sprintf("the object with hash %.12s… that was kept is not there: what it covers was removed or altered", h.Hash))
		}
	}
	return v.report, nil
}

type verifier struct {
	ctx    context.Context
	store  Store
	o      Options
	report Report
	seen   []Head          // those of Kept that were found
	hashes map[string]bool // of the objects of the stream's chains so far
}

// hangs is the hash on which a chain hangs, given the chain before it, generation -1 for
// none, and the hash of the last object there.
func (v *verifier) hangs(c, before Chain, last string) (hash string, err error) {
	if c.Epoch.Generation == 0 && c.Epoch.Lost == 0 {
		return "", nil
	}
	// One that was declared may have got no object.
	for g := c; g.Epoch.Generation > before.Epoch.Generation+1; {
		g.Epoch.Generation--
		d, err := readDeclaration(v.ctx, v.store, g)
		if broken := (*ManifestError)(nil); err != nil && !errors.As(err, &broken) {
			return "", err
		}
		if d == nil {
			v.problem(strings.TrimSuffix(c.prefix(), "/"), 0, "the generation before it is not in the archive")
			break
		}
	}
	return v.declared(c, last)
}

// declared is the hash on which a generation or a lost tail hangs, given that of the last
// object of the one before. That one may have got objects since it was declared to
// end: what archivers still held of what the stream had lost.
func (v *verifier) declared(c Chain, last string) (string, error) {
	d, err := readDeclaration(v.ctx, v.store, c)
	if broken := (*ManifestError)(nil); errors.As(err, &broken) {
		v.problem(broken.Key, 0, broken.What)
		return last, nil
	}
	if err != nil || d == nil {
		return last, err
	}
	if d.Prev != "" && !v.hashes[d.Prev] {
		v.problem(declarationKey(c), 0, fmt.Sprintf("the generations before have no object with hash %.12s…, which was declared the last", d.Prev))
	}
	return d.Prev, nil
}

func (v *verifier) problem(key string, seq uint64, what string) {
	if _, rest, ok := strings.Cut(key, "/dt="); ok && !v.o.days(rest[:min(len(rest), len(time.DateOnly))]) {
		return
	}
	v.report.Problems = append(v.report.Problems, Problem{key, seq, what})
}

// chain checks one chain, given the hash that its first object must name, and
// returns the hash of its last.
func (v *verifier) chain(c Chain, prev string) (hash string, err error) {
	r := ChainReport{Head: Head{Chain: c.String()}}
	tip := newTip(c, 0, prev)
	lost := false // the object before could not be read, so nothing can be tied to it
	carried, err := v.compacted(c, &tip, &r)
	if err != nil {
		return "", err
	}
	for o, err := range v.store.List(v.ctx, c.prefix(), "") {
		if err != nil {
			return "", err
		}
		n, err := ParseKey(o.Key)
		if err != nil {
			v.problem(o.Key, 0, "the key is not one of an archive object")
			continue
		}
		if hash, ok := carried[o.Key]; ok {
			if err := v.replaced(o, n, hash); err != nil {
				return "", err
			}
			continue
		}
		if !lost && n.First < tip.First {
			v.problem(o.Key, n.First, fmt.Sprintf("a ghost: other objects cover everything up to %d, so that it does not count", tip.First-1))
			continue
		}
		x, hash, err := v.object(o, n, v.o.Each)
		if corrupt := (*CorruptError)(nil); errors.As(err, &corrupt) {
			v.problem(o.Key, max(n.First, corrupt.After+1), corrupt.Error())
			lost = true
			continue
		}
		if errors.Is(err, ErrNotFound) {
			v.problem(o.Key, n.First, "it was removed while it was being verified")
			lost = true
			continue
		}
		if err != nil {
			return "", err
		}
		if lost {
			err = x.check(n)
		} else {
			err = tip.Follow(n, x, hash)
		}
		if err != nil {
			v.problem(o.Key, min(n.First, tip.First), err.Error())
		}
		tip, lost = tipAfter(n, x, hash), false
		r.Objects++
		r.Bytes += o.Size
		v.count(&r, x, hash)
	}
	v.report.Chains = append(v.report.Chains, r)
	return tip.Hash, nil
}

// object reads an object's index and, if the verification is full, everything else
// of it, which it gives to each if the index is that of n.
func (v *verifier) object(o Object, n Name, each func(*Record) error) (*Index, string, error) {
	x, hash, err := readIndex(v.ctx, v.store, o)
	if err != nil || !v.o.Full || !v.o.within(x.ArrivalFrom, x.ArrivalTo) {
		return x, hash, err
	}
	if x.check(n) != nil {
		each = nil
	}
	body, err := v.store.Get(v.ctx, o.Key, 0, -1)
	if err != nil {
		return nil, "", err
	}
	defer body.Close()
	r := NewReader(body)
	for {
		rec, err := r.Next()
		if err == io.EOF {
			return r.Index(), r.Hash(), nil
		}
		if err != nil {
			return nil, "", err
		}
		if !r.readable() {
			return nil, "", r.corrupt(r.off, "the payload of sequence %d does not decode", rec.Seq)
		}
		if err := v.give(n.Chain, rec, each); err != nil {
			return nil, "", err
		}
	}
}

// give hands a message over that is within the bounds.
func (v *verifier) give(c Chain, r *Record, each func(*Record) error) error {
	if each == nil || !v.o.within(r.Arrival, r.Arrival) {
		return nil
	}
	r.Chain = c
	return each(r)
}
