package pipeline_test

import (
	"context"
	"testing"
	"time"

	"github.com/dermai/millrace/pipeline"
	"github.com/dermai/millrace/schemas"
	"github.com/google/go-cmp/cmp"
)

// TestSilences follows what is stored, ended and made by somebody else.
func TestSilences(t *testing.T) {
	_, c := deployed(t)
	silences := pipeline.NewSilences(c)
	if revision, list := silences.Current(); revision != 0 || len(list) != 0 {
		t.Errorf("at first %d, %v", revision, list)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- silences.Run(ctx) }()
	first := schemas.Silence{ID: "a", Matchers: []string{"service=api"}, Starts: 1, Ends: 100, Author: "desk", Comment: "x", Created: 1}
	second := schemas.Silence{ID: "b", Matchers: []string{"service=web"}, Starts: 1, Ends: 100, Author: "desk", Comment: "y", Created: 2}
	ended := first
	ended.Ends = 50
	other := pipeline.NewSilences(c)
	for _, s := range []schemas.Silence{first, second, ended} {
		if err := other.Put(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	want := []schemas.Silence{ended, second}
	if got, err := other.List(t.Context()); err != nil || !cmp.Equal(want, got) {
		t.Errorf("listed %v, %v", got, err)
	}
	patience := time.After(20 * time.Second)
	look := time.NewTicker(time.Millisecond)
	defer look.Stop()
	for {
		revision, got := silences.Current()
		if revision > 0 && cmp.Equal(want, got) {
			break
		}
		select {
		case <-look.C:
		case <-patience:
			t.Fatalf("followed %v", got)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
