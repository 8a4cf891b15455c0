package app

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"

	"github.com/klauspost/compress/zstd"

	"github.com/dermai/millrace/schemas"
)

// eventFile reads events from a file of JSON lines, plain or compressed with
// gzip or zstd.
type eventFile struct {
	name    string // for messages
	origin  schemas.Origin
	refused func(line int, err error) // told of each line that is no event
}

// windowBytes bounds what a compressed file can make the reader allocate.
const windowBytes = 64 << 20

// events yields the events of r in order. A refused line is skipped; an error
// of reading ends the sequence.
func (f eventFile) events(r io.Reader) iter.Seq2[schemas.Event, error] {
	return func(yield func(schemas.Event, error) bool) {
		plain, err := decompress(bufio.NewReader(r))
		if err != nil {
			yield(schemas.Event{}, fmt.Errorf("read %s: %w", f.name, err))
			return
		}
		lines := bufio.NewReaderSize(plain, schemas.LineBytes+1)
		for n := 1; ; n++ {
			line, err := lines.ReadSlice('\n')
			if errors.Is(err, bufio.ErrBufferFull) {
				err = skipLine(lines)
				f.refused(n, fmt.Errorf("the line is longer than %d bytes", schemas.LineBytes))
				line = nil
			}
			if line = bytes.TrimSpace(line); len(line) > 0 {
				switch e, err := schemas.Decode(line, f.origin); {
				case err != nil:
					f.refused(n, err)
				case !yield(e, nil):
					return
				}
			}
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				yield(schemas.Event{}, fmt.Errorf("read %s: line %d: %w", f.name, n, err))
				return
			}
		}
	}
}

// skipLine reads to the end of a line.
func skipLine(r *bufio.Reader) error {
	for {
		if _, err := r.ReadSlice('\n'); !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
	}
}

// decompress looks at the first bytes and reads what they announce.
func decompress(r *bufio.Reader) (io.Reader, error) {
	magic, err := r.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		return gzip.NewReader(r)
	case bytes.Equal(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}), isSkippable(magic):
		return zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(windowBytes))
	}
	return r, nil
}

// isSkippable tells a skippable zstd frame, with which archived objects begin.
func isSkippable(magic []byte) bool {
	return len(magic) == 4 && magic[0]&0xf0 == 0x50 && bytes.Equal(magic[1:], []byte{0x2a, 0x4d, 0x18})
}

// open opens a file for reading; - is standard input.
func (s *session) open(name string) (io.ReadCloser, error) {
	if name == "-" {
		return io.NopCloser(s.Stdin), nil
	}
	return os.Open(name)
}
