package backtest_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/dermai/millrace/archive"
	"github.com/dermai/millrace/archive/archivetest"
	"github.com/dermai/millrace/archive/compact"
	"github.com/dermai/millrace/backtest"
	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/fence/fencetest"
	"github.com/dermai/millrace/internal/traffic"
	"github.com/dermai/millrace/rules"
	"github.com/dermai/millrace/rules/engine"
	"github.com/dermai/millrace/schemas"
	"github.com/dermai/millrace/stages"
)

const (
	benchEvents = 100_000
	benchFrame  = 1000
)

// benched is an archive of events of the reference generator, 10,000 a second in
// two partitions.
type benched struct {
	now    int64
	events int
	log    *fencetest.Memory
	store  *archive.FileStore
}

func newBenched(b *testing.B) *benched {
	b.Helper()
	store, err := archive.OpenFileStore(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { store.Close() })
	w := &benched{now: archivetest.Noon, store: store}
	w.log = &fencetest.Memory{Clock: func() int64 { return w.now }}
	w.control(b, schemas.ControlEntry{Deployment: &schemas.DefaultDeployment})
	open := []schemas.Partition{0, 1}
	w.control(b, schemas.ControlEntry{Rules: &schemas.RuleSource{Files: []schemas.RuleFile{rules.Default()}}, Open: open})
	w.now += int64(10 * time.Second)
	g := traffic.New(traffic.Config{Seed: 1})
	frames := map[schemas.Kind][]byte{}
	for w.events < benchEvents {
		w.now += int64(100 * time.Microsecond)
		text, kind, _ := g.AppendLine(nil, w.now)
		if kind == schemas.KindAudit {
			continue
		}
		w.events++
		if frames[kind] = append(frames[kind], append(text, '\n')...); w.events%benchFrame == 0 {
			for kind, frame := range frames {
				subject := fmt.Sprintf("events.%d.%s.api.l1", w.events/benchFrame%2, kind)
				w.log.Put(fence.Message{Subject: subject, Data: schemas.Pack(nil, frame)})
				frames[kind] = frame[:0]
			}
		}
	}
	w.now += int64(time.Minute)
	w.control(b, schemas.ControlEntry{Rules: &schemas.RuleSource{Files: []schemas.RuleFile{rules.Default()}}})
	for _, p := range open {
		w.log.Put(fence.Message{Subject: fmt.Sprintf("events.%d.log.api.l1", p), Data: []byte("{}")})
	}
	for _, stream := range []string{"EVENTS_0", "EVENTS_1", schemas.StreamControl} {
		a, err := archive.NewArchiver(w.log, w.store, archive.Config{Stream: stream, Now: w.clock, CutBytes: 1 << 20})
		if err != nil {
			b.Fatal(err)
		}
		for busy := true; busy; {
			if busy, err = a.Step(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
		if err := a.Flush(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	return w
}

func (w *benched) clock() time.Time { return time.Unix(0, w.now) }

func (w *benched) control(b *testing.B, e schemas.ControlEntry) {
	b.Helper()
	data, err := schemas.Encode(e)
	if err != nil {
		b.Fatal(err)
	}
	w.log.Put(fence.Message{Subject: schemas.SubjectControl, Data: data})
}

// compact makes segments of all objects but the last of each stream.
func (w *benched) compact(b *testing.B) {
	b.Helper()
	c, err := compact.New(w.store, compact.Config{Bytes: 4 << 20, Dir: b.TempDir(), Now: w.clock, Grace: time.Nanosecond})
	if err != nil {
		b.Fatal(err)
	}
	for busy := true; busy; {
		w.now++
		if busy, err = c.Step(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkBacktest decides an archive again, by the default rules. The floor is
// what has to be done in any case, with everything in memory and on one core:
// decode the frames and fold the events.
func BenchmarkBacktest(b *testing.B) {
	w := newBenched(b)
	source := &backtest.Archive{Store: w.store}
	run := func(b *testing.B) {
		for b.Loop() {
			sum, err := backtest.Run(b.Context(), backtest.Config{Source: source}, func(schemas.Transition) error { return nil })
			if err != nil || sum.Events < benchEvents {
				b.Fatalf("%v %+v", err, sum)
			}
		}
		b.ReportMetric(float64(b.N)*benchEvents/b.Elapsed().Seconds(), "events/s")
	}
	b.Run("floor", func(b *testing.B) {
		s := engine.NewSchedule()
		var frames []fence.Entry
		read := func(stream string) []fence.Entry {
			entries, err := w.log.Read(b.Context(), stream, 1, 1<<20)
			if err != nil {
				b.Fatal(err)
			}
			return entries
		}
		for _, e := range read(schemas.StreamControl) {
			var entry schemas.ControlEntry
			if err := schemas.DecodeInto(e.Data, &entry); err != nil {
				b.Fatal(err)
			}
			if err := s.Apply(e.Seq, e.Time, &entry); err != nil {
				b.Fatal(err)
			}
		}
		for b.Loop() {
			for p := range schemas.Partition(2) {
				r := engine.NewReducer(s, p)
				frames = read(p.Stream())
				for _, e := range frames {
					r.Arrive(e.Seq, e.Time, e.Header)
					for i, event := range stages.Events(e, true, p, e.Time) {
						r.Fold(i, event)
					}
				}
			}
		}
		b.ReportMetric(float64(b.N)*benchEvents/b.Elapsed().Seconds(), "events/s")
	})
	b.Run("objects", run)
	w.compact(b)
	b.Run("segments", run)
}
