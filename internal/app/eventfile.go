package app

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/dermai/millrace/schemas"
	"github.com/dermai/millrace/sources"
)

// eventFlags say what events of recorded files leave out.
type eventFlags struct {
	Kind    string `enum:"log,metric,audit," default:"" help:"The kind of events that name none: log, metric or audit. Default: what their fields say."`
	Service string `placeholder:"NAME" help:"The service of events that name none. Default: publisher.service."`
	Zone    string `placeholder:"ZONE" help:"The time zone of timestamps without one. Default: publisher.zone."`
}

// defaults complete events.
func (f eventFlags) defaults(s *session) (sources.Defaults, error) {
	name := cmp.Or(f.Zone, s.config.Publisher.Zone)
	zone, err := time.LoadLocation(name)
	if err != nil {
		return sources.Defaults{}, fmt.Errorf("zone %q: use UTC or a name such as Europe/Vienna", name)
	}
	d := sources.Defaults{Kind: schemas.Kind(f.Kind), Service: cmp.Or(f.Service, s.config.Publisher.Service), Zone: zone}
	return d, d.Validate()
}

// recorded yields the events of files, one file after another. Lines that are no
// events are said on standard error and counted.
func (s *session) recorded(ctx context.Context, names []string, d sources.Defaults, refused *int) iter.Seq2[schemas.Event, error] {
	return func(yield func(schemas.Event, error) bool) {
		for _, name := range names {
			file := eventFile{name: name, defaults: d, refused: func(line int, err error) {
				*refused++
				fmt.Fprintf(s.Stderr, "%s:%d: %s\n", printable(name), line, printable(err.Error()))
			}}
			for e, err := range file.open(s.Stdin) {
				if err == nil {
					err = ctx.Err()
				}
				if !yield(e, err) || err != nil {
					return
				}
			}
		}
	}
}

// eventFile reads events from a file of JSON lines, plain or compressed with
// gzip or zstd.
type eventFile struct {
	name     string // - is standard input
	defaults sources.Defaults
	refused  func(line int, err error) // told of each line that is no event
}

// open yields the events of the file, or of stdin, in order.
func (f eventFile) open(stdin io.Reader) iter.Seq2[schemas.Event, error] {
	if f.name == "-" {
		return f.events(stdin)
	}
	return func(yield func(schemas.Event, error) bool) {
		r, err := os.Open(f.name)
		if err != nil {
			yield(schemas.Event{}, err)
			return
		}
		defer r.Close()
		f.events(r)(yield)
	}
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
				switch e, err := sources.Normalize(line, f.defaults); {
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
