package engine_test

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/dermai/millrace/rules"
	"github.com/dermai/millrace/rules/engine"
	"github.com/dermai/millrace/schemas"
)

// BenchmarkReduce folds decoded events through the default rules, a thousand to
// a frame and one partial a second of 50,000 events.
func BenchmarkReduce(b *testing.B) {
	s := engine.NewSchedule()
	src := schemas.RuleSource{Files: []schemas.RuleFile{rules.Default()}}
	for i, e := range []schemas.ControlEntry{{Deployment: &schemas.DefaultDeployment}, {Rules: &src, Open: []schemas.Partition{0}}} {
		if err := s.Apply(uint64(i+1), 100e9, &e); err != nil {
			b.Fatal(err)
		}
	}
	if err := s.Apply(3, 1e18, &schemas.ControlEntry{}); err != nil {
		b.Fatal(err)
	}
	events := make([]schemas.Event, 1000)
	for i := range events {
		events[i] = schemas.Event{
			Kind: schemas.KindLog, Service: fmt.Sprintf("service-%d", i%5), ID: fmt.Sprint(i), TraceID: "0af7651916cd43dd8448eb211c80319c",
			Level: "INFO", Logger: "app.api", Message: "API request",
			Attributes: map[string]any{"method": "GET", "path": "/v1/patients", "status_code": 200.0, "duration_ms": float64(i * 7 % 400), "client": "10.0.0.1"},
		}
		switch {
		case i%50 == 0:
			events[i].Attributes["status_code"] = 503.0
		case i%10 == 1:
			events[i].Message = "cache refreshed"
		case i%10 == 2:
			events[i] = schemas.Event{Kind: schemas.KindMetric, Service: "service-1", Name: "system.cpu", Type: "gauge", Value: float64(i % 100)}
		}
	}
	r := engine.NewReducer(s, 0)
	b.ReportAllocs()
	seq, now := uint64(0), int64(200e9)
	n := 0
	for b.Loop() {
		if n%len(events) == 0 {
			seq++
			now += 20e6
			r.Arrive(seq, now, nil)
			if seq%50 == 0 {
				r.Cut()
			}
		}
		e := &events[n%len(events)]
		e.Time = now - int64(n%7)*1e8
		r.Fold(n%len(events), e)
		n++
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "events/s")
}

// BenchmarkDecide decides ticks at which every one of 1,000 groups of a
// percentile has got new rows.
func BenchmarkDecide(b *testing.B) {
	d, tick := busy(b)
	for b.Loop() {
		b.StopTimer()
		tick()
		b.StartTimer()
		d.Decide()
	}
}

// BenchmarkCheckpoint writes the state down that BenchmarkDecide has, as it is before
// it is packed.
func BenchmarkCheckpoint(b *testing.B) {
	d, _ := busy(b)
	size := 0
	for b.Loop() {
		size = len(written(b, d))
	}
	b.SetBytes(int64(size))
}

// BenchmarkWindows tells what that state takes in memory: bytes of the heap for a group.
func BenchmarkWindows(b *testing.B) {
	var before, after runtime.MemStats
	for b.Loop() {
		runtime.GC()
		runtime.ReadMemStats(&before)
		d, _ := busy(b)
		runtime.GC()
		runtime.ReadMemStats(&after)
		runtime.KeepAlive(d)
	}
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/1000, "B/group")
}

// busy is a decider with 1,000 groups whose windows are full, and gives each of them five
// more events.
func busy(b *testing.B) (d *engine.Decider, tick func()) {
	b.Helper()
	s := engine.NewSchedule()
	src := rulesOf(`{alert: P, on: log, by: [service], p95: attributes.v, window: 5m, fire: "> 1e9"}`)
	for i, e := range []schemas.ControlEntry{{Deployment: &schemas.DefaultDeployment}, {Rules: src, Open: []schemas.Partition{0}}} {
		if err := s.Apply(uint64(i+1), 100e9, &e); err != nil {
			b.Fatal(err)
		}
	}
	if err := s.Apply(3, 1e18, &schemas.ControlEntry{}); err != nil {
		b.Fatal(err)
	}
	r := engine.NewReducer(s, 0)
	d = engine.NewDecider(s, schemas.Telemetry)
	now := int64(200)
	tick = func() {
		now++
		r.Arrive(uint64(now), now*1e9, nil)
		for i := range 5000 {
			r.Fold(i, &schemas.Event{
				Kind: schemas.KindLog, Service: fmt.Sprint(i % 1000), Time: now * 1e9, Attributes: map[string]any{"v": float64(i * int(now) % 977)},
				ID: fmt.Sprintf("%026d", i), TraceID: "0af7651916cd43dd8448eb211c80319c",
			})
		}
		if err := d.Add(r.Cut().Rows, nil); err != nil {
			b.Fatal(err)
		}
	}
	for range 300 {
		tick()
	}
	d.SkipTo(now)
	for d.Tick() < now-1 {
		d.Decide()
	}
	return d, tick
}
