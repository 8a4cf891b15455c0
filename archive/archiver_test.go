package archive_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/dermai/millrace/archive"
	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/fence/fencetest"
)

// bench is a log in memory, a store in a directory, and a clock for both.
type bench struct {
	log   *fencetest.Memory
	store *archive.FileStore
	dir   string
	now   int64
}

func newBench(tb testing.TB) *bench {
	b := &bench{now: noon, dir: tb.TempDir()}
	b.log = &fencetest.Memory{Clock: func() int64 { return b.now }}
	b.store = openStore(tb, b.dir)
	return b
}

func (b *bench) clock() time.Time { return time.Unix(0, b.now) }

func (b *bench) put(subject, data string) {
	b.now += int64(time.Millisecond)
	b.log.Put(fence.Message{Subject: subject, Data: []byte(data)})
}

const (
	eventSubject = "events.0.log.api.l1"
	tickSubject  = "events.0.tick"
	event        = "{\"a\":1}\n"
)

func (b *bench) archiver(tb testing.TB, cfg archive.Config) *archive.Archiver {
	tb.Helper()
	return newArchiver(tb, b.log, b.store, b, cfg)
}

func newArchiver(tb testing.TB, log fence.Log, s archive.Store, b *bench, cfg archive.Config) *archive.Archiver {
	tb.Helper()
	if cfg.Stream == "" {
		cfg.Stream = "EVENTS_0"
	}
	cfg.Now = b.clock
	a, err := archive.NewArchiver(log, s, cfg)
	if err != nil {
		tb.Fatal(err)
	}
	return a
}

// drain steps an archiver until it has nothing more to do.
func drain(ctx context.Context, a *archive.Archiver) error {
	for range 10_000 {
		busy, err := a.Step(ctx)
		if err != nil || !busy {
			return err
		}
	}
	return errors.New("busy for ever")
}

func mustDrain(tb testing.TB, a *archive.Archiver) {
	tb.Helper()
	if err := drain(tb.Context(), a); err != nil {
		tb.Fatal(err)
	}
}

func mustFlush(tb testing.TB, a *archive.Archiver) {
	tb.Helper()
	mustDrain(tb, a)
	if err := a.Flush(tb.Context()); err != nil {
		tb.Fatal(err)
	}
}

// objects describes what is in the store: day, sequences, count.
func (b *bench) objects(tb testing.TB) []string {
	tb.Helper()
	out := []string{}
	for l, err := range archive.List(tb.Context(), b.store, archive.Filter{}) {
		if err != nil {
			tb.Fatal(err)
		}
		x := l.Index
		s := fmt.Sprintf("%s %d-%d: %d", x.Day[5:], x.First, x.Last, x.Count)
		for _, m := range x.Missing {
			s += fmt.Sprintf(" %s %d-%d", m.Reason, m.From, m.To)
		}
		out = append(out, s)
	}
	return out
}

func (b *bench) wantObjects(tb testing.TB, want ...string) {
	tb.Helper()
	if diff := cmp.Diff(append([]string{}, want...), b.objects(tb)); diff != "" {
		tb.Errorf("objects (-want +got):\n%s", diff)
	}
}

func (b *bench) verify(tb testing.TB) archive.Report {
	tb.Helper()
	r, err := archive.Verify(tb.Context(), b.store, archive.Options{Full: true})
	if err != nil {
		tb.Fatal(err)
	}
	if !r.OK() {
		tb.Fatalf("verify: %v", r.Problems)
	}
	return r
}

func wantIncident(tb testing.TB, err error, text string) {
	tb.Helper()
	if !fence.IsIncident(err) || !strings.Contains(err.Error(), text) {
		tb.Errorf("error %v; want an incident that says %q", err, text)
	}
}

