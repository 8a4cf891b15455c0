package query_test

import (
	"flag"
	"fmt"
	"testing"
	"time"

	"github.com/dermai/millrace/archive/compact"
	"github.com/dermai/millrace/archive/query"
	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/internal/traffic"
	"github.com/dermai/millrace/schemas"
)

var dayEvents = flag.Int("events", 400_000, "events of BenchmarkTrace's largest day")

// BenchmarkTrace looks for one trace id in the segments of a day, and of days of half
// and a quarter of its events.
func BenchmarkTrace(b *testing.B) {
	for _, events := range []int{*dayEvents / 4, *dayEvents / 2, *dayEvents} {
		b.Run(fmt.Sprintf("events=%d", events), func(b *testing.B) {
			day := newBench(b)
			needle := day.generate(b, events)
			o := query.Options{Where: where(b, fmt.Sprintf("trace_id == %q", needle))}
			var stats query.Stats
			for b.Loop() {
				found := 0
				var err error
				stats, err = query.Run(b.Context(), day.store, o, func(*query.Event) error { found++; return nil })
				if err != nil || found == 0 {
					b.Fatal(found, err)
				}
			}
			b.ReportMetric(float64(stats.Pages), "pages")
			b.ReportMetric(float64(stats.PagesRead), "pages-read")
			b.ReportMetric(float64(stats.Cost.Bytes)/1e6, "MB")
			b.ReportMetric(float64(stats.Cost.BytesRead)/1e6, "MB-read")
		})
	}
}

// generate archives and compacts events of the reference generator, and gives the
// trace id of one in their middle.
func (b *bench) generate(t testing.TB, events int) (needle string) {
	t.Helper()
	const frame = 1000
	g := traffic.New(traffic.Config{Seed: 1})
	var lines []byte
	for i := range events {
		at := len(lines)
		lines, _, _ = g.AppendLine(lines, b.now)
		if lines[len(lines)-1] != '\n' {
			lines = append(lines, '\n')
		}
		if i >= events/2 && needle == "" {
			e, err := schemas.Decode(lines[at:len(lines)-1], schemas.Origin{Kind: schemas.KindLog, Service: "api"})
			if err == nil {
				needle = e.TraceID
			}
		}
		if (i+1)%frame == 0 {
			b.now += int64(time.Millisecond)
			b.log.Put(fence.Message{Subject: "events.0.log.api.l1", Data: schemas.Pack(nil, lines)})
			lines = lines[:0]
		}
	}
	b.archive(t, "EVENTS_0")
	b.now += int64(24 * time.Hour) // a day is compacted when the next has begun
	b.log.Put(fence.Message{Subject: "events.0.log.api.l1", Data: []byte(event("INFO", "", "last", ""))})
	b.archive(t, "EVENTS_0")
	c, err := compact.New(b.store, compact.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	for busy := true; busy; {
		if busy, err = c.Step(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	return needle
}
