package fencetest

import (
	"context"
	"errors"
	"testing"

	"github.com/dermai/millrace/fence"
)

// settle calls Settle while the outcome is unknown.
func settle(t *testing.T, ctx context.Context, w *fence.Writer) error {
	t.Helper()
	for {
		err := w.Settle(ctx)
		if !errors.Is(err, fence.ErrUnknown) || ctx.Err() != nil {
			return err
		}
	}
}

// loaded is a writer whose subject has a genesis and its claim.
func loaded(t *testing.T, ctx context.Context, l fence.Log, name string) *fence.Writer {
	t.Helper()
	w := fence.NewWriter(l, subject, claims(name))
	if _, err := w.Load(ctx); err != nil {
		t.Fatal(err)
	}
	if err := w.Append(ctx, nil, []byte(name)); err != nil {
		t.Fatal(err)
	}
	return w
}

func testAnswerLost(t *testing.T, ctx context.Context, e Env) {
	a := e.Log()
	appendTo(t, ctx, a, subject, 0, "genesis")
	w := loaded(t, ctx, a, "a")
	e.Arm(a, LoseAnswer)
	if err := w.Append(ctx, nil, []byte("once")); !errors.Is(err, fence.ErrUnknown) || !w.Unsettled() {
		t.Fatalf("append whose answer is lost: %v, want ErrUnknown", err)
	}
	if err := w.Append(ctx, nil, []byte("other")); err == nil {
		t.Error("another append was taken while one is in flight")
	}
	if err := settle(t, ctx, w); err != nil {
		t.Fatalf("settle: %v", err)
	}
	if err := w.Append(ctx, nil, []byte("next")); err != nil {
		t.Fatal(err)
	}
	wantData(t, ctx, e.Log(), "genesis", "a", "once", "next")
}

func testAppendLost(t *testing.T, ctx context.Context, e Env) {
	a := e.Log()
	appendTo(t, ctx, a, subject, 0, "genesis")
	w := loaded(t, ctx, a, "a")
	e.Arm(a, LoseAppend)
	if err := w.Append(ctx, nil, []byte("once")); !errors.Is(err, fence.ErrUnknown) {
		t.Fatalf("append that is lost: %v, want ErrUnknown", err)
	}
	wantData(t, ctx, e.Log(), "genesis", "a")
	if err := settle(t, ctx, w); err != nil {
		t.Fatalf("settle: %v", err)
	}
	wantData(t, ctx, e.Log(), "genesis", "a", "once")
}

func testZombie(t *testing.T, ctx context.Context, e Env) {
	a, b := e.Log(), e.Log()
	appendTo(t, ctx, a, subject, 0, "genesis")
	old := loaded(t, ctx, a, "old")
	loaded(t, ctx, b, "new")
	if err := old.Append(ctx, nil, []byte("zombie")); !errors.Is(err, fence.ErrUnknown) {
		t.Fatalf("append of the old writer: %v", err)
	}
	if err := settle(t, ctx, old); !errors.Is(err, fence.ErrFenced) {
		t.Errorf("the old writer settles with %v, want ErrFenced", err)
	}
	wantData(t, ctx, e.Log(), "genesis", "old", "new")
}

func testZombieUnknown(t *testing.T, ctx context.Context, e Env) {
	a, b := e.Log(), e.Log()
	appendTo(t, ctx, a, subject, 0, "genesis")
	old := loaded(t, ctx, a, "old")
	e.Arm(a, LoseAnswer)
	if err := old.Append(ctx, nil, []byte("stored")); !errors.Is(err, fence.ErrUnknown) {
		t.Fatalf("append whose answer is lost: %v", err)
	}
	w := fence.NewWriter(b, subject, claims("b"))
	var head fence.Entry
	for string(head.Data) != "stored" { // it may arrive late
		var err error
		if head, err = w.Load(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Append(ctx, nil, []byte("new")); err != nil {
		t.Fatal(err)
	}
	// The message was stored, but the writer may not go on with its state.
	if err := settle(t, ctx, old); !errors.Is(err, fence.ErrFenced) {
		t.Errorf("the old writer settles with %v, want ErrFenced", err)
	}
	wantData(t, ctx, e.Log(), "genesis", "old", "stored", "new")
}

func testGenesis(t *testing.T, ctx context.Context, e Env) {
	// Of any number who write the genesis, one does.
	won := 0
	for range 3 {
		_, err := e.Log().Append(ctx, fence.Message{Subject: subject, Data: []byte("genesis")}, 0)
		if refused := (*fence.RefusedError)(nil); errors.As(err, &refused) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		won++
	}
	if won != 1 {
		t.Errorf("%d of 3 wrote the genesis, want 1", won)
	}
	w := fence.NewWriter(e.Log(), subject, claims("a"))
	head, err := w.Load(ctx)
	if err != nil || string(head.Data) != "genesis" {
		t.Errorf("load after genesis: %q, %v", head.Data, err)
	}
}
