package app

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"

	"github.com/dermai/millrace/archive/query"
	"github.com/dermai/millrace/archive/segment"
	"github.com/dermai/millrace/internal/app/config"
	"github.com/dermai/millrace/schemas"
)

// eventWriter writes archived events in some form.
type eventWriter interface {
	write(e *query.Event) error
	close() error
}

// newEventWriter writes events as the session's output is asked for.
func (s *session) newEventWriter() (eventWriter, error) {
	switch s.output {
	case "csv":
		return newCSV(s.out.w)
	case "parquet":
		if config.IsTerminal(s.Stdout) {
			return nil, errors.New("-o parquet is not for a terminal: send it into a file, > events.parquet")
		}
		return &parquetEvents{w: segment.NewRowWriter(s.out.w)}, nil
	case "json":
		return &jsonEvents{w: s.out.w}, nil
	}
	return &textEvents{out: s.out}, nil
}

// textEvents is a table.
type textEvents struct {
	out *printer
	n   int
}

func (w *textEvents) write(e *query.Event) error {
	if err := w.out.print(nil, eventCells(&e.Event)...); err != nil {
		return err
	}
	if w.n++; w.n%256 != 0 {
		return nil
	}
	return w.out.flush()
}

func (w *textEvents) close() error { return w.out.flush() }

// jsonEvents is one canonical event a line.
type jsonEvents struct {
	w   io.Writer
	buf []byte
}

func (w *jsonEvents) write(e *query.Event) error {
	var err error
	if w.buf, err = schemas.AppendJSON(w.buf[:0], &e.Event); err != nil {
		return fmt.Errorf("%s %d/%d: %w", e.Chain.Stream, e.Seq, e.Index, err)
	}
	w.buf = append(w.buf, '\n')
	_, err = w.w.Write(w.buf)
	return written(err)
}

func (w *jsonEvents) close() error { return nil }

// csvEvents is a table for spreadsheets; event holds all that has no column.
type csvEvents struct {
	w   *csv.Writer
	buf []byte
}

func newCSV(out io.Writer) (*csvEvents, error) {
	w := &csvEvents{w: csv.NewWriter(out)}
	return w, written(w.w.Write([]string{
		"time", "kind", "service", "level", "message", "user", "action", "resource", "trace_id", "stream", "sequence", "index", "event",
	}))
}

func (w *csvEvents) write(e *query.Event) error {
	var err error
	if w.buf, err = schemas.AppendJSON(w.buf[:0], &e.Event); err != nil {
		return fmt.Errorf("%s %d/%d: %w", e.Chain.Stream, e.Seq, e.Index, err)
	}
	return written(w.w.Write([]string{
		time.Unix(0, e.Time).UTC().Format(time.RFC3339Nano), string(e.Kind), e.Service, e.Level, e.Message,
		e.User, e.Action, e.Resource, e.TraceID,
		e.Chain.Stream, strconv.FormatUint(e.Seq, 10), strconv.Itoa(e.Index), string(w.buf),
	}))
}

func (w *csvEvents) close() error {
	w.w.Flush()
	return written(w.w.Error())
}

// parquetEvents is a file with the columns of a segment.
type parquetEvents struct {
	w    *segment.RowWriter
	rows []segment.Row
}

func (w *parquetEvents) write(e *query.Event) error {
	row := e.Row()
	row.Payload = slices.Clone(row.Payload)
	if w.rows = append(w.rows, row); len(w.rows) < 1024 {
		return nil
	}
	return w.flush()
}

func (w *parquetEvents) flush() error {
	err := w.w.Write(w.rows)
	w.rows = w.rows[:0]
	return written(err)
}

func (w *parquetEvents) close() error {
	if err := w.flush(); err != nil {
		return err
	}
	return written(w.w.Close())
}
