package retaintest

import (
	"fmt"
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

// PlanIsWhatGoes proves that what the dry run lists is, object by object, what goes.
func PlanIsWhatGoes(t *testing.T, on *archivetest.Bench) {
	t.Helper()
	b := Aged(t, on)
	before := b.Keys(t, "l")
	plan := b.Plan(t)
	if diff := cmp.Diff(before, b.Keys(t, "l")); diff != "" {
		t.Errorf("the plan changed something: %s", diff)
	}
	if len(b.Announced) > 0 || len(plan) < 10 {
		t.Errorf("%d announced, %d planned: %q", len(b.Announced), len(plan), plan)
	}
	want := map[string]bool{}
	for _, p := range plan {
		verdict, key, _ := strings.Cut(p, " ")
		if verdict != string(retain.Condemn) {
			t.Errorf("planned %s; want everything condemned", p)
		}
		want[key] = true
	}
	b.Run(t)
	if diff := cmp.Diff(before, b.Keys(t, "l")); diff != "" {
		t.Errorf("condemned, and gone already: %s", diff)
	}
	if got := len(b.Days(t, "telemetry")); got != 1 {
		t.Errorf("%d days are read after they were condemned; want the last object's", got)
	}
	b.Now += int64(95 * time.Hour)
	for _, p := range b.Plan(t) {
		if !strings.HasPrefix(p, string(retain.Wait)) {
			t.Errorf("in the grace: %s", p)
		}
	}
	b.Now += int64(2 * time.Hour)
	b.Run(t)
	left := b.Keys(t, "l")
	for _, key := range before {
		if slices.Contains(left, key) == want[key] {
			t.Errorf("%s: planned %v, there %v", key, want[key], slices.Contains(left, key))
		}
	}
	r := b.Healthy(t)
	deleted, err := archive.Deletions(t.Context(), b.Store, "", "")
	if err != nil || len(deleted) != len(r.Chains[1].Deleted) || len(deleted) != 9 {
		t.Fatalf("%d deletions, %d in the report, %v; want 9", len(deleted), len(r.Chains[1].Deleted), err)
	}
	d := deleted[0]
	if d.First != 1 || d.Last < 1 || d.Messages == 0 || d.SHA256 == "" || d.By != "test" || d.Why != "old telemetry" || d.Removed == 0 {
		t.Errorf("tombstone %+v", d)
	}
	// Each commit was announced before.
	if len(b.Announced) != 2 || len(b.Announced[0].Decision.Condemned) != 9 || len(b.Announced[1].Decision.Removed) != 9 {
		t.Errorf("announced %+v", b.Announced)
	}
}

// Holds proves that what a hold names stays, whole objects, as long as it holds.
func Holds(t *testing.T, on *archivetest.Bench) {
	t.Helper()
	b := Aged(t, on)
	b.Keep[schemas.AuditTrail] = b.Keep[schemas.Telemetry]
	hold := func(h archive.Hold) {
		h.Author, h.Comment = "ann", "a lawsuit"
		if err := archive.AddHold(t.Context(), b.Store, h); err != nil {
			t.Fatal(err)
		}
	}
	hold(archive.Hold{ID: "shop", Service: "shop"})
	hold(archive.Hold{ID: "u5", User: "u5", Resource: "patient/5"})
	hold(archive.Hold{ID: "nothing", User: "u5", Resource: "patient/6"})
	b.Run(t)
	b.Now += int64(97 * time.Hour)
	// In the grace, one more, and one more after it.
	hold(archive.Hold{ID: "p7", Resource: "patient/7"})
	r := b.Run(t)
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
	b.Healthy(t)
	// Released, it goes.
	for _, id := range []string{"shop", "u5", "nothing", "p7"} {
		if err := archive.ReleaseHold(t.Context(), b.Store, id, archive.Release{Author: "ann", Comment: "settled"}); err != nil {
			t.Fatal(err)
		}
	}
	b.Run(t)
	b.Now += int64(97 * time.Hour)
	b.Run(t)
	if got := texts(); len(got) != 1 {
		t.Errorf("the audit trail holds %q after the holds were released; want its last object", got)
	}
	b.Healthy(t)
}

// View proves that what keeps telemetry cannot name anything of the audit trail.
func View(t *testing.T, on *archivetest.Bench) {
	t.Helper()
	b := Aged(t, on)
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
