package compact

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/dermai/millrace/archive"
	"github.com/dermai/millrace/archive/segment"
	"github.com/dermai/millrace/schemas"
)

// Config says what a compactor does.
type Config struct {
	// Bytes of objects that make a segment, which becomes about as large. 0: 256 MiB.
	Bytes int64
	// Grace is for how long objects stay beside their segment: longer than any reader
	// reads, and than a stream keeps what is archived. 0: 96 h.
	Grace time.Duration
	// Dir is for temporary files, twice the size of a segment. "": the system's.
	Dir     string
	Now     func() time.Time // nil: time.Now
	Metrics *Metrics         // nil: not kept
	// Committed, if set, is told of each segment that this compactor commits.
	Committed func(archive.Segment)
}

// Validate joins all that is wrong with the configuration.
func (c *Config) Validate() error {
	var errs error
	if c.Bytes < 0 {
		errs = errors.Join(errs, fmt.Errorf("bytes of a segment %d: want 0 or more", c.Bytes))
	}
	if c.Grace < 0 {
		errs = errors.Join(errs, fmt.Errorf("grace %s: want 0 or more", c.Grace))
	}
	return errs
}

// Metrics of compactors.
type Metrics struct {
	segments, rows, bytes, removed prometheus.Counter
}

// NewMetrics registers the metrics with reg, which may be nil.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	f := promauto.With(reg)
	counter := func(name, help string) prometheus.Counter {
		return f.NewCounter(prometheus.CounterOpts{Name: "millrace_archive_" + name, Help: help})
	}
	return &Metrics{
		segments: counter("segments_total", "Segments committed."),
		rows:     counter("segment_rows_total", "Rows in the segments committed."),
		bytes:    counter("segment_bytes_total", "Bytes of the segments committed."),
		removed:  counter("removed_total", "Objects removed behind their segments."),
	}
}

// Compactor compacts the events of every stream. It is not safe for concurrent
// use; any number of compactors, in any processes, may run at once.
type Compactor struct {
	store archive.Store
	cfg   Config
}

// New prepares a compactor.
func New(store archive.Store, cfg Config) (*Compactor, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("compactor: %w", err)
	}
	cfg.Bytes = cmp.Or(cfg.Bytes, 256<<20)
	cfg.Grace = cmp.Or(cfg.Grace, 96*time.Hour)
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Metrics == nil {
		cfg.Metrics = NewMetrics(nil)
	}
	return &Compactor{store, cfg}, nil
}

// Step compacts at most one segment of each stream, and removes what segments
// replaced long enough ago. busy tells that there may be more to do at once. After
// an error the next Step tries again.
func (c *Compactor) Step(ctx context.Context) (busy bool, err error) {
	for _, class := range []schemas.Class{schemas.AuditTrail, schemas.Telemetry} {
		chains, err := archive.Chains(ctx, c.store, string(class), "")
		if err != nil {
			return false, err
		}
		for _, chain := range chains {
			more, err := c.chain(ctx, chain)
			if err != nil {
				return false, fmt.Errorf("compact %s: %w", chain, err)
			}
			busy = busy || more
		}
	}
	return busy, nil
}

func (c *Compactor) chain(ctx context.Context, chain archive.Chain) (busy bool, err error) {
	m, err := archive.ReadManifest(ctx, c.store, chain)
	if err != nil {
		return false, err
	}
	group, err := c.next(ctx, m)
	if err != nil {
		return false, err
	}
	if len(group) > 0 {
		if err := c.compact(ctx, m, group); err != nil && !errors.Is(err, archive.ErrExists) {
			return false, err
		}
	}
	return len(group) > 0, c.forget(ctx, m)
}

// next are the objects that make the next segment: those of one day, up to the
// size, behind which there is another object. Nothing is added to what they
// cover, so that all compactors of one configuration find the same.
func (c *Compactor) next(ctx context.Context, m *archive.Manifest) ([]archive.Named, error) {
	rest, err := m.Rest(ctx, c.store)
	if err != nil {
		return nil, err
	}
	var size int64
	for i, o := range rest {
		if i > 0 && (size >= c.cfg.Bytes || o.Name.Day != rest[0].Name.Day) {
			return rest[:i], nil
		}
		size += o.Size
	}
	return nil, nil
}

