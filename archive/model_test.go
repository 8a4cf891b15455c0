package archive_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/dermai/millrace/archive"
	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/schemas"
)

// model is a stream with three archivers that cut where they like, crash before
// and after their puts, and act in the middle of each other's. Everything follows
// from a seed.
type model struct {
	*bench
	rng     *rand.Rand
	metrics *archive.Metrics
	slots   [3]*archive.Archiver
	inside  bool          // a put, of which the archivers in the middle are not disturbed
	truth   []fence.Entry // everything ever stored
	crashes int
}

var (
	errCrash  = errors.New("crashed")
	errBroken = errors.New("the network broke")
)

// fault is what happens at one side of a put.
func (m *model) fault() error {
	switch m.rng.IntN(6) {
	case 0:
		m.crashes++
		return errCrash
	case 1:
		return errBroken
	}
	return nil
}

func (m *model) Trim(ctx context.Context, stream, subject string, seq uint64) error {
	if m.rng.IntN(4) == 0 {
		return errBroken
	}
	return m.log.Trim(ctx, stream, subject, seq)
}

func (m *model) start(tb testing.TB, slot int) {
	s := &hookedStore{Store: m.store, after: func(string) error { return m.fault() }}
	s.before = func(string) error {
		if !m.inside && m.rng.IntN(3) == 0 {
			// Others act between this archiver's decision to put and its put.
			m.inside = true
			for range 1 + m.rng.IntN(3) {
				m.step(tb, (slot+1+m.rng.IntN(2))%3)
			}
			m.inside = false
		}
		return m.fault()
	}
	m.slots[slot] = newArchiver(tb, m.log, s, m.bench, archive.Config{
		Metrics:  m.metrics,
		CutBytes: 500 + m.rng.Int64N(6000),
		CutAge:   time.Duration(1 + m.rng.Int64N(int64(20*time.Second))),
		Floor:    func(context.Context) (int64, error) { return noon + 1e9, nil },
		Trim: &archive.Trim{Trimmer: m, Replay: time.Duration(m.rng.Int64N(int64(time.Hour))),
			Covered: func(context.Context) (uint64, error) { return m.rng.Uint64N(uint64(len(m.truth) + 1)), nil }},
	})
}

func (m *model) step(tb testing.TB, slot int) {
	a := m.slots[slot]
	var err error
	if m.rng.IntN(10) == 0 {
		err = a.Flush(tb.Context())
	} else {
		_, err = a.Step(tb.Context())
	}
	switch {
	case errors.Is(err, errCrash) || m.rng.IntN(100) == 0:
		m.start(tb, slot)
	case err != nil && !errors.Is(err, errBroken):
		tb.Fatalf("archiver %d: %v", slot, err)
	}
}

func (m *model) publish() {
	m.now += m.rng.Int64N(int64(3 * time.Second))
	switch m.rng.IntN(60) {
	case 0:
		m.now += int64(7 * time.Hour)
	case 1, 2:
		m.now -= int64(5 * time.Second)
	}
	msg := fence.Message{Subject: eventSubject, Data: []byte(fmt.Sprintf("{\"n\":%d,\"x\":\"%s\"}\n", len(m.truth), strings.Repeat("x", m.rng.IntN(100))))}
	switch m.rng.IntN(6) {
	case 0:
		msg = fence.Message{Subject: tickSubject}
	case 1:
		msg.Data = schemas.Pack(nil, bytes.Repeat(msg.Data, 30))
		msg.Header = fence.Header{"Millrace-Events": "30"}
	case 2:
		msg.Subject, msg.Data = "ingest.log.x", msg.Data[:len(msg.Data)-1]
	}
	seq := m.log.Put(msg)
	m.truth = append(m.truth, fence.Entry{Seq: seq, Time: m.now, Subject: msg.Subject, Header: msg.Header, Data: msg.Data})
}

