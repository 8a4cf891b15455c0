package segment

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/parquet-go/parquet-go"

	"github.com/dermai/millrace/archive"
)

// Select says which rows are looked for. The zero Select is every event.
type Select struct {
	// First and Last are sequences; 0: no bound.
	First, Last uint64
	// Since and Until bound the arrival, Since <= arrival < Until, Unix ns; 0: no
	// bound.
	Since, Until int64
	// From and To bound when an event happened: at its own time, or when it arrived
	// if that is earlier. From <= t < To, Unix ns; 0: no bound.
	From, To int64
	// Tests are all true of a row that is looked for.
	Tests []Test
}

// Test compares a column of texts with constants.
type Test struct {
	Column string // kind, service, level, user, resource, action or trace_id
	Op     string // ==, !=, <, <=, > or >= with one value, startsWith with one, in with any number
	Values []string
}

// Tested are the columns of which a Test may be.
var Tested = []string{"kind", "service", "level", "user", "resource", "action", "trace_id"}

// holds tells whether the test is true of a value.
func (t *Test) holds(v string) bool {
	switch t.Op {
	case "==", "in":
		return slices.Contains(t.Values, v)
	case "!=":
		return v != t.Values[0]
	case "<":
		return v < t.Values[0]
	case "<=":
		return v <= t.Values[0]
	case ">":
		return v > t.Values[0]
	case ">=":
		return v >= t.Values[0]
	case "startsWith":
		return strings.HasPrefix(v, t.Values[0])
	}
	return true
}

// among tells whether the test asks for certain values.
func (t *Test) among() bool { return t.Op == "==" || t.Op == "in" }

// within tells whether the test may be true of a value between low and high.
func (t *Test) within(low, high string) bool {
	switch t.Op {
	case "==", "in":
		return slices.ContainsFunc(t.Values, func(v string) bool { return low <= v && v <= high })
	case "!=":
		return low != high || low != t.Values[0]
	case "<":
		return low < t.Values[0]
	case "<=":
		return low <= t.Values[0]
	case ">":
		return high > t.Values[0]
	case ">=":
		return high >= t.Values[0]
	case "startsWith":
		return high >= t.Values[0] && (low <= t.Values[0] || strings.HasPrefix(low, t.Values[0]))
	}
	return true
}

// Scan gives the events that are selected to fn, in order, with what says where
// they are and what they are made of: Sequence, Index, Arrival, Stored, Subject and
// Payload. The row is valid during the call. An error of fn ends Scan and is
// returned.
func (f *File) Scan(s Select, fn func(*Row) error) (err error) {
	return f.scan(s, eventColumns, func(r *Row) error {
		if r.Index < 0 {
			return nil // a tick, a blank line
		}
		return fn(r)
	})
}

// Messages gives the messages that are selected to fn, as Read does. The selection
// must be of sequences and arrivals, so that it has whole messages.
func (f *File) Messages(s Select, fn func(*archive.Record) error) error {
	j := joiner{chain: f.chain, sum: &Summary{}, fn: fn}
	if err := f.scan(s, messageColumns, j.row); err != nil {
		return err
	}
	return j.flush()
}

func (f *File) scan(s Select, take []taken, fn func(*Row) error) (err error) {
	defer damaged(&err)
	for _, g := range f.file.RowGroups() {
		sc := scan{File: f, group: g, sel: []rows{{0, g.NumRows()}}}
		before := f.Cost.PagesRead
		err := sc.narrow(s)
		if err == nil && len(sc.sel) > 0 {
			err = sc.rows(take, fn)
		}
		if f.Cost.PagesRead > before {
			f.Cost.GroupsRead++
		}
		f.Cost.BytesRead = f.src.read
		if err != nil {
			return err
		}
	}
	f.src.held = nil
	return nil
}

// scan looks through one row group.
type scan struct {
	*File
	group parquet.RowGroup
	sel   []rows // what is still looked for
}

// check is what is asked of a column.
type check struct {
	column string
	bounds func(low, high parquet.Value) bool // may it be true of a value between them?
	holds  func(v parquet.Value) bool
	bloom  []string // if set, the value is one of these
}

