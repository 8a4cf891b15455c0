package sources

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// File publishes the lines of a file, in order, each event once.
//
// Where it stands travels in the headers of the frames that it publishes, so
// that there is no second checkpoint that could disagree with them: Run asks
// Stored what the stored frames say and goes on exactly there. A kill -9 at any
// moment loses nothing and repeats nothing; the one frame whose append had no
// answer is settled by reading the headers back.
type File struct {
	Inlet
	Path string
	// Follow waits for more at the end of the file, for the file to appear, and
	// goes on with the next file when it is rotated, by renaming or by copying and
	// truncating. Otherwise Run ends at the end of the file.
	Follow bool
	// Stored calls each with the source header of every stored frame whose source
	// begins with prefix, in any order. Nothing else may write frames with this
	// prefix meanwhile. nil: the file is read from its beginning.
	Stored func(ctx context.Context, prefix string, each func(source string)) error
	// Remember is a file that keeps the newest position, for when a file had
	// nothing new for so long that the broker has forgotten its frames. It may be
	// lost; it must be this file's own. "": after such a silence the file is
	// published again.
	Remember string
	// Poll is how often the end of the file is looked at. 0: 200 ms.
	Poll time.Duration
	// Grace is how long a file that was rotated away must be quiet before the next
	// one is begun: its writer may still have it open. 0: 5 s.
	Grace time.Duration
}

// Validate names every fault of the configuration.
func (f *File) Validate() error {
	faults := []error{f.Inlet.Validate()}
	if f.Path == "" {
		faults = append(faults, errors.New("path: missing"))
	}
	if f.Poll < 0 {
		faults = append(faults, fmt.Errorf("poll: %v is negative", f.Poll))
	}
	if f.Grace < 0 {
		faults = append(faults, fmt.Errorf("grace: %v is negative", f.Grace))
	}
	return errors.Join(faults...)
}

// Run publishes until the end of the file, or with Follow until ctx ends, which
// is no error. After any error it may be run again and goes on where the stored
// frames end.
func (f *File) Run(ctx context.Context) error {
	if err := f.Validate(); err != nil {
		return fmt.Errorf("follow %q: %w", f.Path, err)
	}
	t, err := newTail(f)
	if err == nil {
		err = t.run(ctx)
	}
	if f.Follow && ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("follow %q: %w", f.Path, err)
	}
	return nil
}

// tail is one run of a File.
type tail struct {
	*File
	path   string // absolute
	prefix string // of every mark
	poll   time.Duration
	grace  time.Duration

	file  *os.File
	split *splitter
	batch *batch
	read  int64  // offset of the next byte to read
	piece []byte // what is being split; it begins at read
	buf   []byte
	// At most fingerprintBytes each, as they were read:
	seen     []byte // before read
	seenLine []byte // before the line in hand, when that begins before read

	remembered   int64 // offset of the mark that was written down last
	rememberedAt time.Time
}

func newTail(f *File) (*tail, error) {
	path, err := filepath.Abs(f.Path)
	if err != nil {
		return nil, err
	}
	t := &tail{File: f, path: path, prefix: markPrefix(path), poll: f.Poll, grace: f.Grace, buf: make([]byte, 64<<10)}
	if t.poll == 0 {
		t.poll = 200 * time.Millisecond
	}
	if t.grace == 0 {
		t.grace = 5 * time.Second
	}
	return t, nil
}

func (t *tail) run(ctx context.Context) error {
	defer func() {
		if t.file != nil {
			t.file.Close()
		}
	}()
	if err := t.start(ctx); err != nil {
		return err
	}
	if !t.Follow {
		if err := t.drain(ctx); err != nil {
			return err
		}
		return t.finish(ctx)
	}
	var quiet time.Duration // how long nothing came since the file was rotated away
	for {
		before := t.read
		if err := t.drain(ctx); err != nil {
			return err
		}
		current, err := t.current()
		switch {
		case err != nil:
			return err
		case current || t.read > before:
			quiet = 0
		case quiet >= t.grace:
			if err := t.advance(ctx); err != nil {
				return err
			}
			quiet = 0
			continue
		}
		if !pause(ctx, t.poll) {
			return ctx.Err()
		}
		quiet += t.poll
	}
}

// open begins to read a file, which becomes the tail's to close, behind what is
// stored of it.
func (t *tail) open(file *os.File, p progress) error {
	seen, err := bytesBefore(file, p.offset)
	if err != nil {
		return err
	}
	if t.file != nil && t.file != file {
		t.file.Close()
	}
	t.file, t.read, t.seen, t.seenLine = file, p.offset, seen, seen
	t.split = newSplitter(p.offset)
	t.batch = newBatch(&t.Inlet, t.source, p.stored)
	t.batch.to, t.remembered = p.offset, p.offset
	return nil
}

// drain publishes what the file holds up to its last newline.
func (t *tail) drain(ctx context.Context) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		// Asked before every read, since publishing may have taken an hour.
		switch same, err := t.unchanged(); {
		case err != nil:
			return err
		case !same:
			if err := t.truncated(ctx); err != nil {
				return err
			}
		}
		n, err := t.file.ReadAt(t.buf, t.read)
		if err := t.take(ctx, t.buf[:n]); err != nil {
			return err
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
	}
	t.lag()
	if err := t.batch.flush(ctx); err != nil {
		return err
	}
	t.lag()
	return t.remember(false)
}

// take splits a piece of the file.
func (t *tail) take(ctx context.Context, piece []byte) error {
	t.piece = piece
	if err := t.split.feed(piece, func(l line) error { return t.batch.add(ctx, l) }); err != nil {
		return err
	}
	if line := t.split.offset(); line > t.read {
		t.seenLine = bytes.Clone(t.before(line))
	}
	t.seen = bytes.Clone(t.before(t.read + int64(len(piece))))
	t.read += int64(len(piece))
	t.piece = nil
	return nil
}

// finish publishes what is left of a file that will not grow any more.
func (t *tail) finish(ctx context.Context) error {
	if err := t.split.finish(func(l line) error { return t.batch.add(ctx, l) }); err != nil {
		return err
	}
	if err := t.batch.flush(ctx); err != nil {
		return err
	}
	return t.remember(true)
}

// before returns the last fingerprintBytes before an offset, which is within the
// piece in hand or the beginning of the line in hand.
func (t *tail) before(offset int64) []byte {
	if offset < t.read {
		return t.seenLine
	}
	b := t.piece[:offset-t.read]
	if len(b) < fingerprintBytes {
		b = slices.Concat(t.seen, b)
	}
	return b[max(0, len(b)-fingerprintBytes):]
}

// source is the mark of what is stored with the next frame.
func (t *tail) source(to int64, l *lane) string {
	return mark{fingerprint: fingerprint(t.before(to)), offset: to, lane: l}.source(t.prefix)
}

// unchanged tells whether the file still has the bytes that were read last.
func (t *tail) unchanged() (bool, error) {
	before, err := bytesBefore(t.file, t.read)
	if err == io.EOF {
		return false, nil
	}
	return string(before) == string(t.seen), err
}

// lag reports how much of the file is not stored yet.
func (t *tail) lag() {
	if info, err := t.file.Stat(); err == nil {
		t.Metrics.behind(t.path, info.Size()-t.batch.to)
	}
}
