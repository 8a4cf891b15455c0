package fence_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/fence/fencetest"
	"github.com/dermai/millrace/schemas"
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

// What a writer was told to be stored is there, or it says so: also where another writer
// of the subject has gone on meanwhile, in another stream.
func TestWriterNoticesLoss(t *testing.T) {
	for name, c := range map[string]struct {
		harm func(m *fencetest.Memory)
		want error
	}{
		"tail lost":                  {func(m *fencetest.Memory) { m.Rewind("CONTROL", 2) }, fence.ErrRewound},
		"tail lost, others go on":    {func(m *fencetest.Memory) { m.Rewind("CONTROL", 2); m.Put(fence.Message{Subject: "other"}) }, fence.ErrRewound},
		"made again":                 {func(m *fencetest.Memory) { remake(m, 2) }, fence.ErrRecreated},
		"made again, and written to": {func(m *fencetest.Memory) { remake(m, 9) }, fence.ErrRecreated},
		"made again, empty":          {func(m *fencetest.Memory) { remake(m, 0) }, fence.ErrNoHead},
	} {
		t.Run(name, func(t *testing.T) {
			m := new(fencetest.Memory)
			m.Put(fence.Message{Subject: "control"})
			w := fence.NewWriter(m, "control", func() string { return "c" })
			if _, err := w.Load(t.Context()); err != nil {
				t.Fatal(err)
			}
			for range 3 {
				if err := w.Append(t.Context(), nil, nil); err != nil {
					t.Fatal(err)
				}
			}
			c.harm(m)
			err := w.Append(t.Context(), nil, nil)
			for errors.Is(err, fence.ErrUnknown) {
				err = w.Settle(t.Context())
			}
			if errors.Is(err, fence.ErrFenced) {
				if _, err = w.Load(t.Context()); err == nil {
					err = w.Append(t.Context(), nil, nil)
				}
			}
			if !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}

func remake(m *fencetest.Memory, messages int) {
	m.Recreate("CONTROL")
	for range messages {
		m.Put(fence.Message{Subject: "control"})
	}
}

// A mark is of one message of one stream.
func TestRecognise(t *testing.T) {
	for name, c := range map[string]struct {
		harm func(m *fencetest.Memory)
		want error
	}{
		"as it was": {func(*fencetest.Memory) {}, nil},
		"longer":    {func(m *fencetest.Memory) { m.Put(fence.Message{Subject: "control"}) }, nil},
		"trimmed":   {func(m *fencetest.Memory) { _ = m.Trim(context.Background(), "CONTROL", "", 4) }, nil},
		"tail lost": {func(m *fencetest.Memory) { m.Rewind("CONTROL", 1) }, fence.ErrRewound},
		"tail lost, and filled": {func(m *fencetest.Memory) {
			m.Rewind("CONTROL", 1)
			m.Put(fence.Message{Subject: "control"})
			m.Put(fence.Message{Subject: "control"})
		}, fence.ErrRewound},
		"made again": {func(m *fencetest.Memory) { remake(m, 9) }, fence.ErrRecreated},
	} {
		t.Run(name, func(t *testing.T) {
			m := new(fencetest.Memory)
			for range 3 {
				m.Put(fence.Message{Subject: "control"})
			}
			info, err := m.Info(t.Context(), "CONTROL")
			if err != nil {
				t.Fatal(err)
			}
			found, err := m.Read(t.Context(), "CONTROL", 3, 1)
			if err != nil || len(found) != 1 {
				t.Fatal(found, err)
			}
			c.harm(m)
			if _, err := fence.Recognise(t.Context(), m, "CONTROL", schemas.Mark{Created: info.Created, Seq: 3, Time: found[0].Time}); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}
