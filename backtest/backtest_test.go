package backtest_test

import (
	"errors"
	"testing"
	"time"

	"github.com/dermai/millrace/archive"
	"github.com/dermai/millrace/archive/archivetest"
	"github.com/dermai/millrace/backtest"
	"github.com/dermai/millrace/backtest/daytest"
	"github.com/dermai/millrace/fence"
)

// What is proven on S3, too, in integration/s3.

func TestRecorded(t *testing.T) { daytest.Recorded(t, archivetest.NewBench(t).Store) }
func TestDamaged(t *testing.T)  { daytest.Damaged(t, archivetest.NewBench(t).Store) }

// TestAnotherEpoch: of a stream that was made again, or lost its tail, what is asked for
// from before that is not passed over.
func TestAnotherEpoch(t *testing.T) {
	for what, lose := range map[string]func(*archivetest.Bench){
		"made again":    func(b *archivetest.Bench) { b.Log.Recreate("EVENTS_0") },
		"lost its tail": func(b *archivetest.Bench) { b.Log.Rewind("EVENTS_0", 0) },
	} {
		t.Run(what, func(t *testing.T) {
			b := archivetest.NewBench(t)
			a, err := archive.NewArchiver(b.Log, b.Store, archive.Config{Stream: "EVENTS_0", Now: b.Clock, NextGeneration: true})
			if err != nil {
				t.Fatal(err)
			}
			put := func(text string) {
				b.Put("events.0.log.api.l1", text)
				archivetest.Drain(t, a)
			}
			put("a")
			put("b")
			before := b.Now
			b.Now += int64(time.Second)
			lose(b)
			put("x")
			put("y")
			source := &backtest.Archive{Store: b.Store}
			for since, want := range map[int64]string{0: "unknown", before: "unknown", before + 1: "xy"} {
				if got := payloads(t, source, since); got != want {
					t.Errorf("since %d: %q; want %q", since, got, want)
				}
			}
		})
	}
}

// payloads joins what a source has of EVENTS_0 since a moment, or says that it is unknown.
func payloads(t *testing.T, source backtest.Source, since int64) (out string) {
	t.Helper()
	for r, err := range source.Messages(t.Context(), "EVENTS_0", since) {
		if unknown := (*backtest.UnknownError)(nil); errors.As(err, &unknown) {
			out += "unknown"
		} else if err != nil {
			t.Fatal(err)
		} else {
			out += string(r.Payload)
		}
	}
	return out
}

// TestLostTail: what a stream lost and the archive has beside it is not what a backtest
// goes by, and a range that it reaches into is unknown.
func TestLostTail(t *testing.T) {
	b := archivetest.NewBench(t)
	put := func(text string) { b.Put("events.0.log.api.l1", text) }
	put("a")
	put("b")
	var lost int64
	b.LoseTail(t, "EVENTS_0", func() { put("l"); put("m"); lost = b.Now }, func() { put("x") })
	put("y")
	log := func() (fence.Log, func()) { return b.Log, func() {} }
	source := &backtest.Live{Archive: backtest.Archive{Store: b.Store}, Log: log}
	for since, want := range map[int64]string{lost: "unknown", lost + 1: "xy"} {
		if got := payloads(t, source, since); got != want {
			t.Errorf("since %d: %q; want %q", since, got, want)
		}
	}
}
