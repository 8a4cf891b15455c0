package pipeline

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/schemas"
)

// AppendControl appends an entry to the control log, whoever else does so at
// the time, and returns its sequence. nil: it is stored, once. An error that is
// ErrUnknown leaves that open; the entry may be appended again, since a rule set
// that is in force and a partition that is open are not changed by it.
func AppendControl(ctx context.Context, log fence.Log, entry schemas.ControlEntry) (uint64, error) {
	data, err := schemas.Encode(entry)
	if err != nil {
		return 0, fmt.Errorf("append to the control log: %w", err)
	}
	m := fence.Message{Subject: schemas.SubjectControl, Data: data, Header: fence.Header{
		schemas.HeaderType: schemas.TypeControl,
		fence.HeaderToken:  rand.Text() + "/0/0",
	}}
	for after := uint64(0); ; {
		head, err := log.Head(ctx, schemas.SubjectControl)
		if err != nil {
			return 0, fmt.Errorf("append to the control log: %w", fence.Missing(err, schemas.SubjectControl))
		}
		if after == 0 {
			after = head.Seq
		} else if seq, err := findToken(ctx, log, after, head.Seq, m.Header[fence.HeaderToken]); seq > 0 || err != nil {
			return seq, err
		}
		seq, err := log.Append(ctx, m, head.Seq)
		refused := (*fence.RefusedError)(nil)
		switch {
		case err == nil:
			return seq, nil
		case ctx.Err() != nil, !errors.As(err, &refused) && !errors.Is(err, fence.ErrUnknown):
			return 0, fmt.Errorf("append to the control log: %w", err)
		}
	}
}

// findToken looks for the message with a token after one sequence up to
// another: an earlier attempt that was stored, and may have others behind it.
func findToken(ctx context.Context, log fence.Log, after, last uint64, token string) (uint64, error) {
	for after < last {
		entries, err := log.Read(ctx, schemas.StreamControl, after+1, 256)
		if err != nil {
			return 0, fmt.Errorf("append to the control log: %w: %w", fence.ErrUnknown, err)
		}
		for _, e := range entries {
			if e.Header[fence.HeaderToken] == token {
				return e.Seq, nil
			}
			after = e.Seq
		}
	}
	return 0, nil
}