func (s Select) checks() []check {
	var out []check
	number := func(column string, from, to int64) {
		out = append(out, check{
			column: column,
			bounds: func(low, high parquet.Value) bool { return high.Int64() >= from && low.Int64() <= to },
			holds:  func(v parquet.Value) bool { return v.Int64() >= from && v.Int64() <= to },
		})
	}
	const none = math.MaxInt64
	if s.First > 0 || s.Last > 0 {
		last := int64(none)
		if s.Last > 0 {
			last = int64(s.Last)
		}
		number("sequence", int64(s.First), last)
	}
	if s.From > 0 {
		number("event_time", s.From, none)
	}
	if since := max(s.From, s.Since); since > 0 {
		number("arrival", since, none)
	}
	if s.Until > 0 {
		number("arrival", 0, s.Until-1)
	}
	for _, t := range s.Tests {
		c := check{
			column: t.Column,
			bounds: func(low, high parquet.Value) bool { return t.within(string(low.ByteArray()), string(high.ByteArray())) },
			holds:  func(v parquet.Value) bool { return t.holds(string(v.ByteArray())) },
		}
		if t.among() && slices.Contains(blooms, t.Column) {
			c.bloom = t.Values
		}
		out = append(out, c)
	}
	return out
}

// narrow leaves the rows that are selected: first by what is known of the row
// group and of pages, then by the values of the columns that are asked for.
func (s *scan) narrow(sel Select) error {
	checks := sel.checks()
	for _, c := range checks {
		if err := s.byPages(c); err != nil || len(s.sel) == 0 {
			return err
		}
	}
	if sel.To > 0 {
		if err := s.before(sel.To, s.pagesBefore); err != nil || len(s.sel) == 0 {
			return err
		}
	}
	for _, c := range checks {
		if c.bloom == nil {
			continue
		}
		if there, err := s.byBloom(c); err != nil || !there {
			s.sel = nil
			return err
		}
	}
	for _, c := range checks {
		if err := s.byValues(c.column, c.holds); err != nil || len(s.sel) == 0 {
			return err
		}
	}
	if sel.To > 0 {
		return s.before(sel.To, s.valuesBefore)
	}
	return nil
}

// byPages drops the pages of a column of which a check cannot be true.
func (s *scan) byPages(c check) error {
	chunk, err := s.column(s.group, c.column)
	if err != nil {
		return err
	}
	bounds, err := chunk.ColumnIndex()
	if err != nil {
		return fmt.Errorf("read segment: %w", err)
	}
	index, err := chunk.OffsetIndex()
	if err != nil {
		return fmt.Errorf("read segment: %w", err)
	}
	var keep []rows
	for i := range index.NumPages() {
		r := rows{index.FirstRowIndex(i), s.group.NumRows()}
		if i+1 < index.NumPages() {
			r.to = index.FirstRowIndex(i + 1)
		}
		if c.bounds(bounds.MinValue(i), bounds.MaxValue(i)) {
			keep = add(keep, r)
		}
	}
	s.sel = intersect(s.sel, keep)
	return nil
}

// byBloom tells whether one of the values may be there.
func (s *scan) byBloom(c check) (bool, error) {
	chunk, err := s.column(s.group, c.column)
	if err != nil {
		return false, err
	}
	filter := chunk.BloomFilter()
	if filter == nil {
		return true, nil
	}
	for _, v := range c.bloom {
		if there, err := filter.Check(parquet.ByteArrayValue([]byte(v))); err != nil || there {
			return there, err
		}
	}
	return false, nil
}

// byValues leaves the rows of which something is true of a column's value.
func (s *scan) byValues(column string, holds func(parquet.Value) bool) error {
	chunk, err := s.column(s.group, column)
	if err != nil {
		return err
	}
	if err := s.load(s.sel, chunk); err != nil {
		return err
	}
	c := s.cursor(chunk)
	defer c.close()
	var keep []rows
	err = c.values(s.sel, func(row int64, v parquet.Value) {
		if holds(v) {
			keep = add(keep, rows{row, row + 1})
		}
	})
	s.sel = keep
	return err
}

