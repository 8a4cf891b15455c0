package segment

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/parquet-go/parquet-go"

	"github.com/dermai/millrace/archive"
)

// File is a segment that is read in parts: of what is asked for, only the pages
// that may hold it. It is not safe for concurrent use.
type File struct {
	// Cost is what was read so far.
	Cost Cost

	file  *parquet.File
	src   *source
	chain archive.Chain
}

// Cost counts what a segment has and what of it was read.
type Cost struct {
	Groups, GroupsRead int64 // row groups; those of which a page was read
	Pages, PagesRead   int64
	Bytes, BytesRead   int64 // with indexes and Bloom filters
}

// Add sums up costs.
func (c *Cost) Add(d Cost) {
	c.Groups += d.Groups
	c.GroupsRead += d.GroupsRead
	c.Pages += d.Pages
	c.PagesRead += d.PagesRead
	c.Bytes += d.Bytes
	c.BytesRead += d.BytesRead
}

// tail is read of a file at once: its footer and page index, most often.
const tail = 64 << 10

// Open reads a segment's footer and page index. rows is the number of rows that it
// must have.
func Open(r io.ReaderAt, size int64, c archive.Chain, rows uint64) (*File, error) {
	f, err := open(r, size, c)
	if err == nil && f.file.NumRows() != int64(rows) {
		return nil, fmt.Errorf("read segment: it has %d rows, not %d", f.file.NumRows(), rows)
	}
	return f, err
}

func open(r io.ReaderAt, size int64, c archive.Chain) (f *File, err error) {
	defer damaged(&err)
	src := &source{r: r, size: size}
	file, err := parquet.OpenFile(src, size, parquet.SkipMagicBytes(true), parquet.SkipBloomFilters(true),
		parquet.OptimisticRead(true), parquet.ReadBufferSize(int(min(tail, size))))
	if err != nil {
		return nil, fmt.Errorf("read segment: %w", err)
	}
	f = &File{file: file, src: src, chain: c}
	f.Cost.Bytes = size
	for _, g := range file.RowGroups() {
		f.Cost.Groups++
		for _, chunk := range g.ColumnChunks() {
			index, err := chunk.OffsetIndex()
			if err != nil {
				return nil, fmt.Errorf("read segment: %w", err)
			}
			f.Cost.Pages += int64(index.NumPages())
		}
	}
	f.Cost.BytesRead = src.read
	return f, nil
}

// damaged turns a panic of the library, which trusts what it reads, into an error.
func damaged(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("read segment: damaged: %v", p)
	}
}

// column finds a column of a row group.
func (f *File) column(g parquet.RowGroup, name string) (*parquet.FileColumnChunk, error) {
	leaf, ok := f.file.Schema().Lookup(name)
	if !ok {
		return nil, fmt.Errorf("read segment: there is no column %s", name)
	}
	return g.ColumnChunks()[leaf.ColumnIndex].(*parquet.FileColumnChunk), nil
}

// rows is a range of rows of a row group, from <= row < to.
type rows struct{ from, to int64 }

func count(sel []rows) (n int64) {
	for _, r := range sel {
		n += r.to - r.from
	}
	return n
}

// add appends a row, or some, to a selection that ends before them.
func add(sel []rows, r rows) []rows {
	if n := len(sel); n > 0 && sel[n-1].to == r.from {
		sel[n-1].to = r.to
		return sel
	}
	return append(sel, r)
}

// intersect gives the rows that are in both selections.
func intersect(a, b []rows) (out []rows) {
	for len(a) > 0 && len(b) > 0 {
		if r := (rows{max(a[0].from, b[0].from), min(a[0].to, b[0].to)}); r.from < r.to {
			out = add(out, r)
		}
		if a[0].to < b[0].to {
			a = a[1:]
		} else {
			b = b[1:]
		}
	}
	return out
}

// load fetches the pages of columns that hold selected rows.
func (f *File) load(sel []rows, chunks ...*parquet.FileColumnChunk) error {
	var want []span
	for _, c := range chunks {
		index, err := c.OffsetIndex()
		if err != nil {
			return fmt.Errorf("read segment: %w", err)
		}
		rest := sel
		for i := range index.NumPages() {
			end := int64(1) << 62
			if i+1 < index.NumPages() {
				end = index.FirstRowIndex(i + 1)
			}
			for len(rest) > 0 && rest[0].to <= index.FirstRowIndex(i) {
				rest = rest[1:]
			}
			if len(rest) > 0 && rest[0].from < end {
				want = append(want, span{off: index.Offset(i), end: index.Offset(i) + index.CompressedPageSize(i)})
				f.Cost.PagesRead++
			}
		}
		if off, ok := dictionary(f.file, c); ok {
			want = append(want, span{off: off, end: index.Offset(0)})
		}
	}
	return f.src.load(want)
}

// dictionary is where a column's dictionary lies, up to its first page.
func dictionary(file *parquet.File, c *parquet.FileColumnChunk) (off int64, ok bool) {
	for i, g := range file.RowGroups() {
		if g.ColumnChunks()[c.Column()] == parquet.ColumnChunk(c) {
			off = file.Metadata().RowGroups[i].Columns[c.Column()].MetaData.DictionaryPageOffset
		}
	}
	return off, off > 0
}

func unexpected(err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// source reads a file and keeps what was loaded on purpose.
type source struct {
	r    io.ReaderAt
	size int64
	read int64 // bytes
	held []span
}

// span is a part of a file.
type span struct {
	off, end int64
	data     []byte
}

// apart is how far two spans may lie from each other and still be read at once.
const apart = 32 << 10

// load fetches spans, and drops what was loaded before.
func (s *source) load(want []span) error {
	s.held = nil
	slices.SortFunc(want, func(a, b span) int { return int(min(max(a.off-b.off, -1), 1)) })
	for _, w := range want {
		if w.off < 0 || w.end < w.off || w.end > s.size {
			return fmt.Errorf("read segment: damaged: a page from byte %d to %d of %d", w.off, w.end, s.size)
		}
		if n := len(s.held); n > 0 && w.off <= s.held[n-1].end+apart {
			s.held[n-1].end = max(s.held[n-1].end, w.end)
			continue
		}
		s.held = append(s.held, w)
	}
	for i := range s.held {
		h := &s.held[i]
		h.data = make([]byte, h.end-h.off)
		if err := s.fetch(h.data, h.off); err != nil {
			return err
		}
	}
	return nil
}

func (s *source) fetch(p []byte, off int64) error {
	n, err := s.r.ReadAt(p, off)
	s.read += int64(n)
	if n == len(p) {
		return nil
	}
	return fmt.Errorf("read segment: bytes %d to %d of %d: %w", off, off+int64(len(p)), s.size, unexpected(err))
}

// ReadAt implements io.ReaderAt. Within what is held it reads to its end and no
// further.
func (s *source) ReadAt(p []byte, off int64) (int, error) {
	for _, h := range s.held {
		if h.off <= off && off < h.end {
			n := copy(p, h.data[off-h.off:])
			if n < len(p) {
				return n, io.EOF
			}
			return n, nil
		}
	}
	want := min(int64(len(p)), max(s.size-off, 0))
	if err := s.fetch(p[:want], off); err != nil {
		return 0, err
	}
	if want < int64(len(p)) {
		return int(want), io.EOF
	}
	return int(want), nil
}
