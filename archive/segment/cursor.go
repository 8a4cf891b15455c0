package segment

import (
	"fmt"

	"github.com/parquet-go/parquet-go"
)

// cursor reads a column of a row group, forwards. It unpacks each page once.
type cursor struct {
	pages *parquet.FilePages
	page  parquet.Page // nil: none is open
	in    parquet.ValueReader
	at    int64 // row of in's next value
	end   int64 // of the page's rows
	buf   [512]parquet.Value
}

// cursor begins to read a column.
func (s *scan) cursor(c *parquet.FileColumnChunk) *cursor {
	return &cursor{pages: c.PagesFrom(s.src)}
}

func (c *cursor) close() {
	c.release()
	c.pages.Close()
}

func (c *cursor) release() {
	if c.page != nil {
		parquet.Release(c.page)
		c.page = nil
	}
}

// values gives the selected values to fn, in order. A value is valid during the
// call.
func (c *cursor) values(sel []rows, fn func(row int64, v parquet.Value)) error {
	for _, r := range sel {
		for r.from < r.to {
			if err := c.seek(r.from); err != nil {
				return fmt.Errorf("read segment: %w", unexpected(err))
			}
			n, err := c.in.ReadValues(c.buf[:min(int64(len(c.buf)), min(r.to, c.end)-c.at)])
			if n == 0 {
				return fmt.Errorf("read segment: %w", unexpected(err))
			}
			for _, v := range c.buf[:n] {
				if c.at >= r.from {
					fn(c.at, v)
				}
				c.at++
			}
			r.from = max(r.from, c.at)
		}
	}
	return nil
}

// seek opens the page of a row, if it is not open already.
func (c *cursor) seek(row int64) error {
	if c.page != nil && c.at <= row && row < c.end {
		return nil
	}
	c.release()
	if err := c.pages.SeekToRow(row); err != nil {
		return err
	}
	page, err := c.pages.ReadPage()
	if err != nil {
		return err
	}
	c.page, c.in, c.at, c.end = page, page.Values(), row, row+page.NumRows()
	return nil
}
