package stages

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/fence/fencetest"
	"github.com/dermai/millrace/schemas"
)

// leaving is the log of a server that goes without a word.
type leaving struct {
	fencetest.Memory
	gone bool
}

func (l *leaving) Append(ctx context.Context, m fence.Message, prev uint64) (uint64, error) {
	if l.gone {
		<-ctx.Done()
		return 0, fmt.Errorf("append to %s: %w: %w", m.Subject, fence.ErrUnknown, ctx.Err())
	}
	return l.Memory.Append(ctx, m, prev)
}

func (l *leaving) Head(ctx context.Context, subject string) (fence.Entry, error) {
	if l.gone {
		<-ctx.Done()
		return fence.Entry{}, ctx.Err()
	}
	return l.Memory.Head(ctx, subject)
}

func (l *leaving) Trim(ctx context.Context, stream, subject string, seq uint64) error {
	if l.gone {
		<-ctx.Done()
		return ctx.Err()
	}
	return l.Memory.Trim(ctx, stream, subject, seq)
}

// What an evaluator keeps beside its decisions holds them up for a second at most, and
// is kept once a server answers.
func TestKeepingDoesNotHoldUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		where := schemas.Telemetry.Checkpoints()
		l := &leaving{}
		l.Put(fence.Message{Subject: where})
		m := Evaluate{
			cfg:   EvaluateConfig{Class: schemas.Telemetry, Trimmer: l},
			saver: newSaver(l, where, func() string { return "claim" }),
			heads: map[schemas.Partition]uint64{1: 1, 2: 1},
		}
		m.saver.parts = [][]byte{[]byte("state")}
		quick := func(what string, do func()) {
			t.Helper()
			began := time.Now()
			if do(); time.Since(began) > time.Second {
				t.Errorf("%s held up for %s", what, time.Since(began))
			}
		}
		save := func() {
			if err := m.save(t.Context()); (err != nil) != l.gone {
				t.Errorf("gone %v: %v", l.gone, err)
			}
		}
		save() // loads
		l.gone = true
		quick("an append", save)
		quick("settling it", save)
		m.check.trim = 1
		quick("trimming", func() {
			if err := m.trim(t.Context()); err == nil {
				t.Error("nothing was trimmed, and nothing is said")
			}
		})
		l.gone = false
		save()
		if head, err := l.Head(t.Context(), where); err != nil || head.Seq != m.check.last || string(head.Data) != "state" {
			t.Errorf("the head is %d, %q, and the checkpoint at %d: %v", head.Seq, head.Data, m.check.last, err)
		}
	})
}