// before leaves what happened before a time: its own or its arrival is. by leaves
// the rows of which one column says so.
func (s *scan) before(to int64, by func(column string, to int64) error) error {
	all := s.sel
	var either []rows
	for _, column := range []string{"event_time", "arrival"} {
		s.sel = all
		if err := by(column, to); err != nil {
			return err
		}
		either = union(either, s.sel)
	}
	s.sel = either
	return nil
}

func (s *scan) pagesBefore(column string, to int64) error {
	return s.byPages(check{column: column, bounds: func(low, _ parquet.Value) bool { return low.Int64() < to }})
}

func (s *scan) valuesBefore(column string, to int64) error {
	return s.byValues(column, func(v parquet.Value) bool { return v.Int64() < to })
}

// union gives the rows that are in one of two selections or in both.
func union(a, b []rows) (out []rows) {
	for len(a) > 0 || len(b) > 0 {
		from := &b
		if len(b) == 0 || len(a) > 0 && a[0].from < b[0].from {
			from = &a
		}
		r := (*from)[0]
		*from = (*from)[1:]
		if n := len(out); n > 0 && r.from <= out[n-1].to {
			out[n-1].to = max(out[n-1].to, r.to)
		} else {
			out = append(out, r)
		}
	}
	return out
}

// batch is how many rows are put together at once.
const batch = 1024

// taken is a column that is read, and where its value goes.
type taken struct {
	column string
	set    func(r *Row, v parquet.Value)
}

var (
	eventColumns = []taken{
		{"sequence", func(r *Row, v parquet.Value) { r.Sequence = v.Int64() }},
		{"index", func(r *Row, v parquet.Value) { r.Index = v.Int32() }},
		{"arrival", func(r *Row, v parquet.Value) { r.Arrival = v.Int64() }},
		{"stored", func(r *Row, v parquet.Value) { r.Stored = v.Int64() }},
		{"subject", func(r *Row, v parquet.Value) { r.Subject = string(v.ByteArray()) }},
		{"payload", func(r *Row, v parquet.Value) { r.Payload = append(r.Payload[:0], v.ByteArray()...) }},
	}
	messageColumns = append(slices.Clip(eventColumns),
		taken{"header", func(r *Row, v parquet.Value) { r.Header = string(v.ByteArray()) }},
		taken{"form", func(r *Row, v parquet.Value) { r.Form = v.Int32() }},
	)
	// Of those that are of no use here it is seen that they can be read.
	everyColumn = append(slices.Clip(messageColumns),
		taken{"event_time", func(r *Row, v parquet.Value) { r.EventTime = v.Int64() }},
		seen("stream"), seen("lane"), seen("kind"), seen("service"), seen("level"), seen("user"), seen("resource"),
		seen("action"), seen("trace_id"),
	)
)

func seen(column string) taken { return taken{column, func(*Row, parquet.Value) {}} }

// rows gives the selected rows to fn.
func (s *scan) rows(take []taken, fn func(*Row) error) error {
	chunks := make([]*parquet.FileColumnChunk, len(take))
	for i, t := range take {
		var err error
		if chunks[i], err = s.column(s.group, t.column); err != nil {
			return err
		}
	}
	if err := s.load(s.sel, chunks...); err != nil {
		return err
	}
	cursors := make([]*cursor, len(chunks))
	for i, c := range chunks {
		cursors[i] = s.cursor(c)
		defer cursors[i].close()
	}
	out := make([]Row, batch)
	for len(s.sel) > 0 {
		part := s.take(batch)
		for i, t := range take {
			at := 0
			if err := cursors[i].values(part, func(_ int64, v parquet.Value) {
				t.set(&out[at], v)
				at++
			}); err != nil {
				return err
			}
		}
		for i := range out[:count(part)] {
			out[i].Stream = s.chain.Stream
			if err := fn(&out[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

// take removes up to n rows from the selection.
func (s *scan) take(n int64) (part []rows) {
	for n > 0 && len(s.sel) > 0 {
		r := &s.sel[0]
		m := min(r.to-r.from, n)
		part = append(part, rows{r.from, r.from + m})
		n -= m
		if r.from += m; r.from == r.to {
			s.sel = s.sel[1:]
		}
	}
	return part
}
