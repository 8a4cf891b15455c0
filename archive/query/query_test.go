package query_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dermai/millrace/archive"
	"github.com/dermai/millrace/archive/archivetest"
	"github.com/dermai/millrace/archive/compact"
	"github.com/dermai/millrace/archive/query"
	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/fence/fencetest"
	"github.com/dermai/millrace/rules"
	"github.com/dermai/millrace/schemas"
)

const noon = int64(1_790_000_000_000_000_000)

// bench is a log in memory, an archive in a directory, and a clock for both.
type bench struct {
	log   *fencetest.Memory
	store *archive.FileStore
	dir   string
	now   int64
	put   map[string][]string // ids of the events by stream, in order
}

func newBench(t testing.TB) *bench {
	t.Helper()
	b := &bench{now: noon, dir: t.TempDir(), put: map[string][]string{}}
	b.log = &fencetest.Memory{Clock: func() int64 { return b.now }}
	store, err := archive.OpenFileStore(b.dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	b.store = store
	return b
}

// event is one event's line, with what makes it big enough for several pages.
func event(level, trace, id, pad string) string {
	return fmt.Sprintf(`{"id":%q,"level":%q,"trace_id":%q,"attributes":{"pad":%q}}`, id, level, trace, pad)
}

// frame puts events into a stream as one message.
func (b *bench) frame(stream, subject string, lines ...string) {
	b.now += int64(time.Second)
	for _, l := range lines {
		_, l, _ = strings.Cut(l, `"id":"`)
		b.put[stream] = append(b.put[stream], l[:strings.IndexByte(l, '"')])
	}
	b.log.Put(fence.Message{Subject: subject, Data: schemas.Pack(nil, []byte(strings.Join(lines, "\n")+"\n"))})
}

func (b *bench) archive(t testing.TB, stream string) {
	t.Helper()
	a, err := archive.NewArchiver(b.log, b.store, archive.Config{Stream: stream, Now: func() time.Time { return time.Unix(0, b.now) }})
	for busy := true; busy && err == nil; {
		busy, err = a.Step(t.Context())
	}
	if err == nil {
		err = a.Flush(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
}

// compactor makes a segment of each object and removes the object at once.
func (b *bench) compactor(t testing.TB) *compact.Compactor {
	t.Helper()
	c, err := compact.New(b.store, compact.Config{Bytes: 1, Grace: 1, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (b *bench) compact(t testing.TB) {
	t.Helper()
	c := b.compactor(t)
	for busy := true; busy; {
		var err error
		if busy, err = c.Step(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

func where(t testing.TB, source string) *rules.Condition {
	t.Helper()
	c, err := rules.ParseCondition(source)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// run gives the ids of the events by stream, and checks the order of arrival.
func (b *bench) run(t testing.TB, o query.Options) (map[string][]string, query.Stats) {
	t.Helper()
	got := map[string][]string{}
	var last int64
	stats, err := query.Run(t.Context(), b.store, o, func(e *query.Event) error {
		if e.Arrival < last {
			t.Errorf("%s %d/%d arrived at %d, behind %d", e.Chain, e.Seq, e.Index, e.Arrival, last)
		}
		last = e.Arrival
		got[e.Chain.Stream] = append(got[e.Chain.Stream], e.ID)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return got, stats
}

// mixed is an archive of segments and objects, and a log that holds more.
func mixed(t testing.TB) *bench {
	b := newBench(t)
	for i := range 6 {
		for j := range 3 {
			b.frame("EVENTS_0", "events.0.log.api.l1", event("INFO", "t1", fmt.Sprintf("a%d.%d", i, j), ""), event("ERROR", "t2", fmt.Sprintf("b%d.%d", i, j), ""))
			b.frame("EVENTS_1", "events.1.log.web.l2", event("INFO", "t3", fmt.Sprintf("c%d.%d", i, j), ""))
			b.frame("AUDIT", "audit.api.l3", fmt.Sprintf(`{"id":"d%d.%d","user":"ann","action":"read","resource":"patient/7"}`, i, j))
			b.log.Put(fence.Message{Subject: "events.0.tick"})
		}
		if i < 5 {
			b.archive(t, "EVENTS_0")
			b.archive(t, "AUDIT")
		}
		if i == 3 {
			b.compact(t)
			b.now += int64(24 * time.Hour)
		}
	}
	return b
}

func (b *bench) everywhere() query.Options {
	return query.Options{Log: b.log, Streams: []string{"EVENTS_0", "EVENTS_1", "AUDIT"}}
}

// TestEachOnce: segments, objects and streams side by side give each event once.
func TestEachOnce(t *testing.T) {
	b := mixed(t)
	got, stats := b.run(t, b.everywhere())
	if diff := cmp.Diff(b.put, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if stats.SegmentsRead != 6 || stats.ObjectsRead != 4 || stats.Messages == 0 {
		t.Errorf("read %+v; want 6 segments, 4 objects, and messages of streams", stats)
	}
	o := b.everywhere()
	o.Where = where(t, `level == "ERROR" and service == "api"`)
	got, _ = b.run(t, o)
	want := slices.DeleteFunc(slices.Clone(b.put["EVENTS_0"]), func(m string) bool { return m[0] != 'b' })
	if diff := cmp.Diff(map[string][]string{"EVENTS_0": want}, got); diff != "" {
		t.Errorf("errors of api (-want +got):\n%s", diff)
	}
	o.Where = where(t, `kind == "audit"`)
	if got, stats = b.run(t, o); len(got) != 1 || len(got["AUDIT"]) != 18 || stats.SegmentsRead != 3 {
		t.Errorf("kind == audit: %v, %+v; want the 18 events of AUDIT and nothing else read", got, stats)
	}
}

// TestLostTail: what a stream lost and the archive has beside it is found, and the stream
// is read on from where its own chain ends.
func TestLostTail(t *testing.T) {
	b := archivetest.NewBench(t)
	put := func(id string) { b.Put("events.0.log.api.l1", event("INFO", "", id, "")) }
	put("a")
	b.LoseTail(t, "EVENTS_0", func() { put("l"); put("m"); put("n") }, func() { put("x") })
	put("y")
	var got []string
	_, err := query.Run(t.Context(), b.Store, query.Options{Log: b.Log, Streams: []string{"EVENTS_0"}},
		func(e *query.Event) error { got = append(got, e.ID); return nil })
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(got)
	if diff := cmp.Diff([]string{"a", "l", "m", "n", "x", "y"}, got); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

// TestWhen: an event happened at its own time, or at its arrival if that is
// earlier, in whatever it is kept.
func TestWhen(t *testing.T) {
	b := newBench(t)
	hour := int64(time.Hour)
	at := func(name string, when int64) string {
		return fmt.Sprintf(`{"id":%q,"timestamp":%q}`, name, time.Unix(0, when).UTC().Format(time.RFC3339Nano))
	}
	for i := range 3 { // segment, object, stream
		b.now = noon
		b.now += int64(i) * hour / 10
		b.frame("EVENTS_0", "events.0.log.api.l1",
			at("now", b.now+int64(time.Second)), at("early", b.now-2*hour), at("future", b.now+1000*hour), at("old", b.now-100*hour))
		if i < 2 {
			b.archive(t, "EVENTS_0")
		}
		if i == 1 {
			b.compact(t)
		}
	}
	for _, c := range []struct {
		from, to int64
		late     time.Duration
		want     string
	}{
		{0, 0, 0, "now early future old"},
		{noon - hour, noon + hour, 0, "now future"},
		{noon - 3*hour, noon - hour, 0, "early"},
		{noon - 3*hour, noon - hour, time.Minute, ""},
		{noon - 200*hour, noon - 50*hour, 0, ""},
		{noon - 200*hour, noon - 50*hour, 200 * time.Hour, "old"},
		{noon + 2*hour, 0, 0, ""},
	} {
		got, _ := b.run(t, query.Options{Log: b.log, Streams: []string{"EVENTS_0"}, From: c.from, To: c.to, Late: c.late})
		var want []string
		for range 3 {
			want = append(want, strings.Fields(c.want)...)
		}
		if diff := cmp.Diff(want, got["EVENTS_0"]); diff != "" {
			t.Errorf("from %d h to %d h (-want +got):\n%s", (c.from-noon)/hour, (c.to-noon)/hour, diff)
		}
	}
}

// TestPruning: of segments hardly anything is read for a needle.
func TestPruning(t *testing.T) {
	b := newBench(t)
	random := rand.New(rand.NewPCG(1, 2))
	noise := func(n int) string {
		out := make([]byte, n)
		for i := range out {
			out[i] = 'a' + byte(random.IntN(26))
		}
		return string(out)
	}
	for o := range 5 {
		for f := range 6 {
			var lines []string
			for i := range 500 {
				level := "INFO"
				if o == 2 && f == 3 && i < 3 {
					level = "ERROR"
				}
				lines = append(lines, event(level, noise(32), fmt.Sprintf("m%d.%d.%d", o, f, i), noise(1000)))
			}
			b.frame("EVENTS_0", "events.0.log.api.l1", lines...)
		}
		b.archive(t, "EVENTS_0")
	}
	b.compact(t) // all but the last object
	_, all := b.run(t, query.Options{})
	if all.Segments < 4 || all.GroupsRead != all.Groups || all.PagesRead < 20 {
		t.Fatalf("everything: %+v", all)
	}
	b.now += int64(time.Second)
	var needle string
	if _, err := query.Run(t.Context(), b.store, query.Options{}, func(e *query.Event) error {
		if e.ID == "m1.4.77" {
			needle = e.TraceID
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		o      query.Options
		want   int
		groups int64
		pages  int64 // of payloads and others, at most
		bytes  float64
	}{
		{"trace id", query.Options{Where: where(t, fmt.Sprintf(`trace_id == %q`, needle))}, 1, 1, 8, 0.15},
		{"level", query.Options{Where: where(t, `level in ["ERROR", "CRITICAL"]`)}, 3, 1, 8, 0.15},
		{"no such service", query.Options{Where: where(t, `service == "shop"`)}, 0, 0, 0, 0.04},
		{"between", query.Options{From: noon + 7*int64(time.Second), To: noon + 9*int64(time.Second)}, 1000, 1, 14, 0.25},
		{"stored later", query.Options{From: b.now}, 0, 0, 0, 0.0001},
	} {
		got, s := b.run(t, c.o)
		share := float64(s.Cost.BytesRead) / float64(all.Cost.Bytes)
		if len(got["EVENTS_0"]) != c.want || s.GroupsRead > c.groups || s.PagesRead > c.pages || share > c.bytes {
			t.Errorf("%s: %d events, %.4f of the bytes, %+v; want %d events, at most %d row groups, %d pages, %.4f of the bytes",
				c.name, len(got["EVENTS_0"]), share, s, c.want, c.groups, c.pages, c.bytes)
		}
	}
}

// TestRacing: while archivers and compactors are at work, and objects are removed
// at once, a reader sees each event once, up to at least where the archive was when
// it began.
func TestRacing(t *testing.T) {
	b := newBench(t)
	const objects = 30
	var mu sync.Mutex // of stored
	stored := 0
	done := make(chan struct{})
	var group sync.WaitGroup
	group.Go(func() {
		defer close(done)
		for i := range objects {
			b.frame("EVENTS_0", "events.0.log.api.l1", event("INFO", "", fmt.Sprint(i), ""))
			b.archive(t, "EVENTS_0")
			mu.Lock()
			stored = i + 1
			mu.Unlock()
		}
	})
	for range 2 {
		c := b.compactor(t)
		group.Go(func() {
			for over := false; !over; {
				select {
				case <-done:
					over = true
				default:
				}
				// The other one may remove objects under its hands, long before the grace
				// that there is in earnest. The next step finds their segment.
				_, _ = c.Step(t.Context())
			}
		})
	}
	races := 0
	check := func() {
		mu.Lock()
		least := stored
		mu.Unlock()
		var got []string
		_, err := query.Run(t.Context(), b.store, query.Options{}, func(e *query.Event) error {
			got = append(got, e.ID)
			return nil
		})
		var seqs []uint64
		if err == nil {
			err = query.Messages(t.Context(), b.store, archive.Filter{}, func(r *archive.Record) error {
				seqs = append(seqs, r.Seq)
				return nil
			})
		}
		if err != nil {
			t.Errorf("behind %d events: %v", least, err)
			return
		}
		for i := range max(len(got), least) {
			if i >= len(got) || got[i] != fmt.Sprint(i) || i >= len(seqs) || seqs[i] != uint64(i+1) {
				t.Errorf("behind %d events: %v, %v", least, got, seqs)
				return
			}
		}
		races++
	}
	for over := false; !over; {
		select {
		case <-done:
			over = true
		default:
		}
		check()
	}
	group.Wait()
	b.compact(t)
	check()
	if _, stats := b.run(t, query.Options{}); stats.Segments != objects-1 || races < 3 {
		t.Errorf("%d segments, %d looks; want %d and some", stats.Segments, races, objects-1)
	}
}

// TestBroken: a segment that is damaged or gone names itself, and whoever asks for
// it is given what the others hold.
func TestBroken(t *testing.T) {
	b := mixed(t)
	var keys []string
	for o, err := range b.store.List(t.Context(), "l1/telemetry/EVENTS_0/", "") {
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, o.Key)
	}
	damaged, gone := filepath.Join(b.dir, keys[0]), filepath.Join(b.dir, keys[2])
	body, err := os.ReadFile(damaged)
	if err != nil {
		t.Fatal(err)
	}
	body[len(body)-3] ^= 1
	if err := errors.Join(os.WriteFile(damaged, body, 0o600), os.Remove(gone)); err != nil {
		t.Fatal(err)
	}
	_, err = query.Run(t.Context(), b.store, query.Options{}, func(*query.Event) error { return nil })
	if err == nil || !strings.Contains(err.Error(), keys[0]) {
		t.Errorf("a damaged segment: %v; want %s named", err, keys[0])
	}
	var said []string
	got, _ := b.run(t, query.Options{Broken: func(err error) error { said = append(said, err.Error()); return nil }})
	if len(said) != 2 || !strings.Contains(said[0], keys[0]) || !strings.Contains(said[1], keys[2]) || !strings.Contains(said[1], archive.ErrNotFound.Error()) {
		t.Errorf("said %q; want %s and %s named", said, keys[0], keys[2])
	}
	if diff := cmp.Diff(b.put["EVENTS_0"][6:12], got["EVENTS_0"][:6]); diff != "" {
		t.Errorf("the rest (-want +got):\n%s", diff)
	}
}

// TestStops: an error of the receiver is its own, and ends the query at once.
func TestStops(t *testing.T) {
	b := mixed(t)
	enough := errors.New("enough")
	n := 0
	stats, err := query.Run(t.Context(), b.store, b.everywhere(), func(*query.Event) error {
		if n++; n == 7 {
			return enough
		}
		return nil
	})
	if n != 7 || err != enough || stats.Events != 7 {
		t.Errorf("%d events, %v, counted %d", n, err, stats.Events)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := query.Run(ctx, b.store, b.everywhere(), func(*query.Event) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("ended before it began: %v", err)
	}
}
