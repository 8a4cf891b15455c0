package traffic_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/dermai/millrace/internal/traffic"
	"github.com/dermai/millrace/schemas"
	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC).UnixNano()

// lines makes n events, one each millisecond.
func lines(g *traffic.Generator, n int, each func(i int, line []byte, kind schemas.Kind, service string)) {
	var buf []byte
	for i := range n {
		line, kind, service := g.AppendLine(buf[:0], noon+int64(i)*1_001_000)
		each(i, line, kind, service)
		buf = line
	}
}

func TestLinesAreCanonicalEvents(t *testing.T) {
	other := traffic.New(traffic.Config{Seed: 7})
	lines(traffic.New(traffic.Config{Seed: 7}), 50_000, func(i int, line []byte, kind schemas.Kind, service string) {
		e, err := schemas.Decode(line, schemas.Origin{})
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if e.Kind != kind || e.Service != service || e.ID == "" {
			t.Fatalf("%s: said to be a %s of %s", line, kind, service)
		}
		again, err := schemas.AppendJSON(nil, &e)
		if err != nil || !bytes.Equal(again, line) {
			t.Fatalf("got  %s\nwant %s (%v)", line, again, err)
		}
		if n := schemas.Redact(&e); n > 0 {
			t.Fatalf("%s: looks secret", line)
		}
		if next := other.Next(noon + int64(i)*1_001_000); next.ID != e.ID || next.Time != e.Time {
			t.Fatalf("line %d: Next gives %+v", i, next)
		}
	})
}

func TestSeeds(t *testing.T) {
	all := func(seed uint64) string {
		var b bytes.Buffer
		lines(traffic.New(traffic.Config{Seed: seed}), 1000, func(_ int, line []byte, _ schemas.Kind, _ string) { b.Write(line) })
		return b.String()
	}
	if first, again := all(1), all(1); first != again {
		t.Error("one seed, two streams")
	}
	if all(1) == all(2) {
		t.Error("two seeds, one stream")
	}
}

// TestIncidents counts what rules look for, in and out of incidents.
func TestIncidents(t *testing.T) {
	type key struct {
		trouble traffic.Trouble
		during  bool
	}
	seen := map[key]int{}
	events := map[key]int{}
	kinds := map[traffic.Trouble]bool{}
	for seed := range uint64(2) {
		g := traffic.New(traffic.Config{Seed: seed, Calm: 2 * time.Second, Length: 5 * time.Second})
		backups := []string{}
		lines(g, 70_000, func(i int, line []byte, _ schemas.Kind, service string) {
			now := noon + int64(i)*1_001_000
			in := g.Incident()
			during := now >= in.Start && now < in.End
			if during {
				kinds[in.Trouble] = true
			}
			e, err := schemas.Decode(line, schemas.Origin{})
			if err != nil {
				t.Fatal(err)
			}
			for _, trouble := range traffic.Troubles {
				k := key{trouble, during && in.Trouble == trouble && in.Service == service}
				events[k]++
				if shows(trouble, e) {
					seen[k]++
				}
			}
			if e.Message == "Job failed" || e.Message == "Job finished" {
				backups = append(backups, e.Service+" "+e.Message)
			}
		})
		for i := 0; i+1 < len(backups); i += 2 {
			service := backups[i][:len(backups[i])-len(" Job failed")]
			if diff := cmp.Diff([]string{service + " Job failed", service + " Job finished"}, backups[i:i+2]); diff != "" {
				t.Errorf("seed %d: %s", seed, diff)
			}
		}
		if len(backups) == 0 {
			t.Errorf("seed %d: no backup", seed)
		}
	}
	if len(kinds) != len(traffic.Troubles) {
		t.Errorf("troubles %v", kinds)
	}
	for _, trouble := range traffic.Troubles {
		if trouble == traffic.Backup {
			continue // one event, counted above
		}
		during := float64(seen[key{trouble, true}]) / float64(events[key{trouble, true}])
		calm := float64(seen[key{trouble, false}]) / float64(events[key{trouble, false}])
		if during < 0.003 || calm > during/20 {
			t.Errorf("%s: shows in %.4f of the events during an incident, %.4f otherwise", trouble, during, calm)
		}
	}
}

// shows tells whether an event is what a trouble looks like.
func shows(trouble traffic.Trouble, e schemas.Event) bool {
	number := func(name string) float64 { f, _ := e.Attributes[name].(float64); return f }
	switch trouble {
	case traffic.Errors:
		return e.Message == "API request" && number("status_code") >= 500
	case traffic.Latency:
		return e.Message == "API request" && number("duration_ms") > 2000
	case traffic.SlowQueries:
		return e.Message == "Slow database query" && number("duration_ms") > 1000
	case traffic.CPU:
		return e.Name == "system.cpu" && e.Value > 80
	case traffic.Pool:
		return e.Name == "db.pool" && number("checkedout") >= number("size")
	}
	return e.Message == "Job failed"
}

// TestFirstIncident holds what the demo relies on: when and what varies by seed.
func TestFirstIncident(t *testing.T) {
	starts, troubles := map[int64]bool{}, map[traffic.Trouble]bool{}
	for seed := range uint64(40) {
		g := traffic.New(traffic.Config{Seed: seed})
		g.Next(noon)
		in := g.Incident()
		if in.Start < noon+10e9 || in.Start >= noon+20e9 || in.End != in.Start+25e9 {
			t.Errorf("seed %d: %+v", seed, in)
		}
		starts[in.Start], troubles[in.Trouble] = true, true
	}
	if len(starts) < 40 || len(troubles) != len(traffic.Troubles) {
		t.Errorf("%d starts, troubles %v", len(starts), troubles)
	}
}

// TestRatio holds the ratio that benchmarks are quoted with.
func TestRatio(t *testing.T) {
	w, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	type lane struct {
		kind    schemas.Kind
		service string
	}
	frames, events := map[lane][]byte{}, map[lane]int{}
	n, plain, packed := 0, 0, 0
	lines(traffic.New(traffic.Config{Seed: 3}), 50_000, func(_ int, line []byte, kind schemas.Kind, service string) {
		l := lane{kind, service}
		frames[l] = append(append(frames[l], line...), '\n')
		if events[l]++; events[l] == 1000 {
			n += 1000
			plain += len(frames[l])
			packed += len(w.EncodeAll(frames[l], nil))
			frames[l], events[l] = nil, 0
		}
	})
	ratio := float64(plain) / float64(packed)
	t.Logf("%.1f bytes an event, %.1f packed, %.2f:1", float64(plain)/float64(n), float64(packed)/float64(n), ratio)
	if ratio < 4.5 || ratio > 5.5 {
		t.Errorf("ratio %.2f, want about 5", ratio)
	}
}

func BenchmarkAppendLine(b *testing.B) {
	g := traffic.New(traffic.Config{Seed: 1})
	var buf []byte
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		buf, _, _ = g.AppendLine(buf[:0], noon+int64(n)*1000)
		b.SetBytes(int64(len(buf)))
		n++
	}
}
