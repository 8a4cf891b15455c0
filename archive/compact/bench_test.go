package compact_test

import (
	"bytes"
	"io"
	"os"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"

	"github.com/dermai/millrace/archive"
	"github.com/dermai/millrace/archive/compact"
	"github.com/dermai/millrace/archive/segment"
	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/fence/fencetest"
	"github.com/dermai/millrace/internal/testenv"
	"github.com/dermai/millrace/internal/traffic"
	"github.com/dermai/millrace/schemas"
)

const (
	benchEvents = 400_000
	benchFrame  = 1000
)

// archived is an archive of events of the reference generator, with an object
// behind them, so that all of them can be compacted.
func archived(b *testing.B, dir string) (store *archive.FileStore, bytes int64) {
	b.Helper()
	now := int64(noon)
	log := &fencetest.Memory{Clock: func() int64 { return now }}
	store, err := archive.OpenFileStore(dir)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { store.Close() })
	flush := func() {
		a, err := archive.NewArchiver(log, store, archive.Config{Stream: "EVENTS_0"})
		for busy := true; busy && err == nil; {
			busy, err = a.Step(b.Context())
		}
		if err == nil {
			err = a.Flush(b.Context())
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	g := traffic.New(traffic.Config{Seed: 1})
	var frame []byte
	for i := range benchEvents {
		now += int64(100 * time.Microsecond)
		frame, _, _ = g.AppendLine(frame, now)
		if frame[len(frame)-1] != '\n' {
			frame = append(frame, '\n')
		}
		if (i+1)%benchFrame == 0 {
			bytes += int64(len(frame))
			log.Put(fence.Message{Subject: "events.0.log.api.l1", Data: schemas.Pack(nil, frame)})
			frame = frame[:0]
		}
	}
	flush()
	log.Put(fence.Message{Subject: "events.0.tick"})
	log.Put(fence.Message{Subject: "events.0.log.api.l1", Data: []byte(event)})
	flush()
	return store, bytes
}

// BenchmarkCompact makes segments of objects, which it reads, writes, puts, reads back
// and commits, and writes the same rows straight by parquet-go, in turns. What it
// reports is the median of the turns. amplification is what is written for a byte
// that stays: objects and segments by segments.
func BenchmarkCompact(b *testing.B) {
	dir := b.TempDir()
	archived(b, dir)
	var compacts, straights, ratios []float64
	var rows, l0, l1 float64
	for b.Loop() {
		store := reopened(b, dir)
		for o, err := range store.List(b.Context(), "l0/", "") {
			if err != nil {
				b.Fatal(err)
			}
			l0 += float64(o.Size)
		}
		var segments []archive.Segment
		c, err := compact.New(store, compact.Config{Dir: b.TempDir(), Bytes: 1, Committed: func(s archive.Segment) {
			rows += float64(s.Rows)
			l1 += float64(s.Bytes)
			segments = append(segments, s)
		}})
		if err != nil {
			b.Fatal(err)
		}
		took := worked(func() {
			for busy := true; busy && err == nil; {
				busy, err = c.Step(b.Context())
			}
		})
		if err != nil {
			b.Fatal(err)
		}
		var straight float64
		for _, s := range segments {
			straight += writeStraight(b, store, s)
		}
		compacts = append(compacts, benchEvents/took)
		straights = append(straights, benchEvents/straight)
		ratios = append(ratios, straight/took)
	}
	b.ReportMetric(median(compacts), "events/core-s")
	b.ReportMetric(median(straights), "straight/core-s")
	b.ReportMetric(median(ratios), "of-straight")
	b.ReportMetric(l1/rows, "B/event")
	b.ReportMetric((l0+l1)/l1, "amplification")
}

// reopened is the store of a copy of a directory.
func reopened(b *testing.B, dir string) archive.Store {
	b.Helper()
	to := b.TempDir()
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		b.Fatal(err)
	}
	store, err := archive.OpenFileStore(to)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { store.Close() })
	return store
}

// writeStraight writes a segment's rows, made before, to nowhere, and gives the
// seconds that a core worked for it.
func writeStraight(b *testing.B, store archive.Store, s archive.Segment) float64 {
	b.Helper()
	body, err := store.Get(b.Context(), s.Key, 0, -1)
	if err != nil {
		b.Fatal(err)
	}
	defer body.Close()
	data, err := io.ReadAll(body)
	if err != nil {
		b.Fatal(err)
	}
	rows, err := parquet.Read[segment.Row](bytes.NewReader(data), int64(len(data)))
	if err != nil {
		b.Fatal(err)
	}
	return worked(func() {
		w := parquet.NewGenericWriter[segment.Row](io.Discard, segment.Options()...)
		for part := range slices.Chunk(rows, benchFrame) {
			if _, err := w.Write(part); err != nil {
				b.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			b.Fatal(err)
		}
	})
}

// worked gives the seconds that a core worked for this process during fn.
func worked(fn func()) float64 {
	runtime.GC()
	begun := testenv.CPU()
	fn()
	return testenv.CPU() - begun
}

func median(of []float64) float64 {
	slices.Sort(of)
	return of[len(of)/2]
}

// BenchmarkVerify reads everything of objects, and of segments.
func BenchmarkVerify(b *testing.B) {
	verify := func(b *testing.B, store archive.Store) {
		begun := testenv.CPU()
		for b.Loop() {
			r, err := archive.Verify(b.Context(), store, archive.Options{Full: true})
			if err != nil || !r.OK() {
				b.Fatal(err, r.Problems)
			}
		}
		b.ReportMetric(float64(b.N)*benchEvents/(testenv.CPU()-begun), "events/core-s")
		b.ReportMetric(float64(b.N)*benchEvents/b.Elapsed().Seconds(), "events/s")
	}
	store, _ := archived(b, b.TempDir())
	b.Run("objects", func(b *testing.B) { verify(b, store) })
	c, err := compact.New(store, compact.Config{Dir: b.TempDir(), Bytes: 1, Grace: 1})
	if err != nil {
		b.Fatal(err)
	}
	for busy := true; busy; {
		if busy, err = c.Step(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("segments", func(b *testing.B) { verify(b, store) })
}
