package fence_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/fence/fencetest"
)

// mute is a log whose server is gone without a word when an append comes.
type mute struct {
	fencetest.Memory
	mute bool
}

func (m *mute) Append(ctx context.Context, msg fence.Message, prev uint64) (uint64, error) {
	seq, err := m.Memory.Append(ctx, msg, prev)
	if !m.mute {
		return seq, err
	}
	m.mute = false
	<-ctx.Done()
	return 0, fence.ErrUnknown
}

// An append that gets no answer, whether it is stored or not, is given up and settled,
// though the caller's context never ends.
func TestWriterWaitsForNoAnswer(t *testing.T) {
	for name, fault := range map[string]fencetest.Fault{"stored": fencetest.None, "lost": fencetest.LoseAppend} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx := context.Background()
				m := new(mute)
				m.Put(fence.Message{Subject: "control", Data: []byte("genesis")})
				w := fence.NewWriter(m, "control", func() string { return "c" })
				if _, err := w.Load(ctx); err != nil {
					t.Fatal(err)
				}
				m.mute, m.Fault = true, func(fence.Message) fencetest.Fault { return fault }
				if err := w.Append(ctx, nil, []byte("claim")); !errors.Is(err, fence.ErrUnknown) {
					t.Fatalf("append without an answer: %v", err)
				}
				m.Fault = nil
				if err := w.Settle(ctx); err != nil || w.Seq() != 2 {
					t.Errorf("settled at %d: %v", w.Seq(), err)
				}
				entries, err := m.Read(ctx, "CONTROL", 1, 10)
				if err != nil || len(entries) != 2 || string(entries[1].Data) != "claim" {
					t.Errorf("the log is %v, %v, want the claim once", entries, err)
				}
			})
		})
	}
}
