package sources

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// Pipe publishes the lines of a stream that can be read only once, such as
// standard input. What it had read and not published is lost with the process,
// and who repeats the input repeats the events: use File where that matters.
type Pipe struct {
	Inlet
	Reader io.Reader
}

// Validate names every fault of the configuration.
func (p *Pipe) Validate() error {
	err := p.Inlet.Validate()
	if p.Reader == nil {
		err = errors.Join(err, errors.New("reader: missing"))
	}
	return err
}

// Run publishes until the stream ends, and nil means that all of it is stored or
// refused. What is read is published as soon as the stream pauses. If ctx ends
// first, the Reader is closed if it can be, and a Read that does not come back
// is left behind.
func (p *Pipe) Run(ctx context.Context) error {
	if err := p.Validate(); err != nil {
		return fmt.Errorf("publish a pipe: %w", err)
	}
	if err := p.run(ctx); err != nil {
		return fmt.Errorf("publish a pipe: %w", err)
	}
	return nil
}

type piece struct {
	data []byte
	err  error
}

func (p *Pipe) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if c, ok := p.Reader.(io.Closer); ok {
		defer context.AfterFunc(ctx, func() { c.Close() })()
	}
	pieces, buffers := make(chan piece), make(chan []byte, 2)
	defer close(buffers)
	buffers <- make([]byte, 64<<10)
	buffers <- make([]byte, 64<<10)
	go func() {
		for buf := range buffers {
			n, err := p.Reader.Read(buf)
			select {
			case pieces <- piece{buf[:n], err}:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
		}
	}()

	b := newBatch(&p.Inlet, func(int64, *lane) string { return "pipe" }, func(lane, int64) bool { return false })
	s := newSplitter(0)
	add := func(l line) error { return b.add(ctx, l) }
	for {
		var in piece
		select {
		case in = <-pieces:
		default: // the stream pauses
			if err := b.flush(ctx); err != nil {
				return err
			}
			select {
			case in = <-pieces:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if err := s.feed(in.data, add); err != nil {
			return err
		}
		switch {
		case in.err == io.EOF:
			if err := s.finish(add); err != nil {
				return err
			}
			return b.flush(ctx)
		case in.err != nil:
			return errors.Join(in.err, b.flush(ctx))
		}
		buffers <- in.data[:cap(in.data)]
	}
}
