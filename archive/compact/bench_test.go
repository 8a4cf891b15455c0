package compact_test

import (
	"testing"
	"time"

	"github.com/dermai/millrace/archive"
	"github.com/dermai/millrace/archive/compact"
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

// BenchmarkCompact makes segments of objects: it reads them, writes, puts, reads
// back and commits. amplification is what is written for a byte that stays: objects
// and segments by segments.
func BenchmarkCompact(b *testing.B) {
	var total float64
	var rows, l0, l1 float64
	for b.Loop() {
		b.StopTimer()
		store, _ := archived(b, b.TempDir())
		for o, err := range store.List(b.Context(), "l0/", "") {
			if err != nil {
				b.Fatal(err)
			}
			l0 += float64(o.Size)
		}
		c, err := compact.New(store, compact.Config{Dir: b.TempDir(), Bytes: 1, Committed: func(s archive.Segment) {
			rows += float64(s.Rows)
			l1 += float64(s.Bytes)
		}})
		if err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		begun := testenv.CPU()
		for busy := true; busy; {
			if busy, err = c.Step(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
		total += testenv.CPU() - begun
	}
	b.ReportMetric(rows/total, "events/core-s")
	b.ReportMetric(l1/rows, "B/event")
	b.ReportMetric((l0/benchEvents/float64(b.N)+l1/rows)/(l1/rows), "amplification")
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
