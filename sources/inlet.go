package sources

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// Inlet is where the lines of a file or a pipe go. The zero value of every field
// but Publisher is useful.
type Inlet struct {
	Publisher Publisher
	// Defaults are what an event says when it says nothing itself.
	Defaults Defaults
	// Refused is given each line that is no event, at most the first 256 KiB of
	// it, where it begins in the input, and why: before any later position is
	// stored, and again after a crash if none was. nil: the line is only counted.
	// An error ends the run.
	Refused func(ctx context.Context, line []byte, offset int64, err error) error
	// Tally counts the events and lines of this inlet. nil: nobody asks.
	Tally *Tally
	// Metrics of all inlets. nil: none.
	Metrics *Metrics
}

// Tally counts what became of lines.
type Tally struct {
	Published atomic.Int64 // events that are stored
	Refused   atomic.Int64 // lines that are no event
	Before    atomic.Int64 // events that were stored by an earlier run
}

// Validate names every fault of the configuration.
func (in *Inlet) Validate() error {
	var faults []error
	if in.Publisher == nil {
		faults = append(faults, errors.New("publisher: missing"))
	}
	return errors.Join(append(faults, in.Defaults.Validate())...)
}

// batch gathers lines until they are worth a frame. Lines of one kind and
// service become one frame.
type batch struct {
	inlet   *Inlet
	tally   *Tally
	source  func(to int64, l *lane) string
	stored  func(l lane, end int64) bool // by an earlier run
	frames  frames
	to      int64 // every line before it is in frames, stored, refused or blank
	bytes   int   // in frames: less than one frame may hold
	lines   int
	scratch []byte
}

// newBatch gathers lines for an inlet. source says where the lines before an
// offset came from: all of them, or those of one lane; stored, what an earlier
// run has published.
func newBatch(in *Inlet, source func(to int64, l *lane) string, stored func(lane, int64) bool) *batch {
	return &batch{inlet: in, tally: cmp.Or(in.Tally, new(Tally)), source: source, stored: stored}
}

// add takes in a line, and publishes what is gathered when there is no room.
func (b *batch) add(ctx context.Context, l line) error {
	if !l.long && blank(l.data) {
		b.to = l.end
		return nil
	}
	var to lane
	data, redacted, err := b.scratch[:0], 0, error(errLong)
	if !l.long {
		data, to, redacted, err = b.inlet.Defaults.normalize(data, l.data)
	}
	if err != nil {
		if err := b.refuse(ctx, l, err); err != nil {
			return err
		}
		b.to = l.end
		return nil
	}
	b.scratch = data
	if b.stored(to, l.end) {
		b.tally.Before.Add(1)
		b.to = l.end
		return nil
	}
	if b.lines == frameLines || b.bytes+len(data) > frameBytes {
		if err := b.flush(ctx); err != nil {
			return err
		}
	}
	b.inlet.Metrics.redacted("file", redacted)
	b.frames.add(to, data)
	b.bytes += len(data)
	b.lines++
	b.to = l.end
	return nil
}

func (b *batch) refuse(ctx context.Context, l line, why error) error {
	b.tally.Refused.Add(1)
	b.inlet.Metrics.refused("file", reasonOf(why), 1)
	if b.inlet.Refused == nil {
		return nil
	}
	if err := b.inlet.Refused(ctx, l.data, l.start, why); err != nil {
		return fmt.Errorf("refuse the line at offset %d: %w", l.start, err)
	}
	return nil
}

// flush publishes what is gathered. It waits as long as the publisher asks it
// to: a file can wait, and nothing is dropped.
func (b *batch) flush(ctx context.Context) error {
	for i, f := range b.frames.list {
		l := &f.lane
		if i == len(b.frames.list)-1 {
			l = nil // with this one everything before b.to is stored
		}
		if err := b.publish(ctx, f, b.source(b.to, l)); err != nil {
			return err
		}
	}
	b.frames.clear()
	b.bytes, b.lines = 0, 0
	return nil
}

func (b *batch) publish(ctx context.Context, f frame, source string) error {
	for {
		begin := time.Now()
		err := b.inlet.Publisher.PublishEncoded(ctx, f.lane.kind, f.lane.service, f.lines, source)
		if err == nil {
			b.tally.Published.Add(int64(len(f.lines)))
			b.inlet.Metrics.accepted("file", f.lane.kind, len(f.lines), len(f.data), time.Since(begin))
			return nil
		}
		wait, again := retryAfter(err)
		if !again {
			return fmt.Errorf("publish %d events as %s of %s: %w", len(f.lines), f.lane.kind, f.lane.service, err)
		}
		if !pause(ctx, max(wait, minWait)) {
			return ctx.Err()
		}
	}
}

// minWait keeps a publisher that says "again, at once" from being asked in a
// busy loop.
const minWait = 50 * time.Millisecond

func blank(b []byte) bool {
	for _, c := range b {
		if c != ' ' && c != '\t' && c != '\r' {
			return false
		}
	}
	return true
}
