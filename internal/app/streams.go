package app

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/pipeline"
	"github.com/dermai/millrace/schemas"
	"github.com/dermai/millrace/stages"
)

// readMax is how many messages are asked for at once.
const readMax = 256

// scan gives each message that a stream holds now to fn, from a sequence on (0:
// from the first).
func scan(ctx context.Context, log *pipeline.Log, stream string, from uint64, fn func(fence.Entry) error) error {
	info, err := log.Info(ctx, stream)
	if err != nil {
		return fmt.Errorf("read %s: %w", stream, err)
	}
	for next := max(from, info.First); next <= info.Last; {
		if err := ctx.Err(); err != nil {
			return err
		}
		entries, err := log.Read(ctx, stream, next, readMax)
		if err != nil {
			return fmt.Errorf("read %s: %w", stream, err)
		}
		if len(entries) == 0 { // on its way, or trimmed by now
			if info.First, err = firstOf(ctx, log, stream); err != nil {
				return err
			}
			next = max(next, info.First)
			arrived(ctx, log)
		}
		for _, e := range entries {
			if e.Seq > info.Last {
				return nil
			}
			if err := fn(e); err != nil {
				return fmt.Errorf("read %s: message %d: %w", stream, e.Seq, err)
			}
			next = e.Seq + 1
		}
	}
	return nil
}

// arrived waits until something may have arrived for a stream that is read.
func arrived(ctx context.Context, log *pipeline.Log) {
	select {
	case <-ctx.Done():
	case <-log.Changed():
	case <-time.After(100 * time.Millisecond):
	}
}

func firstOf(ctx context.Context, log *pipeline.Log, stream string) (uint64, error) {
	info, err := log.Info(ctx, stream)
	if err != nil {
		return 0, fmt.Errorf("read %s: %w", stream, err)
	}
	return info.First, nil
}

// readControl reads the control log to its present end.
func readControl(ctx context.Context, log *pipeline.Log) (*stages.Control, error) {
	info, err := log.Info(ctx, schemas.StreamControl)
	if err != nil {
		return nil, fmt.Errorf("read the control log: %w", err)
	}
	control := stages.NewControl(log, time.Now, nil)
	for control.Schedule().Seq() < info.Last {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		read, err := control.Read(ctx)
		if err != nil {
			return nil, err
		}
		if !read {
			arrived(ctx, log)
		}
	}
	return control, nil
}

// scanAs is scan for the messages of one type on subjects that begin with a
// prefix.
func scanAs[T any](ctx context.Context, log *pipeline.Log, stream, prefix, typ string, fn func(fence.Entry, *T) error) error {
	return scan(ctx, log, stream, 0, func(e fence.Entry) error {
		if e.Header[schemas.HeaderType] != typ || !strings.HasPrefix(e.Subject, prefix) {
			return nil
		}
		var v T
		if err := schemas.DecodeInto(e.Data, &v); err != nil {
			return err
		}
		return fn(e, &v)
	})
}

// sequenceAt finds the first message of a stream that arrived at a time (Unix
// ns) or later, Last+1 if none did. The broker's timestamps hardly ever step
// back, and where they do it is off by as much.
func sequenceAt(ctx context.Context, log *pipeline.Log, stream string, at int64) (uint64, error) {
	info, err := log.Info(ctx, stream)
	if err != nil {
		return 0, fmt.Errorf("read %s: %w", stream, err)
	}
	low, high := info.First, info.Last+1
	for low < high {
		middle := low + (high-low)/2
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		entries, err := log.Read(ctx, stream, middle, 1)
		switch {
		case err != nil:
			return 0, fmt.Errorf("read %s: %w", stream, err)
		case len(entries) == 0: // on its way: there is a message, the last one at least
			arrived(ctx, log)
		case entries[0].Time >= at:
			high = middle
		default:
			low = entries[0].Seq + 1
		}
	}
	return low, nil
}

// openPartitions lists the partitions that the control log has opened.
func openPartitions(ctx context.Context, log *pipeline.Log) ([]schemas.Partition, error) {
	control, err := readControl(ctx, log)
	if err != nil {
		return nil, err
	}
	var out []schemas.Partition
	for _, class := range schemas.Classes {
		out = append(out, control.Schedule().Partitions(class)...)
	}
	return out, nil
}
