package app

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/schemas"
)

// readMax is how many messages are asked for at once.
const readMax = 256

// scan gives each message that a stream holds now to fn, from a sequence on (0:
// from the first).
func scan(ctx context.Context, log fence.Log, stream string, from uint64, fn func(fence.Entry) error) error {
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

// scanAs is scan for the messages of one type on subjects that begin with a
// prefix.
func scanAs[T any](ctx context.Context, log fence.Log, stream, prefix, typ string, fn func(fence.Entry, *T) error) error {
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
func sequenceAt(ctx context.Context, log fence.Log, stream string, at int64) (uint64, error) {
	info, err := log.Info(ctx, stream)
	if err != nil {
		return 0, fmt.Errorf("read %s: %w", stream, err)
	}
	low, high := info.First, info.Last+1
	for low < high {
		middle := low + (high-low)/2
		entries, err := log.Read(ctx, stream, middle, 1)
		if err != nil {
			return 0, fmt.Errorf("read %s: %w", stream, err)
		}
		if len(entries) == 0 || entries[0].Time >= at {
			high = middle
		} else {
			low = entries[0].Seq + 1
		}
	}
	return low, nil
}

// openPartitions lists the partitions that the control log has opened.
func (s *session) openPartitions(schedule interface {
	Partitions(schemas.Class) []schemas.Partition
}) []schemas.Partition {
	var out []schemas.Partition
	for _, class := range schemas.Classes {
		out = append(out, schedule.Partitions(class)...)
	}
	return slices.Clip(out)
}
