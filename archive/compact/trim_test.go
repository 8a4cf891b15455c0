package compact_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/dermai/millrace/archive"
	"github.com/dermai/millrace/archive/archivetest"
	"github.com/dermai/millrace/schemas"
)

// TestTrimBehindProof: a stream forgets only what is in the archive as it was put,
// in an object or, once that was compacted and removed, in its segment.
func TestTrimBehindProof(t *testing.T) {
	b := archivetest.NewBench(t)
	registry := prometheus.NewRegistry()
	config := archive.Config{
		Stream: "EVENTS_0", Now: b.Clock, Metrics: archive.NewMetrics(registry),
		Trim: &archive.Trim{Trimmer: b.Log, Covered: func(context.Context) (uint64, error) { return 1000, nil }},
	}
	var a *archive.Archiver
	begin := func() {
		t.Helper()
		var err error
		a, err = archive.NewArchiver(b.Log, b.Store, config)
		if err != nil {
			t.Fatal(err)
		}
	}
	begin()
	for range 8 {
		b.Put("events.0.log.api.l1", event)
		archivetest.Drain(t, a)
	}
	path := func(key string) string { return filepath.Join(b.Dir, filepath.FromSlash(key)) }
	want := func(what string, first uint64, refused float64) {
		t.Helper()
		b.Now += int64(2 * time.Minute)
		archivetest.Drain(t, a)
		info, err := b.Log.Info(t.Context(), "EVENTS_0")
		if err != nil {
			t.Fatal(err)
		}
		got := testutil.ToFloat64(gauge(t, registry, "millrace_archive_trim_refused"))
		if info.First != first || got != refused {
			t.Errorf("%s: the stream begins at %d, refused %v; want %d, %v", what, info.First, got, first, refused)
		}
	}
	objects := b.Keys(t, "l0/")
	whole, err := os.ReadFile(path(objects[2]))
	if err != nil {
		t.Fatal(err)
	}
	write := func(key string, body []byte) {
		t.Helper()
		if err := os.WriteFile(path(key), body, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	bad := append([]byte(nil), whole...)
	bad[len(bad)/3] ^= 1
	write(objects[2], bad)
	b.Now += int64(73 * time.Hour)
	want("a damaged object", 3, 1)
	b.Now += int64(100 * 24 * time.Hour)
	begin()
	want("a damaged object that a new archiver finds after a long time", 3, 1)
	if err := os.Remove(path(objects[2])); err != nil {
		t.Fatal(err)
	}
	want("an object that is gone", 3, 1)
	write(objects[2], whole[:len(whole)-1])
	want("an object that was cut", 3, 1)
	write(objects[2], whole)
	gone := objects[5]
	b.Compact(t)
	if err := archive.NewView(b.Store, schemas.Telemetry).Remove(t.Context(), gone); err != nil {
		t.Fatal(err)
	}
	segments := b.Keys(t, "l1/")
	body, err := os.ReadFile(path(segments[len(segments)-1]))
	if err != nil {
		t.Fatal(err)
	}
	body[len(body)/2] ^= 1
	for _, key := range segments {
		if err := os.Rename(path(key), path(key)+".away"); err != nil {
			t.Fatal(err)
		}
	}
	want("neither object nor segment", 6, 1)
	for _, key := range segments {
		write(key, body)
	}
	want("a damaged segment", 6, 1)
	for _, key := range segments {
		if err := os.Rename(path(key)+".away", path(key)); err != nil {
			t.Fatal(err)
		}
	}
	want("the segment instead of its object", 9, 0)
}

// gauge is the collector of one metric without its labels.
func gauge(t *testing.T, registry *prometheus.Registry, name string) prometheus.Collector {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name && len(f.GetMetric()) == 1 {
			g := prometheus.NewGauge(prometheus.GaugeOpts{Name: name})
			g.Set(f.GetMetric()[0].GetGauge().GetValue())
			return g
		}
	}
	t.Fatalf("no metric %s", name)
	return nil
}
