package retain_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dermai/millrace/archive"
	"github.com/dermai/millrace/archive/archivetest"
	"github.com/dermai/millrace/archive/retain"
	"github.com/dermai/millrace/schemas"
)

const day = 24 * time.Hour

// bench is an archive with workers of both classes, as a deployment has them.
type bench struct {
	*archivetest.Bench
	keep      map[schemas.Class]func(time.Time) time.Time
	workers   map[schemas.Class]*retain.Worker
	announced []retain.Announcement
}

func newBench(t *testing.T) *bench {
	b := &bench{Bench: archivetest.NewBench(t), workers: map[schemas.Class]*retain.Worker{}}
	b.keep = map[schemas.Class]func(time.Time) time.Time{
		schemas.Telemetry:  func(now time.Time) time.Time { return now.AddDate(0, 0, -90) },
		schemas.AuditTrail: func(now time.Time) time.Time { return now.AddDate(-6, 0, -30) },
	}
	for _, class := range schemas.Classes {
		w, err := retain.New(archive.NewView(b.Store, class), retain.Config{
			Before: func(now time.Time) time.Time { return b.keep[class](now) },
			Why:    "old " + string(class), By: "test", Now: b.Clock,
			Announce: func(_ context.Context, a retain.Announcement) error {
				b.announced = append(b.announced, a)
				return nil
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		b.workers[class] = w
	}
	return b
}

// events archives an event of each class and lets time pass.
func (b *bench) events(t *testing.T, telemetry, audit string, then time.Duration) {
	t.Helper()
	b.Put("events.0.log.api.l1", telemetry)
	b.Put("audit.api.l1", audit)
	b.Archive(t, "EVENTS_0")
	b.Archive(t, "AUDIT")
	b.Now += int64(then)
}

const (
	logEvent   = `{"message":"API request","level":"INFO"}`
	auditEvent = `{"user":"ann","action":"read","resource":"patient/7"}`
)

// run runs retention of both classes.
func (b *bench) run(t *testing.T) map[schemas.Class]retain.Result {
	t.Helper()
	out := map[schemas.Class]retain.Result{}
	for class, w := range b.workers {
		r, err := w.Run(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		out[class] = r
	}
	return out
}

// plan says what retention of both classes would do: verdict and key.
func (b *bench) plan(t *testing.T) (out []string) {
	t.Helper()
	for _, class := range schemas.Classes {
		plan, err := b.workers[class].Plan(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range plan {
			out = append(out, string(p.Verdict)+" "+p.Segment.Key)
			for _, o := range p.Objects {
				out = append(out, string(p.Verdict)+" "+o.Key)
			}
		}
	}
	slices.Sort(out)
	return out
}

func (b *bench) days(t *testing.T, class string) (out []string) {
	t.Helper()
	for _, m := range b.Cat(t, archive.Filter{Class: class}) {
		out = append(out, time.Unix(0, m.Arrival).UTC().Format(time.DateOnly))
	}
	return slices.Compact(out)
}

func (b *bench) healthy(t *testing.T) archive.Report {
	t.Helper()
	r := b.Verify(t, archive.Options{Full: true})
	if !r.OK() {
		t.Fatal(r.Problems)
	}
	return r
}

// TestSeedRules: objects of a day, telemetry gone after 90 days; and the clean-up
// leaves the audit trail alone, for six years and thirty days.
func TestSeedRules(t *testing.T) {
	b := newBench(t)
	begin := b.Clock()
	for at := 0; at < 130; at += 5 {
		b.events(t, logEvent, auditEvent, 5*day)
		if at < 85 && at != 40 {
			continue
		}
		b.Compact(t)
		b.run(t)
		b.Now += int64(97 * time.Hour) // what was condemned is removed
		b.run(t)
		b.Now -= int64(97 * time.Hour)
		for _, d := range b.days(t, "telemetry") {
			if age := b.Clock().Sub(date(t, d)); age > 105*day { // 90, five between objects and steps each, the grace
				t.Fatalf("telemetry of %s is there on %s", d, b.Clock())
			}
		}
	}
	r := b.healthy(t)
	if got := b.days(t, "audit"); len(got) != 26 || got[0] != begin.UTC().Format(time.DateOnly) {
		t.Errorf("audit of %d days from %s on; want all 26 from %s on", len(got), got[0], begin)
	}
	if got := b.days(t, "telemetry"); len(got) < 16 {
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
	b.run(t)
	if got := b.days(t, "audit"); got[0] != begin.UTC().Format(time.DateOnly) {
		t.Errorf("audit begins on %s, six years and thirty days on; want %s", got[0], begin)
	}
	b.Now = last.Add(time.Hour).UnixNano()
	b.run(t)
	if got := b.days(t, "audit"); got[0] == begin.UTC().Format(time.DateOnly) {
		t.Errorf("audit begins on %s after six years and thirty days", got[0])
	}
	b.Now += int64(97 * time.Hour)
	before := b.Keys(t, "l0/audit/")
	b.run(t)
	if after := b.Keys(t, "l0/audit/"); len(after) >= len(before) {
		t.Errorf("%d objects of the audit trail beside removed segments; there were %d", len(after), len(before))
	}
	b.healthy(t)
}

func date(t *testing.T, d string) time.Time {
	t.Helper()
	at, err := time.Parse(time.DateOnly, d)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// aged is an archive of which the events of ten days are past their time.
func aged(t *testing.T) *bench {
	b := newBench(t)
	for i := range 10 {
		service := "api"
		if i == 3 {
			service = "shop"
		}
		b.Put("events.0.log."+service+".l1", logEvent)
		b.events(t, logEvent, fmt.Sprintf(`{"user":"u%d","action":"read","resource":"patient/%d"}`, i, i), day)
	}
	b.Compact(t)
	b.Now += int64(100 * day)
	return b
}

// TestPlanIsWhatGoes: what the dry run lists is, object by object, what goes.
func TestPlanIsWhatGoes(t *testing.T) {
	b := aged(t)
	before := b.Keys(t, "l")
	plan := b.plan(t)
	if diff := cmp.Diff(before, b.Keys(t, "l")); diff != "" {
		t.Errorf("the plan changed something: %s", diff)
	}
	if len(b.announced) > 0 || len(plan) < 10 {
		t.Errorf("%d announced, %d planned: %q", len(b.announced), len(plan), plan)
	}
	want := map[string]bool{}
	for _, p := range plan {
		verdict, key, _ := strings.Cut(p, " ")
		if verdict != string(retain.Condemn) {
			t.Errorf("planned %s; want everything condemned", p)
		}
		want[key] = true
	}
	b.run(t)
	if diff := cmp.Diff(before, b.Keys(t, "l")); diff != "" {
		t.Errorf("condemned, and gone already: %s", diff)
	}
	if got := len(b.days(t, "telemetry")); got != 1 {
		t.Errorf("%d days are read after they were condemned; want the last object's", got)
	}
	b.Now += int64(95 * time.Hour)
	for _, p := range b.plan(t) {
		if !strings.HasPrefix(p, string(retain.Wait)) {
			t.Errorf("in the grace: %s", p)
		}
	}
	b.Now += int64(2 * time.Hour)
	b.run(t)
	left := b.Keys(t, "l")
	for _, key := range before {
		if slices.Contains(left, key) == want[key] {
			t.Errorf("%s: planned %v, there %v", key, want[key], slices.Contains(left, key))
		}
	}
	r := b.healthy(t)
	deleted, err := archive.Deletions(t.Context(), b.Store, "", "")
	if err != nil || len(deleted) != len(r.Chains[1].Deleted) || len(deleted) != 9 {
		t.Fatalf("%d deletions, %d in the report, %v; want 9", len(deleted), len(r.Chains[1].Deleted), err)
	}
	d := deleted[0]
	if d.First != 1 || d.Last < 1 || d.Messages == 0 || d.SHA256 == "" || d.By != "test" || d.Why != "old telemetry" || d.Removed == 0 {
		t.Errorf("tombstone %+v", d)
	}
	// Each commit was announced before.
	if len(b.announced) != 2 || len(b.announced[0].Decision.Condemned) != 9 || len(b.announced[1].Decision.Removed) != 9 {
		t.Errorf("announced %+v", b.announced)
	}
}

// TestHolds: what a hold names stays, whole objects, as long as it holds.
func TestHolds(t *testing.T) {
	b := aged(t)
	b.keep[schemas.AuditTrail] = b.keep[schemas.Telemetry]
	hold := func(h archive.Hold) {
		h.Author, h.Comment = "ann", "a lawsuit"
		if err := archive.AddHold(t.Context(), b.Store, h); err != nil {
			t.Fatal(err)
		}
	}
	hold(archive.Hold{ID: "shop", Service: "shop"})
	hold(archive.Hold{ID: "u5", User: "u5", Resource: "patient/5"})
	hold(archive.Hold{ID: "nothing", User: "u5", Resource: "patient/6"})
	b.run(t)
	b.Now += int64(97 * time.Hour)
	// In the grace, one more, and one more after it.
	hold(archive.Hold{ID: "p7", Resource: "patient/7"})
	r := b.run(t)
	if r[schemas.AuditTrail].Spared != 1 || r[schemas.AuditTrail].Removed != 7 || r[schemas.AuditTrail].Held != 1 ||
		r[schemas.Telemetry].Held != 1 || r[schemas.Telemetry].Removed != 8 {
		t.Errorf("the run: %+v", r)
	}
	texts := func() (out []string) {
		for _, m := range b.Cat(t, archive.Filter{Class: "audit"}) {
			out = append(out, m.Payload)
		}
		return out
	}
	if got := fmt.Sprint(texts()); !strings.Contains(got, "u5") || !strings.Contains(got, "patient/7") || strings.Contains(got, "patient/6") {
		t.Errorf("the audit trail holds %s; want what is held", got)
	}
	if got := b.Cat(t, archive.Filter{Class: "telemetry", To: 14}); len(got) != 2 || got[0].Subject != "events.0.log.shop.l1" {
		t.Errorf("telemetry %+v; want the object with the service that is held", got)
	}
	b.healthy(t)
	// Released, it goes.
	for _, id := range []string{"shop", "u5", "nothing", "p7"} {
		if err := archive.ReleaseHold(t.Context(), b.Store, id, archive.Release{Author: "ann", Comment: "settled"}); err != nil {
			t.Fatal(err)
		}
	}
	b.run(t)
	b.Now += int64(97 * time.Hour)
	b.run(t)
	if got := texts(); len(got) != 1 {
		t.Errorf("the audit trail holds %q after the holds were released; want its last object", got)
	}
	b.healthy(t)
}

// TestSpared: a longer retention spares what waits for the end of the grace.
func TestSpared(t *testing.T) {
	b := aged(t)
	before := b.days(t, "telemetry")
	b.run(t)
	b.keep[schemas.Telemetry] = func(now time.Time) time.Time { return now.AddDate(-1, 0, 0) }
	b.Now += int64(97 * time.Hour)
	b.run(t)
	if diff := cmp.Diff(before, b.days(t, "telemetry")); diff != "" {
		t.Errorf("spared (-want +got):\n%s", diff)
	}
	// For ever is no time at all.
	b.keep[schemas.Telemetry] = func(time.Time) time.Time { return time.Time{} }
	b.Now += int64(9000 * day)
	if got := b.run(t); got[schemas.Telemetry] != (retain.Result{}) {
		t.Errorf("kept for ever, and %+v", got)
	}
	b.healthy(t)
}

// TestLate: who slept brings nothing back, neither an object nor a segment.
func TestLate(t *testing.T) {
	b := newBench(t)
	b.Put("events.0.log.api.l1", logEvent)
	late := b.Archive(t, "EVENTS_0")
	for range 5 {
		b.events(t, logEvent, auditEvent, day)
	}
	b.Compact(t)
	segments := b.Keys(t, "l1/telemetry/")
	body, err := archive.ReadAll(t.Context(), b.Store, segments[1])
	if err != nil {
		t.Fatal(err)
	}
	b.Now += int64(100 * day)
	b.run(t)
	b.Now += int64(97 * time.Hour)
	b.run(t)
	want := b.Cat(t, archive.Filter{Class: "telemetry"})
	left := b.Keys(t, "l")
	for busy := true; busy && err == nil; {
		busy, err = late.Step(t.Context())
	}
	if err == nil {
		err = late.Flush(t.Context())
	}
	if err == nil || !strings.Contains(err.Error(), "slept") {
		t.Fatalf("an archiver that comes late: %v; want it to notice", err)
	}
	// A compactor that slept puts its segment again, and its commit is refused.
	if err := b.Store.Put(t.Context(), segments[1], strings.NewReader(string(body)), int64(len(body))); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, b.Cat(t, archive.Filter{Class: "telemetry"})); diff != "" {
		t.Errorf("with ghosts (-want +got):\n%s", diff)
	}
	b.run(t)
	if diff := cmp.Diff(left, b.Keys(t, "l")); diff != "" {
		t.Errorf("after the next run (-want +got):\n%s", diff)
	}
	b.healthy(t)
}

// TestWithoutTombstone: what is gone and was not deleted by retention is a fault.
func TestWithoutTombstone(t *testing.T) {
	b := aged(t)
	b.run(t)
	b.Now += int64(97 * time.Hour)
	b.run(t)
	b.events(t, logEvent, auditEvent, day)
	b.Compact(t)
	b.healthy(t)
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

// TestView: what keeps telemetry cannot name anything of the audit trail.
func TestView(t *testing.T) {
	b := aged(t)
	audit := b.Keys(t, "")
	view := archive.NewView(b.Store, schemas.Telemetry)
	seen := 0
	for _, key := range audit {
		if strings.Contains(key, "/telemetry/") {
			seen++
			continue
		}
		if err := view.Remove(t.Context(), key); err == nil {
			t.Errorf("removed %s", key)
		}
		if _, err := archive.ReadAll(t.Context(), view, key); err == nil {
			t.Errorf("read %s", key)
		}
		if err := view.Put(t.Context(), key+"x", strings.NewReader(""), 0); err == nil {
			t.Errorf("put %s", key+"x")
		}
		for i := range key {
			for _, err := range view.List(t.Context(), key[:i], "") {
				if err == nil {
					t.Errorf("listed %s", key[:i])
				}
				break
			}
		}
	}
	if diff := cmp.Diff(audit, b.Keys(t, "")); diff != "" || seen == 0 || seen == len(audit) {
		t.Errorf("of %d objects %d are telemetry; changed: %s", len(audit), seen, diff)
	}
	for _, key := range []string{"l0/telemetry/../audit/x", "l0/./audit/x", "manifest/telemetry/EVENTS_0/1/1.json", "", "l0"} {
		if view.Remove(t.Context(), key) == nil {
			t.Errorf("removed %q", key)
		}
	}
}
