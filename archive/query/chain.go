package query

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/dermai/millrace/archive"
	"github.com/dermai/millrace/archive/segment"
)

// reader reads one chain, piece by piece.
type reader struct {
	store archive.Store
	chain archive.Chain
	want  wanted
	stats *Stats
	// progress, if set, is told of each piece.
	progress func(Stats)

	planned bool   // the totals are counted
	next    uint64 // the sequence that comes next
	arrival int64  // running maximum before it
	ended   bool   // nothing behind is wanted
}

// wanted tells what of a chain is to be read.
type wanted interface {
	// segment tells whether a segment may hold something, object the same of an
	// object that arrived up to arrivalTo at most, and behind that nothing does of
	// which the arrival is this or later.
	segment(s *archive.Segment) bool
	object(first uint64, arrivalTo int64) bool
	behind(seq uint64, arrival int64) bool
	// read gives on what is wanted of a segment, from a sequence on.
	read(f *segment.File, from uint64) error
	// message gives on what is wanted of a message.
	message(r *archive.Record) error
	// broken is told of a segment that cannot be read. nil: go on behind it.
	broken(s *archive.Segment, err error) error
}

// run reads the chain to its end.
func (r *reader) run(ctx context.Context) error {
	for {
		m, rest, err := plan(ctx, r.store, r.chain)
		if err != nil {
			return err
		}
		r.total(m, rest)
		if err = r.segments(ctx, m); err == nil {
			err = r.objects(ctx, m, rest)
		}
		if !errors.Is(err, archive.ErrNotFound) {
			return err
		}
		// An object that is gone was compacted since the manifest was read.
		again, failed := archive.ReadManifest(ctx, r.store, r.chain)
		if failed != nil {
			return failed
		}
		if again.Version == m.Version {
			return err
		}
	}
}

// total counts what the chain has, once.
func (r *reader) total(m *archive.Manifest, rest []archive.Named) {
	if r.planned {
		return
	}
	r.planned = true
	for _, s := range m.Segments {
		r.stats.Total += s.Bytes
	}
	for _, o := range rest {
		r.stats.Total += o.Size
	}
}

// plan finds what a chain consists of: what its manifest says, and the objects
// behind that.
func plan(ctx context.Context, store archive.Store, c archive.Chain) (*archive.Manifest, []archive.Named, error) {
	for {
		m, err := archive.ReadManifest(ctx, store, c)
		if err != nil {
			return nil, nil, err
		}
		rest, err := m.Rest(ctx, store)
		if err != nil {
			return nil, nil, fmt.Errorf("objects of %s: %w", c, err)
		}
		if len(rest) > 0 && rest[0].Name.First == m.Through()+1 {
			return m, rest, nil
		}
		// The first ones were compacted and removed between the two looks.
		again, err := archive.ReadManifest(ctx, store, c)
		if err != nil {
			return nil, nil, err
		}
		if again.Version == m.Version {
			return nil, nil, fmt.Errorf("chain %s: no object follows sequence %d", c, m.Through())
		}
	}
}

func (r *reader) segments(ctx context.Context, m *archive.Manifest) error {
	for i := range m.Segments {
		s := &m.Segments[i]
		r.passed(s.Bytes)
		if s.Last < r.next || r.ended {
			continue
		}
		if r.want.behind(max(s.First, 1), s.ArrivalFrom) {
			r.ended = true
			return nil
		}
		r.stats.Segments++
		if r.want.segment(s) {
			if err := r.segment(ctx, s); err != nil {
				return err
			}
		}
		r.next, r.arrival = s.Last+1, s.ArrivalTo
	}
	return nil
}

// passed counts what is being read or passed over.
func (r *reader) passed(bytes int64) {
	r.stats.Passed += bytes
	if r.progress != nil {
		r.progress(*r.stats)
	}
}

func (r *reader) segment(ctx context.Context, s *archive.Segment) error {
	r.stats.SegmentsRead++
	f, err := segment.Open(&objectReader{ctx, r.store, s.Key}, s.Bytes, r.chain, s.Rows)
	if err == nil {
		err = r.want.read(f, r.next)
		r.stats.Cost.Add(f.Cost)
	}
	if err == nil || ctx.Err() != nil {
		return err
	}
	if stop, ok := errors.AsType[*stopError](err); ok {
		return stop
	}
	if errors.Is(err, archive.ErrNotFound) {
		m, failed := archive.ReadManifest(ctx, r.store, r.chain)
		if failed != nil {
			return failed
		}
		if !slices.ContainsFunc(m.Segments, func(t archive.Segment) bool { return t.Key == s.Key }) {
			return nil // retention deleted it since the manifest was read
		}
	}
	return r.want.broken(s, fmt.Errorf("segment %s: %w", s.Key, err))
}

// stopError carries an error of whoever is given events through what reads them.
type stopError struct{ error }

func (e *stopError) Unwrap() error { return e.error }

func (r *reader) objects(ctx context.Context, m *archive.Manifest, rest []archive.Named) error {
	tip := m.Tip
	for i, o := range rest {
		r.passed(o.Size)
		if r.ended {
			return nil
		}
		end := uint64(0) // the sequence behind it, if known
		if i+1 < len(rest) {
			end = rest[i+1].Name.First
		}
		if end > 0 && end <= r.next {
			tip = archive.Tip{}
			continue // read before
		}
		day, err := time.Parse(time.DateOnly, o.Name.Day)
		if err != nil {
			return fmt.Errorf("object %s: %w", o.Key, err)
		}
		if r.want.behind(o.Name.First, day.UnixNano()) {
			r.ended = true
			return nil
		}
		r.stats.Objects++
		if end > 0 && !r.want.object(end-1, day.AddDate(0, 0, 1).UnixNano()) {
			r.next, tip = end, archive.Tip{}
			continue
		}
		r.stats.ObjectsRead++
		if err := r.object(ctx, o, &tip); err != nil {
			return fmt.Errorf("object %s: %w", o.Key, err)
		}
		r.stats.BytesRead += o.Size
	}
	return nil
}

// object reads an object and moves the tip, which is zero if the object before it
// was passed over, behind it.
func (r *reader) object(ctx context.Context, o archive.Named, tip *archive.Tip) error {
	body, err := r.store.Get(ctx, o.Key, 0, -1)
	if err != nil {
		return err
	}
	defer body.Close()
	in := archive.NewReader(body)
	for {
		rec, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if r.want.behind(rec.Seq, rec.Arrival) {
			r.ended = true
			return nil
		}
		if rec.Seq < r.next {
			continue
		}
		rec.Chain = r.chain
		if err := r.want.message(rec); err != nil {
			return err
		}
	}
	if tip.Key == "" {
		*tip = archive.TipBefore(o.Name, in.Index())
	}
	if err := tip.Follow(o.Name, in.Index(), in.Hash()); err != nil {
		return err
	}
	r.next, r.arrival = tip.First, tip.Arrival
	return nil
}

// objectReader reads parts of an object.
type objectReader struct {
	ctx   context.Context
	store archive.Store
	key   string
}

// ReadAt implements io.ReaderAt.
func (o *objectReader) ReadAt(p []byte, off int64) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	body, err := o.store.Get(o.ctx, o.key, off, int64(len(p)))
	if err != nil {
		return 0, err
	}
	defer body.Close()
	n, err := io.ReadFull(body, p)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = io.EOF
	}
	return n, err
}