func TestArchiverCutsByAge(t *testing.T) {
	for stream, age := range map[string]time.Duration{"EVENTS_0": 5 * time.Minute, "AUDIT": time.Minute, "CONTROL": 5 * time.Minute, "ALERTS": 5 * time.Minute} {
		subject := map[string]string{"EVENTS_0": eventSubject, "AUDIT": "audit.api.l1", "CONTROL": "control", "ALERTS": "alerts.telemetry"}[stream]
		tick := map[string]string{"CONTROL": "{}"}[stream]
		t.Run(stream, func(t *testing.T) {
			b := newBench(t)
			a := b.archiver(t, archive.Config{Stream: stream})
			b.put(subject, tick)
			mustDrain(t, a)
			b.now += int64(2 * age)
			mustDrain(t, a)
			b.wantObjects(t) // a tick alone waits
			b.put(subject, event)
			mustDrain(t, a)
			b.now += int64(age - time.Millisecond - 1)
			b.put(subject, tick)
			mustDrain(t, a)
			b.wantObjects(t)
			b.now++
			mustDrain(t, a)
			b.wantObjects(t, "09-21 1-3: 3")
			b.put(subject, tick)
			if err := drain(t.Context(), a); err != nil {
				t.Fatal(err)
			}
			if err := a.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
			b.wantObjects(t, "09-21 1-3: 3")
			b.verify(t)
		})
	}
}

func TestArchiverCutsByBytes(t *testing.T) {
	b := newBench(t)
	a := b.archiver(t, archive.Config{CutBytes: 1000})
	for range 40 {
		b.put(eventSubject, event)
	}
	mustDrain(t, a)
	got := b.objects(t)
	if len(got) < 3 {
		t.Errorf("objects %q: want some of about 1000 bytes", got)
	}
	mustFlush(t, a)
	if r := b.verify(t); r.Chains[0].Count != 40 || r.Chains[0].Last != 40 {
		t.Errorf("the chain ends at %d with %d messages", r.Chains[0].Last, r.Chains[0].Count)
	}
}

// TestArchiverCutsByDay: the key of the next object follows from the chain, so a
// day that ends while nothing is open is ended by an object without messages.
func TestArchiverCutsByDay(t *testing.T) {
	b := newBench(t)
	const day = int64(24 * time.Hour)
	b.put(eventSubject, event)
	b.now += 3 * day
	b.put(eventSubject, event)
	a := b.archiver(t, archive.Config{})
	mustFlush(t, a)
	b.wantObjects(t, "09-21 1-1: 1", "09-24 2-2: 1")
	b.now += day
	b.put(tickSubject, "")
	b.put(eventSubject, event)
	b.now -= 2 * day // the broker's clock steps back: arrivals do not
	b.put(eventSubject, event)
	mustFlush(t, b.archiver(t, archive.Config{}))
	b.wantObjects(t, "09-21 1-1: 1", "09-24 2-2: 1", "09-24 3-2: 0", "09-25 3-5: 3")
	b.verify(t)
	var days []string
	err := archive.Cat(t.Context(), b.store, archive.Filter{}, func(r *archive.Record) error {
		days = append(days, fmt.Sprint(r.Seq, " ", time.Unix(0, r.Arrival).UTC().Format("01-02")))
		return nil
	})
	if diff := cmp.Diff([]string{"1 09-21", "2 09-24", "3 09-25", "4 09-25", "5 09-25"}, days); err != nil || diff != "" {
		t.Errorf("arrivals: %v (-want +got):\n%s", err, diff)
	}
}

func TestArchiverFloor(t *testing.T) {
	b := newBench(t)
	b.put(eventSubject, event)
	floor := noon + int64(time.Hour)
	mustFlush(t, b.archiver(t, archive.Config{Floor: func(context.Context) (int64, error) { return floor, nil }}))
	b.put(eventSubject, event)
	mustFlush(t, b.archiver(t, archive.Config{Floor: func(context.Context) (int64, error) {
		return 0, errors.New("asked for a chain that has begun")
	}}))
	if r := b.verify(t); r.Chains[0].Arrival != floor || r.Chains[0].Objects != 2 {
		t.Errorf("%d objects end at the arrival %d, want 2 at the floor %d", r.Chains[0].Objects, r.Chains[0].Arrival, floor)
	}
}

