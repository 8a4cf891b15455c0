package sources

import (
	"bytes"

	"github.com/dermai/millrace/schemas"
)

// maxLine is the longest line that is read as an event, in bytes without its
// end.
const maxLine = schemas.LineBytes

// line is one line of an input and where it stands in it.
type line struct {
	data       []byte // without its end; only the first maxLine bytes of a long one
	start, end int64  // offset of its first byte, and of the byte after its end
	long       bool   // over maxLine
}

// splitter cuts a byte stream, which comes in pieces of any size, into lines.
// It holds at most one line.
type splitter struct {
	held []byte // beginning of the line in hand
	line line   // the line in hand; data is not set
}

// newSplitter starts at an offset of the input that begins a line.
func newSplitter(offset int64) *splitter {
	return &splitter{line: line{start: offset, end: offset}}
}

// offset is where the line in hand begins: everything before it was given out.
func (s *splitter) offset() int64 { return s.line.start }

// partial tells whether a line without its newline is in hand.
func (s *splitter) partial() bool { return s.line.end > s.line.start }

// feed takes the next piece and gives out every line that it completes. A line's
// data is valid until each returns. An error of each ends it; the splitter must
// not be used afterwards.
func (s *splitter) feed(piece []byte, each func(line) error) error {
	for len(piece) > 0 {
		n := bytes.IndexByte(piece, '\n')
		if n < 0 {
			s.hold(piece)
			return nil
		}
		data := piece[:n]
		if len(s.held) > 0 || s.line.long {
			s.hold(data)
			data = s.held
		} else {
			s.line.end += int64(n)
		}
		s.line.end++
		if err := s.give(data, each); err != nil {
			return err
		}
		piece = piece[n+1:]
	}
	return nil
}

// finish gives out the last line of an input that does not end in a newline.
func (s *splitter) finish(each func(line) error) error {
	if !s.partial() {
		return nil
	}
	return s.give(s.held, each)
}

func (s *splitter) hold(piece []byte) {
	s.line.end += int64(len(piece))
	// One byte more than the limit, for the carriage return of a line that is
	// just as long as it may be, and three for a byte order mark.
	if room := maxLine + 4 - len(s.held); len(piece) > room {
		piece, s.line.long = piece[:room], true
	}
	s.held = append(s.held, piece...)
}

func (s *splitter) give(data []byte, each func(line) error) error {
	l := s.line
	s.line = line{start: l.end, end: l.end}
	s.held = s.held[:0]
	data = bytes.TrimSuffix(data, []byte{'\r'})
	if l.start == 0 {
		data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	}
	if len(data) > maxLine {
		data, l.long = data[:maxLine], true
	}
	l.data = data
	return each(l)
}

// cut is the line in hand, which will never be completed.
func (s *splitter) cut() line {
	l := s.line
	l.data = s.held[:min(len(s.held), maxLine)]
	return l
}
