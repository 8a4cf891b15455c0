package retain_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dermai/millrace/archive"
	"github.com/dermai/millrace/archive/archivetest"
	"github.com/dermai/millrace/archive/retain"
	"github.com/dermai/millrace/archive/retain/retaintest"
	"github.com/dermai/millrace/schemas"
)

const (
	day        = retaintest.Day
	logEvent   = retaintest.LogEvent
	auditEvent = retaintest.AuditEvent
)

// What is proven on S3, too, in integration/s3.

func TestPlanIsWhatGoes(t *testing.T) { retaintest.PlanIsWhatGoes(t, archivetest.NewBench(t)) }
func TestHolds(t *testing.T)          { retaintest.Holds(t, archivetest.NewBench(t)) }
func TestView(t *testing.T)           { retaintest.View(t, archivetest.NewBench(t)) }

// TestSeedRules: objects of a day, telemetry gone after 90 days; and the clean-up
// leaves the audit trail alone, for six years and thirty days.
func TestSeedRules(t *testing.T) {
	b := retaintest.New(t, archivetest.NewBench(t))
	begin := b.Clock()
	for at := 0; at < 130; at += 5 {
		b.Events(t, logEvent, auditEvent, 5*day)
		if at < 85 && at != 40 {
			continue
		}
		b.Compact(t)
		b.Run(t)
		b.Now += int64(97 * time.Hour) // what was condemned is removed
		b.Run(t)
		b.Now -= int64(97 * time.Hour)
		for _, d := range b.Days(t, "telemetry") {
			if age := b.Clock().Sub(date(t, d)); age > 105*day { // 90, five between objects and steps each, the grace
				t.Fatalf("telemetry of %s is there on %s", d, b.Clock())
			}
		}
	}
	r := b.Healthy(t)
	if got := b.Days(t, "audit"); len(got) != 26 || got[0] != begin.UTC().Format(time.DateOnly) {
		t.Errorf("audit of %d days from %s on; want all 26 from %s on", len(got), got[0], begin)
	}
	if got := b.Days(t, "telemetry"); len(got) < 16 {
		t.Errorf("telemetry of %d days: it went too early", len(got))
	}
	for _, c := range r.Chains {
		if got := len(c.Deleted) > 0; got != strings.HasPrefix(c.Chain, "telemetry/") {
			t.Errorf("%s has %d tombstones", c.Chain, len(c.Deleted))
		}
	}
	// On the last day of the sixth year and the 30 days it is there, and then it goes.
	last := begin.AddDate(6, 0, 30)
	b.Now = last.UnixNano()
	b.Run(t)
	if got := b.Days(t, "audit"); got[0] != begin.UTC().Format(time.DateOnly) {
		t.Errorf("audit begins on %s, six years and thirty days on; want %s", got[0], begin)
	}
	b.Now = last.Add(time.Hour).UnixNano()
	b.Run(t)
	if got := b.Days(t, "audit"); got[0] == begin.UTC().Format(time.DateOnly) {
		t.Errorf("audit begins on %s after six years and thirty days", got[0])
	}
	b.Now += int64(97 * time.Hour)
	before := b.Keys(t, "l0/audit/")
	b.Run(t)
	if after := b.Keys(t, "l0/audit/"); len(after) >= len(before) {
		t.Errorf("%d objects of the audit trail beside removed segments; there were %d", len(after), len(before))
	}
	b.Healthy(t)
}

func date(t *testing.T, d string) time.Time {
	t.Helper()
	at, err := time.Parse(time.DateOnly, d)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// TestSpared: a longer retention spares what waits for the end of the grace.
func TestSpared(t *testing.T) {
	b := retaintest.Aged(t, archivetest.NewBench(t))
	before := b.Days(t, "telemetry")
	b.Run(t)
	b.Keep[schemas.Telemetry] = func(now time.Time) time.Time { return now.AddDate(-1, 0, 0) }
	b.Now += int64(97 * time.Hour)
	b.Run(t)
	if diff := cmp.Diff(before, b.Days(t, "telemetry")); diff != "" {
		t.Errorf("spared (-want +got):\n%s", diff)
	}
	// For ever is no time at all.
	b.Keep[schemas.Telemetry] = func(time.Time) time.Time { return time.Time{} }
	b.Now += int64(9000 * day)
	if got := b.Run(t); got[schemas.Telemetry] != (retain.Result{}) {
		t.Errorf("kept for ever, and %+v", got)
	}
	b.Healthy(t)
}

// TestLate: who slept brings nothing back, neither an object nor a segment.
func TestLate(t *testing.T) {
	b := retaintest.New(t, archivetest.NewBench(t))
	b.Put("events.0.log.api.l1", logEvent)
	late := b.Archive(t, "EVENTS_0")
	for range 5 {
		b.Events(t, logEvent, auditEvent, day)
	}
	b.Compact(t)
	segments := b.Keys(t, "l1/telemetry/")
	body, err := archive.ReadAll(t.Context(), b.Store, segments[1])
	if err != nil {
		t.Fatal(err)
	}
	b.Now += int64(100 * day)
	b.Run(t)
	b.Now += int64(97 * time.Hour)
	b.Run(t)
	want := b.Cat(t, archive.Filter{Class: "telemetry"})
	left := b.Keys(t, "l")
	for busy := true; busy && err == nil; {
		busy, err = late.Step(t.Context())
	}
	if err == nil {
		err = late.Flush(t.Context())
	}
	if !errors.Is(err, archive.ErrLate) {
		t.Fatalf("an archiver that comes late: %v; want it to notice", err)
	}
	// A compactor that slept puts its segment again, and its commit is refused.
	if err := b.Store.Put(t.Context(), segments[1], strings.NewReader(string(body)), int64(len(body))); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, b.Cat(t, archive.Filter{Class: "telemetry"})); diff != "" {
		t.Errorf("with ghosts (-want +got):\n%s", diff)
	}
	b.Run(t)
	if diff := cmp.Diff(left, b.Keys(t, "l")); diff != "" {
		t.Errorf("after the next run (-want +got):\n%s", diff)
	}
	b.Healthy(t)
}

// TestWithoutTombstone: what is gone and was not deleted by retention is a fault.
func TestWithoutTombstone(t *testing.T) {
	b := retaintest.Aged(t, archivetest.NewBench(t))
	b.Run(t)
	b.Now += int64(97 * time.Hour)
	b.Run(t)
	b.Events(t, logEvent, auditEvent, day)
	b.Compact(t)
	b.Healthy(t)
	whole := b.Dir
	for _, prefix := range []string{"l1/telemetry/", "l1/audit/", "l0/audit/"} {
		b := archivetest.OpenBench(t, t.TempDir())
		if err := os.CopyFS(b.Dir, os.DirFS(whole)); err != nil {
			t.Fatal(err)
		}
		key := b.Keys(t, prefix)[0]
		if err := os.Remove(filepath.Join(b.Dir, filepath.FromSlash(key))); err != nil {
			t.Fatal(err)
		}
		r := b.Verify(t, archive.Options{})
		if len(r.Problems) != 1 || r.Problems[0].Key != key {
			t.Errorf("%s is gone: %v", key, r.Problems)
		}
	}
}