func TestArchiverRecordsGaps(t *testing.T) {
	b := newBench(t)
	reg := prometheus.NewRegistry()
	a := b.archiver(t, archive.Config{Metrics: archive.NewMetrics(reg)})
	b.put(eventSubject, event)
	mustFlush(t, a)
	for i := range 9 { // 2 to 10
		b.put([]string{eventSubject, "ingest.log.x"}[i%2], event)
	}
	ctx := t.Context()
	if err := errors.Join(b.log.Trim(ctx, "EVENTS_0", "", 5), b.log.Trim(ctx, "EVENTS_0", eventSubject, 8)); err != nil {
		t.Fatal(err)
	}
	mustFlush(t, a) // 5, 7 to 10 are left; 6 is gone from the middle
	b.wantObjects(t, "09-21 1-1: 1", "09-21 2-10: 5 expired 2-4 deleted 6-6")
	if err := b.log.Trim(ctx, "EVENTS_0", "", 99); err != nil {
		t.Fatal(err)
	}
	mustFlush(t, a)
	for range 3 {
		b.put(eventSubject, event)
	}
	if err := b.log.Trim(ctx, "EVENTS_0", "", 99); err != nil {
		t.Fatal(err)
	}
	mustFlush(t, a) // nothing at all is left of 11 to 13
	b.wantObjects(t, "09-21 1-1: 1", "09-21 2-10: 5 expired 2-4 deleted 6-6", "09-21 11-13: 0 expired 11-13")
	b.verify(t)
	want := `# HELP millrace_archive_missing_total Sequences recorded as missing, by reason.
# TYPE millrace_archive_missing_total counter
millrace_archive_missing_total{reason="deleted",stream="EVENTS_0"} 1
millrace_archive_missing_total{reason="expired",stream="EVENTS_0"} 6
`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "millrace_archive_missing_total"); err != nil {
		t.Error(err)
	}
}

// TestArchiverIsNotFooledByTrimming: what another archiver stored and trimmed is
// no gap.
func TestArchiverIsNotFooledByTrimming(t *testing.T) {
	b := newBench(t)
	slow, fast := b.archiver(t, archive.Config{}), b.archiver(t, archive.Config{CutBytes: 300})
	b.put(eventSubject, event)
	mustDrain(t, slow)
	for range 20 {
		b.put(eventSubject, event)
	}
	mustFlush(t, fast)
	if err := b.log.Trim(t.Context(), "EVENTS_0", "", 20); err != nil {
		t.Fatal(err)
	}
	b.put(eventSubject, event)
	mustDrain(t, slow)
	if next := slow.Tip().First; next < 21 {
		t.Errorf("the slow archiver goes on at %d, though what is trimmed is stored up to 20", next)
	}
	mustFlush(t, slow)
	if r := b.verify(t); r.Chains[0].Count != 22 || len(r.Chains[0].Missing) > 0 {
		t.Errorf("%d messages, missing %v; want 22 and none", r.Chains[0].Count, r.Chains[0].Missing)
	}
}

// TestArchiverSettlesAmbiguousPut: an upload whose answer was lost is found to be
// one's own.
func TestArchiverSettlesAmbiguousPut(t *testing.T) {
	b := newBench(t)
	reg := prometheus.NewRegistry()
	lost := errors.New("the answer was lost")
	s := &hookedStore{Store: b.store, after: func(string) error { return lost }}
	a := newArchiver(t, b.log, s, b, archive.Config{Metrics: archive.NewMetrics(reg)})
	b.put(eventSubject, event)
	mustDrain(t, a)
	if err := a.Flush(t.Context()); !errors.Is(err, lost) {
		t.Fatalf("flush: %v; want %v", err, lost)
	}
	b.put(eventSubject, event)
	s.after = nil
	mustFlush(t, a)
	b.wantObjects(t, "09-21 1-1: 1", "09-21 2-2: 1")
	if n := testutil.CollectAndCount(reg, "millrace_archive_adoptions_total"); n != 0 {
		t.Error("the archiver took its own object for another's")
	}
}

func TestArchiverStopsAtConflict(t *testing.T) {
	stream := func(data ...string) *fencetest.Memory {
		now := noon
		log := &fencetest.Memory{Clock: func() int64 { return now }}
		for _, d := range data {
			now += int64(time.Millisecond)
			log.Put(fence.Message{Subject: eventSubject, Data: []byte(d)})
		}
		return log
	}
	for _, data := range []string{"{\"a\":2}\n", "{\"a\":1}", ""} {
		b := newBench(t)
		a := newArchiver(t, stream(event, event), b.store, b, archive.Config{})
		mustDrain(t, a) // holds both messages
		mustFlush(t, newArchiver(t, stream(event, data, event), b.store, b, archive.Config{}))
		before := b.objects(t)
		for range 2 { // and stays stopped
			wantIncident(t, a.Flush(t.Context()), "conflict")
			_, err := a.Step(t.Context())
			wantIncident(t, err, "message 2")
		}
		b.wantObjects(t, before...)
	}
}