// compact writes a segment of the objects, reads it back, and commits it.
func (c *Compactor) compact(ctx context.Context, m *archive.Manifest, group []archive.Named) error {
	file, err := c.temp()
	if err != nil {
		return err
	}
	defer file.Close()
	w := segment.NewWriter(file, m.Chain)
	tip, texts := m.Tip, []string(nil)
	s := archive.Segment{Day: group[0].Name.Day, First: max(m.Tip.First, 1), ArrivalFrom: m.Tip.Arrival}
	for i, o := range group {
		x, text, err := c.copy(ctx, w, o, &tip, m.Version == 0 && i == 0)
		if err != nil {
			return fmt.Errorf("object %s: %w", o.Key, err)
		}
		if i == 0 {
			s.ArrivalFrom = x.ArrivalFrom
		}
		texts = append(texts, string(text))
	}
	sum, err := w.Close()
	if err != nil {
		return err
	}
	s.Last, s.ArrivalTo = tip.First-1, tip.Arrival
	s.Key = archive.SegmentKey(m.Chain, s.Day, s.First, s.Last)
	s.Messages, s.Rows, s.Digest, s.EventFrom, s.EventTo = sum.Messages, sum.Rows, sum.Digest, sum.EventFrom, sum.EventTo
	size, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if err := c.store.Put(ctx, s.Key, file, size); err != nil && !errors.Is(err, archive.ErrExists) {
		return err
	}
	// Whoever put it: it counts if it holds the same messages.
	if err := c.readBack(ctx, m.Chain, &s, sum); err != nil {
		return fmt.Errorf("read back %s: %w", s.Key, err)
	}
	s.Committed = c.cfg.Now().UnixNano()
	if err := m.Commit(ctx, c.store, s, texts); err != nil {
		return err
	}
	c.cfg.Metrics.segments.Inc()
	c.cfg.Metrics.rows.Add(float64(s.Rows))
	c.cfg.Metrics.bytes.Add(float64(s.Bytes))
	if c.cfg.Committed != nil {
		c.cfg.Committed(s)
	}
	return nil
}

// copy writes an object's messages and moves the tip behind it.
func (c *Compactor) copy(ctx context.Context, w *segment.Writer, o archive.Named, tip *archive.Tip, first bool) (*archive.Index, []byte, error) {
	body, err := c.store.Get(ctx, o.Key, 0, -1)
	if err != nil {
		return nil, nil, err
	}
	defer body.Close()
	r := archive.NewReader(body)
	for {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, nil, err
		}
		if err := w.Write(rec); err != nil {
			return nil, nil, err
		}
	}
	if first {
		*tip = archive.TipBefore(o.Name, r.Index())
	}
	return r.Index(), r.IndexText(), tip.Follow(o.Name, r.Index(), r.Hash())
}

// readBack reads a segment from the store and compares it with what went into it.
func (c *Compactor) readBack(ctx context.Context, chain archive.Chain, s *archive.Segment, want segment.Summary) error {
	file, size, sha, err := fetch(ctx, c.store, s.Key, c.cfg.Dir)
	if err != nil {
		return err
	}
	defer file.Close()
	got, err := segment.Read(file, size, chain, func(*archive.Record) error { return nil })
	if err != nil {
		return err
	}
	if got != want {
		return fmt.Errorf("it holds %+v; want %+v", got, want)
	}
	s.Bytes, s.SHA256 = size, sha
	return nil
}

// forget removes the objects whose segments were committed long enough ago. The
// audit trail's stay: they are what its hashes are of.
func (c *Compactor) forget(ctx context.Context, m *archive.Manifest) error {
	if _, ok := c.store.(archive.Remover); !ok || m.Chain.Class != string(schemas.Telemetry) {
		return nil
	}
	telemetry := archive.NewView(c.store, schemas.Telemetry)
	var through uint64
	old := c.cfg.Now().Add(-c.cfg.Grace).UnixNano()
	for _, s := range m.Segments {
		if s.Committed > old {
			break
		}
		through = s.Last
	}
	if through == 0 {
		return nil
	}
	gone, err := m.Compacted(ctx, c.store, through)
	if err != nil {
		return err
	}
	// Ascending, so that what is left is the end of the chain: an archiver that
	// comes late and finds the object before its own gone knows that it did.
	for _, o := range gone {
		if err := telemetry.Remove(ctx, o.Key); err != nil {
			return err
		}
		c.cfg.Metrics.removed.Inc()
	}
	return nil
}

func (c *Compactor) temp() (*os.File, error) { return temp(c.cfg.Dir) }