func TestModel(t *testing.T) {
	var mu sync.Mutex
	total := map[string]int{}
	t.Run("seeds", func(t *testing.T) {
		for seed := range uint64(6) {
			t.Run(fmt.Sprint(seed), func(t *testing.T) {
				t.Parallel()
				counts := runModel(t, seed)
				mu.Lock()
				defer mu.Unlock()
				for k, n := range counts {
					total[k] += n
				}
			})
		}
	})
	t.Logf("%v", total)
	for _, k := range []string{"crashes", "adoptions", "objects", "trimmed"} {
		if total[k] < 100 {
			t.Errorf("only %d %s: the model does not try what it is for", total[k], k)
		}
	}
}

func runModel(t *testing.T, seed uint64) map[string]int {
	m := &model{bench: newBench(t), rng: rand.New(rand.NewPCG(seed, 7))}
	reg := prometheus.NewRegistry()
	m.metrics = archive.NewMetrics(reg)
	for slot := range m.slots {
		m.start(t, slot)
	}
	for range 700 {
		for m.rng.IntN(2) == 0 {
			m.publish()
		}
		m.step(t, m.rng.IntN(3))
	}
	m.put(eventSubject, event)
	m.truth = append(m.truth, fence.Entry{Seq: uint64(len(m.truth) + 1), Time: m.now, Subject: eventSubject, Data: []byte(event)})
	last := m.archiver(t, archive.Config{Floor: func(context.Context) (int64, error) { return noon + 1e9, nil }})
	mustFlush(t, last)

	report := m.verify(t)
	if len(report.Chains) != 1 || len(report.Chains[0].Missing) > 0 {
		t.Fatalf("chains %+v; want one without gaps", report.Chains)
	}
	c := last.Tip().Chain
	if diff := diffRecords(wantRecords(c, noon+1e9, m.truth), m.cat(t, archive.Filter{})); diff != "" {
		t.Errorf("the archive is not what was stored (-want +got):\n%.3000s", diff)
	}
	count := func(name string) int {
		got, err := reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		n := 0.0
		for _, f := range got {
			if f.GetName() == "millrace_archive_"+name {
				n += f.GetMetric()[0].GetCounter().GetValue() + f.GetMetric()[0].GetGauge().GetValue()
			}
		}
		return int(n)
	}
	if n := testutil.CollectAndCount(reg); n == 0 {
		t.Error("no metrics")
	}
	return map[string]int{"crashes": m.crashes, "objects": report.Chains[0].Objects, "messages": len(m.truth),
		"adoptions": count("adoptions_total"), "trimmed": count("trimmed_sequence")}
}

// cat collects what Cat gives.
func (b *bench) cat(tb testing.TB, f archive.Filter) []archive.Record {
	tb.Helper()
	var out []archive.Record
	err := archive.Cat(tb.Context(), b.store, f, func(r *archive.Record) error {
		clone := *r
		clone.Payload = bytes.Clone(r.Payload)
		out = append(out, clone)
		return nil
	})
	if err != nil {
		tb.Fatal(err)
	}
	return out
}

// lockedLog lets goroutines share a log that is not made for it.
type lockedLog struct {
	mu sync.Mutex
	fence.Log
}

func (l *lockedLog) Read(ctx context.Context, stream string, from uint64, most int) ([]fence.Entry, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Log.Read(ctx, stream, from, most)
}

func (l *lockedLog) Info(ctx context.Context, stream string) (fence.Info, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Log.Info(ctx, stream)
}

// TestArchiversAtOnce runs three archivers in goroutines, for the race detector
// and the file store.
func TestArchiversAtOnce(t *testing.T) {
	b := newBench(t)
	for range 400 {
		b.put(eventSubject, event)
	}
	log := &lockedLog{Log: b.log}
	var wg sync.WaitGroup
	for i := range 3 {
		a := newArchiver(t, log, openStore(t, b.dir), b, archive.Config{CutBytes: 700 + 300*int64(i)})
		wg.Go(func() {
			if err := errors.Join(drain(t.Context(), a), a.Flush(t.Context())); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if r := b.verify(t); r.Chains[0].Count != 400 || len(r.Chains[0].Missing) > 0 {
		t.Errorf("%d messages, missing %v; want 400 and none", r.Chains[0].Count, r.Chains[0].Missing)
	}
}
