package segment

import (
	"errors"
	"fmt"
	"io"

	"github.com/parquet-go/parquet-go"
)

// Subject is whom and what an event of a file is about.
type Subject struct {
	Index    int32  `parquet:"index,delta"`
	Kind     string `parquet:"kind,dict"`
	Service  string `parquet:"service,dict"`
	User     string `parquet:"user,dict"`
	Resource string `parquet:"resource,dict"`
	Form     int32  `parquet:"form,dict"`
}

// Read tells whether the event could be read when the file was written. Of one
// that could not, only the service is known, from where it was published.
func (s *Subject) Read() bool { return s.Form != formRaw && s.Kind != "" }

// Subjects gives the subject of each event of a file to fn, until it returns
// false. It reads those columns only. What is no event (a tick, a blank line) is
// left out; a message that cannot be unpacked is one event.
func Subjects(r io.ReaderAt, size int64, fn func(*Subject) bool) (err error) {
	defer damaged(&err)
	file, err := parquet.OpenFile(r, size, parquet.ReadBufferSize(pageBytes))
	if err != nil {
		return fmt.Errorf("read segment: %w", err)
	}
	rows := parquet.NewGenericReader[Subject](file)
	defer rows.Close()
	for buf := make([]Subject, batchRows); ; {
		n, err := rows.Read(buf)
		for i := range buf[:n] {
			if s := &buf[i]; (s.Index >= 0 || s.Form == formRaw) && !fn(s) {
				return nil
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read segment: %w", err)
		}
	}
}