// TestArchiverRefusesForeignObject: an object that lies where the next one belongs
// and does not hang in the chain is not built on.
func TestArchiverRefusesForeignObject(t *testing.T) {
	b := newBench(t)
	a := b.archiver(t, archive.Config{})
	b.put(eventSubject, event)
	mustFlush(t, a)
	b.put(eventSubject, event)
	foreign := a.Tip()
	foreign.Hash = strings.Repeat("ab", 32)
	body, end := write(t, foreign, []fence.Entry{{Seq: 2, Time: b.now, Subject: eventSubject, Data: []byte(event)}}, "")
	if err := b.store.Put(t.Context(), end.Key, bytes.NewReader(body), int64(len(body))); err != nil {
		t.Fatal(err)
	}
	mustDrain(t, a)
	wantIncident(t, a.Flush(t.Context()), "object before it has hash")
}

func TestArchiverRefusesDamagedTip(t *testing.T) {
	b := newBench(t)
	b.put(eventSubject, event)
	mustFlush(t, b.archiver(t, archive.Config{}))
	b.put(eventSubject, event)
	var key string
	for o, err := range b.store.List(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		key = o.Key
	}
	file := filepath.Join(b.dir, filepath.FromSlash(key))
	body, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	bad := bytes.Clone(body)
	bad[20] ^= 1
	if err := os.WriteFile(file, bad, 0o600); err != nil {
		t.Fatal(err)
	}
	err = drain(t.Context(), b.archiver(t, archive.Config{}))
	wantIncident(t, err, "corrupt")
	wantIncident(t, err, key)
	if err := os.WriteFile(file, body, 0o600); err != nil {
		t.Fatal(err)
	}
	stray := filepath.Join(filepath.Dir(file), "zz.txt")
	if err := os.WriteFile(stray, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	wantIncident(t, drain(t.Context(), b.archiver(t, archive.Config{})), "zz.txt")
}

// TestArchiverReadsBack: a store that says nil and kept something else is found
// out before anything is built on it.
func TestArchiverReadsBack(t *testing.T) {
	b := newBench(t)
	b.put(eventSubject, event)
	s := &hookedStore{Store: b.store}
	s.after = func(key string) error {
		file := filepath.Join(b.dir, filepath.FromSlash(key))
		body, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		body[len(body)/2] ^= 1
		return os.WriteFile(file, body, 0o600)
	}
	a := newArchiver(t, b.log, s, b, archive.Config{})
	mustDrain(t, a)
	wantIncident(t, a.Flush(t.Context()), "corrupt")
}

func TestConfigValidate(t *testing.T) {
	trim := &archive.Trim{Trimmer: &fencetest.Memory{}, Covered: func(context.Context) (uint64, error) { return 0, nil }}
	for _, c := range []struct {
		cfg  archive.Config
		want []string
	}{
		{archive.Config{Stream: "EVENTS_3", Trim: trim}, nil},
		{archive.Config{Stream: "CONTROL"}, nil},
		{archive.Config{}, []string{`stream ""`}},
		{archive.Config{Stream: "EVENTS_x"}, []string{"EVENTS_x"}},
		{archive.Config{Stream: "EVENTS_audit"}, []string{"EVENTS_audit"}},
		{archive.Config{Stream: "../AUDIT", CutBytes: -1, CutAge: -1}, []string{"../AUDIT", "cut bytes", "cut age"}},
		{archive.Config{Stream: "AUDIT", Trim: &archive.Trim{Replay: -1}}, []string{"Covered", "replay window"}},
	} {
		err := c.cfg.Validate()
		if (err == nil) != (c.want == nil) {
			t.Errorf("%s: %v; want %q", c.cfg.Stream, err, c.want)
		}
		for _, text := range c.want {
			if err != nil && !strings.Contains(err.Error(), text) {
				t.Errorf("%s: %v does not say %q", c.cfg.Stream, err, text)
			}
		}
	}
}
