package s3_test

import (
	"errors"
	"testing"
	"time"

	"github.com/dermai/millrace/archive"
	"github.com/dermai/millrace/archive/compact"
	"github.com/dermai/millrace/archive/query"
)

// TestCompact: on S3, too, segments take the place of objects.
func TestCompact(t *testing.T) {
	store := open(t, config(t))
	log := flood{last: 64}
	a, err := archive.NewArchiver(log, store, archive.Config{Stream: "EVENTS_0", CutBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	for busy := true; busy; {
		if busy, err = a.Step(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	c, err := compact.New(store, compact.Config{Bytes: 2 << 20, Dir: t.TempDir(), Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		for busy := true; busy; {
			if busy, err = c.Step(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		now = now.Add(97 * time.Hour) // the second time, what was compacted is removed
	}
	next := uint64(1)
	err = query.Messages(t.Context(), store, archive.Filter{}, func(r *archive.Record) error {
		if want := log.entry(next); r.Seq != next || string(r.Payload) != string(want.Data) {
			return errors.New("another message than was archived")
		}
		next++
		return nil
	})
	if err != nil || next != 65 {
		t.Errorf("%d of 64 messages come back: %v", next-1, err)
	}
	r, err := archive.Verify(t.Context(), store, archive.Options{Full: true})
	if err != nil || !r.OK() || r.Chains[0].Segments == 0 || r.Chains[0].Objects > 2 {
		t.Errorf("verify: %+v, %v; want segments and the last object or two", r, err)
	}
}
