package archive

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/dermai/millrace/schemas"
)

// compacted checks what of a chain is in segments: that its commits follow each
// other, that the indexes which they carry make the chain that the objects made,
// and that the segments are there, as they were written if the verification is
// full, but for those that retention condemned. It moves the tip behind them. carried
// are the hashes of the objects that were replaced, by key.
func (v *verifier) compacted(c Chain, tip *Tip, r *ChainReport) (carried map[string]string, err error) {
	carried = map[string]string{}
	known := &Manifest{Chain: c} // what the commits up to the first broken one say
	_, err = readManifest(v.ctx, v.store, c, false, func(commit *Commit) error {
		if commit.Retention != nil {
			return known.retain(commit.Retention)
		}
		for _, text := range commit.Objects {
			x, hash, err := parseCarried(text)
			if err != nil {
				return err
			}
			n := Name{c, x.Day, x.First}
			carried[n.Key()] = hash
			if err := tip.Follow(n, x, hash); err != nil {
				v.problem(commitKey(c, commit.Version), n.First, fmt.Sprintf("the index of %s that it carries: %v", n.Key(), err))
				*tip = tipAfter(n, x, hash)
			}
			v.count(r, x, hash)
		}
		known.Segments = append(known.Segments, commit.Segment)
		return nil
	})
	broken := (*ManifestError)(nil)
	if err != nil && !errors.As(err, &broken) {
		return nil, err
	}
	if broken != nil {
		v.problem(broken.Key, tip.First, broken.What)
	}
	r.Deleted = known.Deleted
	for _, s := range known.Segments {
		r.Segments++
		if err := v.segment(c, &s, r); err != nil {
			return nil, err
		}
	}
	if broken != nil {
		return carried, nil //nolint:nilerr // it is a problem of the archive, and told
	}
	return carried, v.removed(known, carried)
}

// count adds what an index covers to a report.
func (v *verifier) count(r *ChainReport, x *Index, hash string) {
	if r.Hash == "" {
		r.ArrivalFrom = x.ArrivalFrom
	}
	r.Head = Head{r.Chain, x.Last, hash}
	v.hashes[hash] = true
	if slices.Contains(v.o.Kept, r.Head) {
		v.seen = append(v.seen, r.Head)
	}
	r.Count += x.Count
	r.Ticks += x.Ticks
	r.Arrival = x.ArrivalTo
	if v.o.within(x.ArrivalFrom, x.ArrivalTo) {
		r.Missing = append(r.Missing, x.Missing...)
	}
}

// segment checks the object of a segment.
func (v *verifier) segment(c Chain, s *Segment, r *ChainReport) error {
	full := v.o.Full && v.o.within(s.ArrivalFrom, s.ArrivalTo)
	off, n := max(0, s.Bytes-1), int64(2) // the last byte, and nothing behind it
	if full {
		off, n = 0, -1
	}
	body, err := v.store.Get(v.ctx, s.Key, off, n)
	if errors.Is(err, ErrNotFound) {
		v.problem(s.Key, s.First, "the segment is not there")
		return nil
	}
	if err != nil {
		return err
	}
	defer body.Close()
	h := sha256.New()
	size, err := io.Copy(h, body)
	if err != nil {
		return err
	}
	r.Bytes += s.Bytes
	switch {
	case !full && size != 1:
		v.problem(s.Key, s.First, fmt.Sprintf("the segment does not have the %d bytes that were written", s.Bytes))
	case full && hex.EncodeToString(h.Sum(nil)) != s.SHA256:
		v.problem(s.Key, s.First, "the segment is not as it was written")
	case full && v.o.Each != nil && v.o.Segments != nil:
		err := v.o.Segments(v.ctx, c, *s, func(rec *Record) error { return v.give(c, rec, v.o.Each) })
		if errors.Is(err, ErrNotFound) {
			v.problem(s.Key, s.First, "it was removed while it was being verified")
			return nil
		}
		return err
	}
	return nil
}

// removed reports objects of the audit trail that are gone: theirs stay beside
// their segments, until retention removes both.
func (v *verifier) removed(m *Manifest, carried map[string]string) error {
	if m.Chain.Class == string(schemas.Telemetry) || len(carried) == 0 {
		return nil
	}
	there := map[string]bool{}
	for o, err := range v.store.List(v.ctx, m.Chain.prefix(), "") {
		if err != nil {
			return err
		}
		there[o.Key] = true
	}
	for key := range carried {
		n, err := ParseKey(key)
		if err != nil {
			return err
		}
		if !there[key] && m.owner(n).At == 0 {
			v.problem(key, 0, "it was removed, although its segment is there: objects of its class stay")
		}
	}
	return nil
}

// replaced checks an object that a segment replaced and that is still there: in a
// full verification it must have the hash that its segment's commit carries.
func (v *verifier) replaced(o Object, n Name, hash string) error {
	if !v.o.Full || !v.o.days(n.Day) {
		return nil
	}
	_, got, err := v.object(o, n, nil)
	switch corrupt := (*CorruptError)(nil); {
	case errors.As(err, &corrupt):
		v.problem(o.Key, max(n.First, corrupt.After+1), corrupt.Error())
	case errors.Is(err, ErrNotFound): // removed meanwhile, as it may be
	case err != nil:
		return err
	case got != hash:
		v.problem(o.Key, n.First, "it is another object than the one that was compacted")
	}
	return nil
}
