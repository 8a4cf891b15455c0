package pipeline_test

import (
	"context"
	"testing"
	"time"

	"github.com/dermai/millrace/pipeline"
	"github.com/dermai/millrace/schemas"
	"github.com/google/go-cmp/cmp"
)

// TestForgetSilences: what was over before a time goes, with its history; the
// rest stays.
func TestForgetSilences(t *testing.T) {
	_, c := deployed(t)
	silences := pipeline.NewSilences(c)
	if err := silences.Forget(t.Context(), time.Unix(0, 1000)); err != nil {
		t.Errorf("without silences: %v", err)
	}
	var want []schemas.Silence
	for i, ends := range []int64{99, 100, 101} {
		s := schemas.Silence{ID: string(rune('a' + i)), Matchers: []string{"service=api"}, Starts: 1, Ends: 1000, Author: "desk", Comment: "x", Created: int64(i)}
		for range 3 { // it was prolonged, and ended
			if err := silences.Put(t.Context(), s); err != nil {
				t.Fatal(err)
			}
			s.Ends = ends
		}
		if ends >= 100 {
			want = append(want, s)
		}
	}
	for range 2 {
		if err := silences.Forget(t.Context(), time.Unix(0, 100)); err != nil {
			t.Fatal(err)
		}
		if got, err := silences.List(t.Context()); err != nil || !cmp.Equal(want, got) {
			t.Errorf("left %v, %v; want %v", got, err, want)
		}
	}
	info, err := c.Log().Info(t.Context(), "KV_silences")
	if err != nil || info.First != 4 || info.Last != 9 {
		t.Errorf("the bucket holds %+v, %v; want messages 4 to 9", info, err)
	}
}

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
