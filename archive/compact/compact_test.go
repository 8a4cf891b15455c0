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
	"github.com/dermai/millrace/archive/archivetest"
	"github.com/dermai/millrace/archive/compact"
	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/schemas"
)

const noon = archivetest.Noon

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
func filled(t *testing.T) *archivetest.Bench {
	b := archivetest.NewBench(t)
	for range 3 {
		for _, payload := range odd() {
			b.Put("events.0.log.api.l1", payload)
			b.Put("audit.api.l1", `{"user":"ann","action":"read","resource":"patient/7"}`)
			b.Archive(t, "EVENTS_0")
			b.Archive(t, "AUDIT")
		}
		b.Put("events.0.tick", "")
		b.Put("ingest.log.shop", event)
		b.Log.Put(fence.Message{Subject: "events.0.log.api.l1", Data: []byte(event), Header: fence.Header{"bin": "\xff"}})
		b.Now += int64(24 * time.Hour)
	}
	b.Put("events.0.log.api.l1", event)
	b.Put("audit.api.l1", event)
	b.Archive(t, "EVENTS_0")
	b.Archive(t, "AUDIT")
	return b
}

// TestCompact: before, after, and once the objects are gone, the archive gives the
// same messages, and what was kept of it before proves it.
func TestCompact(t *testing.T) {
	b := filled(t)
	want := b.Cat(t, archive.Filter{})
	before := b.Verify(t, archive.Options{Full: true})
	kept := archive.Options{Full: true}
	for _, c := range before.Chains {
		kept.Kept = append(kept.Kept, c.Head)
	}
	audit := b.Keys(t, "l0/audit/")

	segments := b.Compact(t)
	days := map[string]int{}
	for _, s := range segments {
		days[s.Day]++
	}
	if len(segments) < 8 || len(days) != 3 {
		t.Errorf("%d segments of %v; want some of each of three days", len(segments), days)
	}
	check := func(when string) {
		t.Helper()
		if diff := cmp.Diff(want, b.Cat(t, archive.Filter{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", when, diff)
		}
		r := b.Verify(t, kept)
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
			var chosen []archivetest.Message
			for _, m := range want {
				if (f.Stream == "" || m.Stream == f.Stream) && m.Seq >= f.From && (f.To == 0 || m.Seq <= f.To) &&
					m.Arrival >= f.Since && (f.Until == 0 || m.Arrival < f.Until) {
					chosen = append(chosen, m)
				}
			}
			got := b.Cat(t, f)
			if diff := cmp.Diff(chosen, got); diff != "" {
				t.Errorf("%s: %+v (-want +got):\n%s", when, f, diff)
			}
		}
	}
	check("compacted")
	objects := len(b.Keys(t, "l0/telemetry/"))
	b.Now += int64(97 * time.Hour)
	b.Compact(t)
	if left := b.Keys(t, "l0/telemetry/"); len(left) >= objects || len(left) == 0 {
		t.Errorf("%d of %d objects of telemetry are left after the grace; want the last", len(left), objects)
	}
	if diff := cmp.Diff(audit, b.Keys(t, "l0/audit/")); diff != "" {
		t.Errorf("objects of the audit trail (-before +after):\n%s", diff)
	}
	check("removed")
	// Without a way to read segments, what is gone is not passed over in silence.
	err := archive.Cat(t.Context(), b.Store, archive.Filter{}, func(*archive.Record) error { return nil })
	if err == nil || !strings.Contains(err.Error(), "in segments alone") {
		t.Errorf("cat without segments: %v; want it refused", err)
	}
	// And it goes on.
	b.Put("events.0.log.api.l1", event)
	b.Archive(t, "EVENTS_0")
	want = b.Cat(t, archive.Filter{})
	if r := b.Verify(t, kept); !r.OK() {
		t.Errorf("gone on: %v", r.Problems)
	}
}

// TestManifestCheckpoints: past a hundred commits, what is read from the last
// checkpoint on is what is read from the beginning.
func TestManifestCheckpoints(t *testing.T) {
	b := archivetest.NewBench(t)
	for i := range 205 {
		b.Put("events.0.log.api.l1", fmt.Sprintf(`{"message":"%d %s"}`, i, strings.Repeat("x", 1<<10)))
		b.Put("events.0.log.api.l1", string(make([]byte, 1<<10)))
		b.Archive(t, "EVENTS_0")
	}
	c, err := compact.New(b.Store, compact.Config{Bytes: 1, Dir: t.TempDir(), Now: b.Clock})
	if err != nil {
		t.Fatal(err)
	}
	for busy := true; busy; {
		if busy, err = c.Step(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if got := len(b.Keys(t, "checkpoint/")); got != 2 {
		t.Errorf("%d checkpoints; want 2", got)
	}
	chains, err := archive.Chains(t.Context(), b.Store, "", "")
	if err != nil {
		t.Fatal(err)
	}
	m, err := archive.ReadManifest(t.Context(), b.Store, chains[0])
	if err != nil || m.Version != 204 || len(m.Segments) != 204 || m.Through() != 408 {
		t.Errorf("%d commits, %d segments up to %d, %v; want 204 up to 408", m.Version, len(m.Segments), m.Through(), err)
	}
	if got := b.Cat(t, archive.Filter{}); len(got) != 410 {
		t.Errorf("%d messages; want 410", len(got))
	}
	if r := b.Verify(t, archive.Options{}); !r.OK() || r.Chains[0].Segments != 204 {
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
	whole.Compact(t)
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
			b := archivetest.OpenBench(t, t.TempDir())
			if err := os.CopyFS(b.Dir, os.DirFS(whole.Dir)); err != nil {
				t.Fatal(err)
			}
			test.do(t, filepath.Join(b.Dir, filepath.FromSlash(b.Keys(t, test.prefix)[0])))
			r := b.Verify(t, archive.Options{Full: test.full})
			if text := fmt.Sprint(r.Problems); !strings.Contains(text, test.want) {
				t.Errorf("problems %s; want one with %q", text, test.want)
			}
		})
	}
}

// TestLate: an archiver that slept until its place was compacted and removed
// brings nothing back.
func TestLate(t *testing.T) {
	b := archivetest.NewBench(t)
	b.Put("events.0.log.api.l1", event)
	late := b.Archive(t, "EVENTS_0")
	for range 40 {
		b.Put("events.0.log.api.l1", event)
		b.Archive(t, "EVENTS_0")
	}
	want := b.Cat(t, archive.Filter{})
	b.Compact(t)
	b.Now += int64(97 * time.Hour)
	b.Compact(t)
	left := b.Keys(t, "l0/")

	// It puts an object where one was removed, and sees that it is late.
	var err error
	for busy := true; busy && err == nil; {
		busy, err = late.Step(t.Context())
	}
	if err == nil {
		err = late.Flush(t.Context())
	}
	if !errors.Is(err, archive.ErrLate) {
		t.Fatalf("an archiver that comes late: %v; want it to notice", err)
	}
	if diff := cmp.Diff(want, b.Cat(t, archive.Filter{})); diff != "" {
		t.Errorf("with its ghost (-want +got):\n%s", diff)
	}
	archivetest.Drain(t, late)
	b.Compact(t)
	if diff := cmp.Diff(left, b.Keys(t, "l0/")); diff != "" {
		t.Errorf("objects after it went on (-before +after):\n%s", diff)
	}
	if r := b.Verify(t, archive.Options{Full: true}); !r.OK() {
		t.Error(r.Problems)
	}
}

// TestRemovable: no store removes anything but objects and segments, and none of
// what is kept for ever.
func TestRemovable(t *testing.T) {
	b := filled(t)
	b.Compact(t)
	for _, key := range b.Keys(t, "") {
		err := b.Store.(archive.Remover).Remove(context.Background(), key)
		want := strings.HasPrefix(key, "l0/") || strings.HasPrefix(key, "l1/")
		if got := err == nil; got != want {
			t.Errorf("remove %s: %v", key, err)
		}
		_, err = archive.ReadAll(t.Context(), b.Store, key)
		if got := errors.Is(err, archive.ErrNotFound); got != want {
			t.Errorf("after removing %s: %v", key, err)
		}
	}
	for _, key := range []string{
		"l0/alerts/ALERTS/1/dt=2026-09-21/00000000000000000001.jsonl.zst", "l0/control/CONTROL/1/dt=2026-09-21/00000000000000000001.jsonl.zst",
		"l1/telemetry/EVENTS_0/1/dt=2026-09-21/1-2.parquet", "hold/x.json", "l1/telemetry/../audit/x", "generation/telemetry/EVENTS_0/1-1.json",
	} {
		if archive.Removable(key) == nil {
			t.Errorf("%s may be removed", key)
		}
	}
}

// TestDayEndsBehindSegment: an object that only ends a day, and begins where the
// last segment ends, is not passed over.
func TestDayEndsBehindSegment(t *testing.T) {
	b := archivetest.NewBench(t)
	for range 3 {
		b.Put("events.0.log.api.l1", event)
		b.Archive(t, "EVENTS_0")
		b.Now += int64(24 * time.Hour)
	}
	c, err := compact.New(b.Store, compact.Config{Bytes: 1, Dir: t.TempDir(), Now: b.Clock})
	if err != nil {
		t.Fatal(err)
	}
	for busy := true; busy; {
		if busy, err = c.Step(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := b.Cat(t, archive.Filter{}); len(got) != 3 {
			t.Fatalf("%d messages; want 3", len(got))
		}
	}
}
