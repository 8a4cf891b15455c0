package compact_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dermai/millrace/archive"
	"github.com/dermai/millrace/archive/compact"
	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/fence/fencetest"
	"github.com/dermai/millrace/schemas"
)

const noon = 1_790_000_000_000_000_000

// bench is a log in memory, a store in a directory, and a clock for both.
type bench struct {
	log   *fencetest.Memory
	store *archive.FileStore
	dir   string
	now   int64
}

func newBench(t *testing.T) *bench {
	t.Helper()
	return openBench(t, t.TempDir())
}

func openBench(t *testing.T, dir string) *bench {
	t.Helper()
	b := &bench{now: noon, dir: dir}
	b.log = &fencetest.Memory{Clock: func() int64 { return b.now }}
	store, err := archive.OpenFileStore(b.dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	b.store = store
	return b
}

func (b *bench) clock() time.Time { return time.Unix(0, b.now) }

func (b *bench) put(subject, data string) {
	b.now += int64(time.Millisecond)
	b.log.Put(fence.Message{Subject: subject, Data: []byte(data), Header: fence.Header{"N": fmt.Sprint(b.now)}})
}

// archive stores what the log holds of a stream.
func (b *bench) archive(t *testing.T, stream string) *archive.Archiver {
	t.Helper()
	a, err := archive.NewArchiver(b.log, b.store, archive.Config{Stream: stream, Now: b.clock})
	if err != nil {
		t.Fatal(err)
	}
	drain(t, a)
	return a
}

func drain(t *testing.T, a *archive.Archiver) {
	t.Helper()
	for busy := true; busy; {
		var err error
		if busy, err = a.Step(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// compact compacts all that can be, and removes what may be.
func (b *bench) compact(t *testing.T) (segments []archive.Segment) {
	t.Helper()
	c, err := compact.New(b.store, compact.Config{Bytes: 1 << 10, Dir: t.TempDir(), Now: b.clock,
		Committed: func(s archive.Segment) { segments = append(segments, s) }})
	if err != nil {
		t.Fatal(err)
	}
	for busy := true; busy; {
		if busy, err = c.Step(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	return segments
}

// message is a record with its payload unpacked.
type message struct {
	Stream        string
	Seq           uint64
	Time, Arrival int64
	Subject       string
	Header        fence.Header
	Payload       string
}

func (b *bench) cat(t *testing.T, f archive.Filter) (out []message) {
	t.Helper()
	err := compact.Cat(t.Context(), b.store, f, func(r *archive.Record) error {
		p, err := schemas.Unpack(nil, r.Payload, schemas.FrameDecoded)
		if err != nil {
			p = r.Payload
		}
		out = append(out, message{r.Stream, r.Seq, r.Time, r.Arrival, r.Subject, r.Header, string(p)})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (b *bench) verify(t *testing.T, o archive.Options) archive.Report {
	t.Helper()
	r, err := archive.Verify(t.Context(), b.store, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (b *bench) keys(t *testing.T, prefix string) (out []string) {
	t.Helper()
	for o, err := range b.store.List(t.Context(), prefix, "") {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, o.Key)
	}
	return out
}

const event = `{"message":"API request","level":"INFO","trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","timestamp":"2026-09-21T14:13:20Z"}`

// odd are payloads of every kind.
func odd() []string {
	many := strings.Repeat(event+"\n", 50)
	return []string{
		event, event + "\n", many, string(schemas.Pack(nil, []byte(many))), "\n\n" + event + "\n \n", "{\n  \"message\": \"one event\"\n}\n",
		"", "no JSON", "\x28\xb5\x2f\xfd broken", "\xff\xfe", event + "\n" + event, "[1,2]\n", "\n",
	}
}

// filled is an archive of three days and two streams.
func filled(t *testing.T) *bench {
	b := newBench(t)
	for range 3 {
		for _, payload := range odd() {
			b.put("events.0.log.api.l1", payload)
			b.put("audit.api.l1", `{"user":"ann","action":"read","resource":"patient/7"}`)
			b.archive(t, "EVENTS_0")
			b.archive(t, "AUDIT")
		}
		b.put("events.0.tick", "")
		b.put("ingest.log.shop", event)
		b.log.Put(fence.Message{Subject: "events.0.log.api.l1", Data: []byte(event), Header: fence.Header{"bin": "\xff"}})
		b.now += int64(24 * time.Hour)
	}
	b.put("events.0.log.api.l1", event)
	b.put("audit.api.l1", event)
	b.archive(t, "EVENTS_0")
	b.archive(t, "AUDIT")
	return b
}

// TestCompact: before, after, and once the objects are gone, the archive gives the
// same messages, and what was kept of it before proves it.
func TestCompact(t *testing.T) {
	b := filled(t)
	want := b.cat(t, archive.Filter{})
	before := b.verify(t, archive.Options{Full: true})
	kept := archive.Options{Full: true}
	for _, c := range before.Chains {
		kept.Kept = append(kept.Kept, c.Head)
	}
	audit := b.keys(t, "l0/audit/")

	segments := b.compact(t)
	days := map[string]int{}
	for _, s := range segments {
		days[s.Day]++
	}
	if len(segments) < 8 || len(days) != 3 {
		t.Errorf("%d segments of %v; want some of each of three days", len(segments), days)
	}
	check := func(when string) {
		t.Helper()
		if diff := cmp.Diff(want, b.cat(t, archive.Filter{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", when, diff)
		}
		r := b.verify(t, kept)
		if !r.OK() {
			t.Errorf("%s: %v", when, r.Problems)
		}
		for i, c := range r.Chains {
			if w := before.Chains[i]; c.Head != w.Head || c.Count != w.Count || c.Ticks != w.Ticks || c.Segments == 0 {
				t.Errorf("%s: verify says %+v; want what it said before, %+v", when, c, w)
			}
		}
		for _, f := range []archive.Filter{
			{Stream: "EVENTS_0", From: 7, To: 20}, {Since: noon + int64(20*time.Hour), Until: noon + int64(50*time.Hour)},
			{Since: noon + int64(71*time.Hour)}, {Stream: "AUDIT", From: 40}, {To: 3}, {Since: 1, Until: 2},
		} {
			var chosen []message
			for _, m := range want {
				if (f.Stream == "" || m.Stream == f.Stream) && m.Seq >= f.From && (f.To == 0 || m.Seq <= f.To) &&
					m.Arrival >= f.Since && (f.Until == 0 || m.Arrival < f.Until) {
					chosen = append(chosen, m)
				}
			}
			got := b.cat(t, f)
			if diff := cmp.Diff(chosen, got); diff != "" {
				t.Errorf("%s: %+v (-want +got):\n%s", when, f, diff)
			}
		}
	}
	check("compacted")
	objects := len(b.keys(t, "l0/telemetry/"))
	b.now += int64(97 * time.Hour)
	b.compact(t)
	if left := b.keys(t, "l0/telemetry/"); len(left) >= objects || len(left) == 0 {
		t.Errorf("%d of %d objects of telemetry are left after the grace; want the last", len(left), objects)
	}
	if diff := cmp.Diff(audit, b.keys(t, "l0/audit/")); diff != "" {
		t.Errorf("objects of the audit trail (-before +after):\n%s", diff)
	}
	check("removed")
	// Without a way to read segments, what is gone is not passed over in silence.
	err := archive.Cat(t.Context(), b.store, archive.Filter{}, func(*archive.Record) error { return nil })
	if err == nil || !strings.Contains(err.Error(), "in segments alone") {
		t.Errorf("cat without segments: %v; want it refused", err)
	}
	// And it goes on.
	b.put("events.0.log.api.l1", event)
	b.archive(t, "EVENTS_0")
	want = b.cat(t, archive.Filter{})
	if r := b.verify(t, kept); !r.OK() {
		t.Errorf("gone on: %v", r.Problems)
	}
}

// TestManifestCheckpoints: past a hundred commits, what is read from the last
// checkpoint on is what is read from the beginning.
func TestManifestCheckpoints(t *testing.T) {
	b := newBench(t)
	for i := range 205 {
		b.put("events.0.log.api.l1", fmt.Sprintf(`{"message":"%d %s"}`, i, strings.Repeat("x", 1<<10)))
		b.put("events.0.log.api.l1", string(make([]byte, 1<<10)))
		b.archive(t, "EVENTS_0")
	}
	c, err := compact.New(b.store, compact.Config{Bytes: 1, Dir: t.TempDir(), Now: b.clock})
	if err != nil {
		t.Fatal(err)
	}
	for busy := true; busy; {
		if busy, err = c.Step(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if got := len(b.keys(t, "checkpoint/")); got != 2 {
		t.Errorf("%d checkpoints; want 2", got)
	}
	chains, err := archive.Chains(t.Context(), b.store, "", "")
	if err != nil {
		t.Fatal(err)
	}
	m, err := archive.ReadManifest(t.Context(), b.store, chains[0])
	if err != nil || m.Version != 204 || len(m.Segments) != 204 || m.Through() != 408 {
		t.Errorf("%d commits, %d segments up to %d, %v; want 204 up to 408", m.Version, len(m.Segments), m.Through(), err)
	}
	if got := b.cat(t, archive.Filter{}); len(got) != 410 {
		t.Errorf("%d messages; want 410", len(got))
	}
	if r := b.verify(t, archive.Options{}); !r.OK() || r.Chains[0].Segments != 204 {
		t.Errorf("verify: %+v", r)
	}
}

// TestVerifyFindsTampering: what is altered or taken away is found.
func TestVerifyFindsTampering(t *testing.T) {
	flip := func(t *testing.T, path string) {
		t.Helper()
		body, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		body[len(body)/2] ^= 1
		if err := os.WriteFile(path, body, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	remove := func(t *testing.T, path string) {
		t.Helper()
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	whole := filled(t)
	whole.compact(t)
	for _, test := range []struct {
		name, prefix string
		do           func(*testing.T, string)
		full         bool
		want         string
	}{
		{"a byte of a segment", "l1/telemetry/", flip, true, "not as it was written"},
		{"a segment", "l1/telemetry/", remove, false, "not there"},
		{"a byte of a commit", "manifest/telemetry/", flip, false, "manifest/telemetry/"},
		{"a commit", "manifest/telemetry/", remove, false, "should follow"},
		{"an object of the audit trail", "l0/audit/", remove, false, "removed"},
		{"a byte of an object that was compacted", "l0/audit/", flip, true, "l0/audit/"},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := openBench(t, t.TempDir())
			if err := os.CopyFS(b.dir, os.DirFS(whole.dir)); err != nil {
				t.Fatal(err)
			}
			test.do(t, filepath.Join(b.dir, filepath.FromSlash(b.keys(t, test.prefix)[0])))
			r := b.verify(t, archive.Options{Full: test.full})
			if text := fmt.Sprint(r.Problems); !strings.Contains(text, test.want) {
				t.Errorf("problems %s; want one with %q", text, test.want)
			}
		})
	}
}

// TestLate: an archiver that slept until its place was compacted and removed
// brings nothing back.
func TestLate(t *testing.T) {
	b := newBench(t)
	b.put("events.0.log.api.l1", event)
	late := b.archive(t, "EVENTS_0")
	for range 40 {
		b.put("events.0.log.api.l1", event)
		b.archive(t, "EVENTS_0")
	}
	want := b.cat(t, archive.Filter{})
	b.compact(t)
	b.now += int64(97 * time.Hour)
	b.compact(t)
	left := b.keys(t, "l0/")

	// It puts an object where one was removed, and sees that it is late.
	var err error
	for busy := true; busy && err == nil; {
		busy, err = late.Step(t.Context())
	}
	if err == nil {
		err = late.Flush(t.Context())
	}
	if err == nil || !strings.Contains(err.Error(), "slept") {
		t.Fatalf("an archiver that comes late: %v; want it to notice", err)
	}
	if diff := cmp.Diff(want, b.cat(t, archive.Filter{})); diff != "" {
		t.Errorf("with its ghost (-want +got):\n%s", diff)
	}
	drain(t, late)
	b.compact(t)
	if diff := cmp.Diff(left, b.keys(t, "l0/")); diff != "" {
		t.Errorf("objects after it went on (-before +after):\n%s", diff)
	}
	if r := b.verify(t, archive.Options{Full: true}); !r.OK() {
		t.Error(r.Problems)
	}
}

// TestRemovable: no store removes anything but objects of telemetry.
func TestRemovable(t *testing.T) {
	b := filled(t)
	b.compact(t)
	for _, key := range b.keys(t, "") {
		err := b.store.Remove(context.Background(), key)
		if got, want := err == nil, strings.HasPrefix(key, "l0/telemetry/"); got != want {
			t.Errorf("remove %s: %v", key, err)
		}
		_, err = archive.ReadAll(t.Context(), b.store, key)
		if got, want := errors.Is(err, archive.ErrNotFound), strings.HasPrefix(key, "l0/telemetry/"); got != want {
			t.Errorf("after removing %s: %v", key, err)
		}
	}
}
