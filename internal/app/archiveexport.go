package app

import (
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/dermai/millrace/archive"
	"github.com/dermai/millrace/archive/query"
	"github.com/dermai/millrace/archive/segment"
)

// archiveExport copies archived events into files, one for each stream and day of
// arrival. Findings: it was interrupted; the same command goes on.
type archiveExport struct {
	Dir string `arg:"" help:"Write into this directory. What is there of the same export is kept."`
	queryRange
	Where  string `placeholder:"EXPR" help:"Only events for which this holds, as where of a rule."`
	Format string `enum:"ndjson,parquet" default:"ndjson" help:"ndjson (.ndjson.gz, the default) or parquet."`
}

// Help is what --help says behind the flags.
func (c *archiveExport) Help() string {
	return `
Examples:
  millrace archive export june --from 2026-06-01 --to 2026-07-01
  millrace archive export ann --from 2026-01-01 --to 2026-07-01 --where 'user == "ann"' --format parquet
  cd june && sha256sum -c SHA256SUMS

Only what is archived is exported; millrace archive flush archives what the
streams hold. An export that was interrupted goes on when the command is given again.`
}

// exportPlan is what an export is of, and what of it is done. It lies in the
// directory as export.json.
type exportPlan struct {
	From   int64                   `json:"from,omitzero"` // happened since, Unix ns
	To     int64                   `json:"to"`            // happened before
	Late   time.Duration           `json:"late"`
	Class  string                  `json:"class,omitzero"`
	Stream string                  `json:"stream,omitzero"`
	Where  string                  `json:"where,omitzero"`
	Format string                  `json:"format"`
	Files  map[string]exportedFile `json:"files"`
}

// exportedFile is a finished file. One without events was not made.
type exportedFile struct {
	Events int64  `json:"events"`
	SHA256 string `json:"sha256,omitzero"`
}

const exportPlanName = "export.json"

func (c *archiveExport) Run(ctx context.Context, s *session) error {
	if c.To.IsZero() {
		c.To.Time = time.Now()
	}
	o, err := c.options(c.Where)
	if err != nil {
		return err
	}
	store, err := s.readArchive()
	if err != nil {
		return err
	}
	defer store.Close()
	plan, err := c.plan()
	if err != nil {
		return err
	}
	o.From, o.To = plan.From, plan.To
	days, err := query.Days(ctx, store, o)
	if err != nil {
		return err
	}
	clear := s.showProgress(&o)
	defer clear()
	for _, d := range days {
		if err := c.day(ctx, store, o, plan, d); err != nil {
			if ctx.Err() != nil {
				return findingsError("interrupted: the same command goes on")
			}
			return err
		}
	}
	clear()
	return plan.print(s.out)
}

// plan reads what is done, or begins.
func (c *archiveExport) plan() (*exportPlan, error) {
	p := &exportPlan{
		From: c.From.nanoseconds(), To: c.To.nanoseconds(), Late: c.Late, Class: c.Class, Stream: c.Stream,
		Where: c.Where, Format: c.Format, Files: map[string]exportedFile{},
	}
	b, err := os.ReadFile(filepath.Join(c.Dir, exportPlanName))
	if errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(c.Dir, 0o700); err != nil {
			return nil, fmt.Errorf("export: %w", err)
		}
		return p, p.save(c.Dir)
	}
	if err != nil {
		return nil, fmt.Errorf("export: %w", err)
	}
	var old exportPlan
	if err := json.Unmarshal(b, &old); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(c.Dir, exportPlanName), err)
	}
	// "15m ago" and "now" are other times now; those of the beginning count.
	same := old.Late == p.Late && old.Class == p.Class && old.Stream == p.Stream && old.Where == p.Where && old.Format == p.Format
	if !same || old.Files == nil {
		return nil, fmt.Errorf("%s holds another export, see its %s: name another directory, or the same events", c.Dir, exportPlanName)
	}
	return &old, nil
}

// save makes what is done durable, with the list for sha256sum.
func (p *exportPlan) save(dir string) error {
	b, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return fmt.Errorf("export: %w", err)
	}
	var sums strings.Builder
	for _, name := range slices.Sorted(maps.Keys(p.Files)) {
		if f := p.Files[name]; f.Events > 0 {
			fmt.Fprintf(&sums, "%s  %s\n", f.SHA256, name)
		}
	}
	return errors.Join(
		replaceFile(dir, "SHA256SUMS", func(w io.Writer) error { _, err := io.WriteString(w, sums.String()); return err }),
		replaceFile(dir, exportPlanName, func(w io.Writer) error { _, err := w.Write(append(b, '\n')); return err }),
	)
}

// replaceFile writes a file that appears whole and durable, or not at all.
func replaceFile(dir, name string, write func(io.Writer) error) (err error) {
	f, err := os.CreateTemp(dir, ".millrace-*")
	if err != nil {
		return fmt.Errorf("export: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("export %s: %w", name, err), os.Remove(f.Name()))
		}
	}()
	if err := errors.Join(write(f), f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), filepath.Join(dir, name)); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

var exportSuffix = map[string]string{"ndjson": ".ndjson.gz", "parquet": ".parquet"}

// day exports the events of a stream that arrived on a day.
func (c *archiveExport) day(ctx context.Context, store archive.Store, o query.Options, plan *exportPlan, d query.Day) error {
	name := d.Stream + "-" + d.Day + exportSuffix[plan.Format]
	if _, done := plan.Files[name]; done {
		return nil
	}
	begin, err := time.Parse(time.DateOnly, d.Day)
	if err != nil {
		return fmt.Errorf("export: %w", err)
	}
	o.Stream, o.Since, o.Until = d.Stream, begin.UnixNano(), begin.AddDate(0, 0, 1).UnixNano()
	file := exportedFile{}
	hash := sha256.New()
	err = replaceFile(c.Dir, name, func(w io.Writer) error {
		out, end := exportWriter(plan.Format, io.MultiWriter(w, hash))
		stats, err := query.Run(ctx, store, o, out.write)
		file.Events = stats.Events
		if err == nil && stats.Events == 0 {
			err = errNothing
		}
		return errors.Join(err, out.close(), end())
	})
	if err != nil && !errors.Is(err, errNothing) {
		return err
	}
	if file.Events > 0 {
		file.SHA256 = hex.EncodeToString(hash.Sum(nil))
	}
	plan.Files[name] = file
	return plan.save(c.Dir)
}

// errNothing says that a day has nothing for its file.
var errNothing = errors.New("no event")

func exportWriter(format string, w io.Writer) (out eventWriter, end func() error) {
	if format == "parquet" {
		return &parquetEvents{w: segment.NewRowWriter(w)}, func() error { return nil }
	}
	packed := gzip.NewWriter(w)
	return &jsonEvents{w: packed}, packed.Close
}

// print says what was exported.
func (p *exportPlan) print(out *printer) error {
	if err := out.header("EVENTS", "FILE"); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(p.Files)) {
		f := p.Files[name]
		if f.Events == 0 {
			continue
		}
		if err := out.print(struct {
			File string `json:"file"`
			exportedFile
		}{name, f}, f.Events, name); err != nil {
			return err
		}
	}
	return nil
}
