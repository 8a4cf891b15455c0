package segment

import (
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress/zstd"

	"github.com/dermai/millrace/archive"
	"github.com/dermai/millrace/fence"
)

const (
	// groupRows and groupBytes end a row group, which is held in memory until then.
	groupRows  = 200_000
	groupBytes = 128 << 20 // of payloads
	pageBytes  = 1 << 20
	bloomBits  = 10 // a value: one false answer in a hundred
	// batchRows are written at once.
	batchRows = 1024
)

// Summary is what a file holds.
type Summary struct {
	Messages, Rows     uint64
	EventFrom, EventTo int64  // bounds of the events' own times, Unix ns; 0 and 0: there is no event
	Digest             string // of its messages, hex
}

func (s *Summary) row(r *Row) {
	s.Rows++
	if r.Index < 0 {
		return
	}
	if s.EventFrom == 0 && s.EventTo == 0 {
		s.EventFrom, s.EventTo = r.EventTime, r.EventTime
	}
	s.EventFrom, s.EventTo = min(s.EventFrom, r.EventTime), max(s.EventTo, r.EventTime)
}

// Writer writes one file. It holds a row group. It is not safe for concurrent
// use, and of no use after an error.
type Writer struct {
	w     *RowWriter
	split splitter
	rows  []Row
	sum   Summary
}

// NewWriter begins a file of a chain's messages.
func NewWriter(w io.Writer, c archive.Chain) *Writer {
	return &Writer{w: NewRowWriter(w), split: splitter{chain: c, digest: newDigest()}}
}

// Options are how the files are written: pages of a mebibyte, zstd at its default
// level (see ADR 38), the page index, and Bloom filters on what is looked for by
// exact value.
func Options() []parquet.WriterOption {
	filters := make([]parquet.BloomFilterColumn, len(blooms))
	for i, name := range blooms {
		filters[i] = parquet.SplitBlockFilter(bloomBits, name)
	}
	return []parquet.WriterOption{
		parquet.Compression(&zstd.Codec{Level: zstd.SpeedDefault, Concurrency: 1}),
		parquet.PageBufferSize(pageBytes),
		parquet.DataPageStatistics(true),
		parquet.BloomFilters(filters...),
		parquet.SkipPageBounds("payload"),
		parquet.CreatedBy("millrace", "1", ""),
	}
}

// Write appends a message, which must follow the one before it. It keeps nothing
// of r.
func (w *Writer) Write(r *archive.Record) error {
	var err error
	if w.rows, err = w.split.rows(w.rows[:0], r); err != nil {
		return err
	}
	w.sum.Messages++
	for i := range w.rows {
		w.sum.row(&w.rows[i])
	}
	if err := w.w.Write(w.rows); err != nil {
		return fmt.Errorf("write sequence %d: %w", r.Seq, err)
	}
	return nil
}

// Close ends the file and says what it holds. It does not close what is written
// to.
func (w *Writer) Close() (Summary, error) {
	if err := w.w.Close(); err != nil {
		return Summary{}, err
	}
	w.sum.Digest = w.split.String()
	return w.sum, nil
}

// RowWriter writes rows of whatever chains into a file like a segment. It holds a
// row group. It is not safe for concurrent use, and of no use after an error.
type RowWriter struct {
	w     *parquet.GenericWriter[Row]
	group int // rows in the row group
	bytes int // of payloads in it
}

// NewRowWriter begins a file.
func NewRowWriter(w io.Writer) *RowWriter {
	return &RowWriter{w: parquet.NewGenericWriter[Row](w, Options()...)}
}

// Write appends rows, which stay in one row group. It keeps nothing of them.
func (w *RowWriter) Write(rows []Row) error {
	for part := range slices.Chunk(rows, batchRows) {
		if _, err := w.w.Write(part); err != nil {
			return err
		}
		for i := range part {
			w.bytes += len(part[i].Payload)
		}
	}
	if w.group += len(rows); w.group < groupRows && w.bytes < groupBytes {
		return nil
	}
	w.group, w.bytes = 0, 0
	if err := w.w.Flush(); err != nil {
		return fmt.Errorf("write row group: %w", err)
	}
	return nil
}

// Close ends the file. It does not close what is written to.
func (w *RowWriter) Close() error {
	if err := w.w.Close(); err != nil {
		return fmt.Errorf("write file: %w", err)
	}
	return nil
}

func sortedNames(h fence.Header) []string { return slices.Sorted(maps.Keys(h)) }
