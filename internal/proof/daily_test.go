package proof_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/dermai/millrace/archive"
	"github.com/dermai/millrace/archive/archivetest"
	"github.com/dermai/millrace/archive/retain"
	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/internal/proof"
	"github.com/dermai/millrace/internal/proof/prooftest"
	"github.com/dermai/millrace/schemas"
)

// days is a deployment of three days, which web and shop speak on. Lanes go over
// midnight. daily looks at them.
func days(t *testing.T) (b *prooftest.Bench, daily func() []string, reg *prometheus.Registry) {
	b = prooftest.New(archivetest.NewBench(t))
	for range 3 {
		b.Send("web", "a", 3)
		b.Send("shop", "b", 2)
		b.ArchiveAll(t)
		b.Now += day
	}
	reg = prometheus.NewRegistry()
	d := proof.NewDaily(b.Store, reg, b.Clock,
		func(ctx context.Context, since, until int64) (*proof.Report, error) {
			return b.Run(t, func(c *proof.Config) { c.Since, c.Until = since, until }), nil
		})
	return b, func() (found []string) {
		for {
			r, err := d.Step(t.Context())
			must(t, err)
			if r == nil {
				return found
			}
			found = append(found, said(r)...)
		}
	}, reg
}

// of are the objects of telemetry of a day.
func of(t *testing.T, b *prooftest.Bench, ns int64) (keys []string) {
	for _, key := range b.Keys(t, "l0/telemetry/") {
		if strings.Contains(key, time.Unix(0, ns).UTC().Format("dt=2006-01-02")) {
			keys = append(keys, key)
		}
	}
	return keys
}

// TestDaily: each day that is over is looked at once, and lanes go on where the
// report of the day before left them.
func TestDaily(t *testing.T) {
	b, daily, reg := days(t)
	b.End("web", "a")
	if found := daily(); len(found) > 0 {
		t.Errorf("found %q", found)
	}
	last, err := proof.Last(t.Context(), b.Store)
	must(t, err)
	want := "events.0.log.shop.b: unknown after frame 6 (sequence 15, 2026-09-23T14:13:37Z)"
	if last.Until != (archivetest.Noon/day+3)*day || last.Begun != 0 || len(last.Lanes) != 2 || last.Lanes[0].String() != want {
		t.Errorf("the last report: until %d, begun %d, lanes %+v", last.Until, last.Begun, last.Lanes)
	}
	gauges := `
		# HELP millrace_verify_findings What the last day that was looked at lacks, or has wrong.
		# TYPE millrace_verify_findings gauge
		millrace_verify_findings 0
		# HELP millrace_verify_unknown_lanes Lanes without a final frame: what they sent behind their last one is unknown.
		# TYPE millrace_verify_unknown_lanes gauge
		millrace_verify_unknown_lanes 2
	`
	must(t, testutil.GatherAndCompare(reg, strings.NewReader(gauges), "millrace_verify_findings", "millrace_verify_unknown_lanes"))
	if n := len(b.Keys(t, "verify/")); n != 3 {
		t.Errorf("%d reports, want 3", n)
	}
	// What waits in the stream counts, and ends the lane.
	b.Now += day
	if found := daily(); len(found) > 0 {
		t.Errorf("of the fourth day: %q", found)
	}
	if last, err = proof.Last(t.Context(), b.Store); err != nil || len(last.Lanes) != 1 || last.Complete != 1 {
		t.Errorf("of the fourth day: %+v, %v", last, err)
	}
}

// TestPublishersDay: a publisher whose whole day was cut out of the archive, with
// everything that tells of it forged, is named by the reports of that day and by
// the list of those who must speak.
func TestPublishersDay(t *testing.T) {
	b, daily, _ := days(t)
	if found := daily(); len(found) > 0 {
		t.Fatalf("found %q", found)
	}
	at := b.Now - 2*day
	b.Rewrite(t, of(t, b, at)[0], func(e *fence.Entry) bool { return e.Subject != lane("shop", "b") })
	clock := func(ns int64) string { return time.Unix(0, ns).UTC().Format("2006-01-02") }
	r := b.Run(t, func(c *proof.Config) {
		alone(c)
		c.Expect = []proof.Expected{{Kind: "log", Service: "shop", Every: 25 * time.Hour}, {Kind: "log", Service: "web", Every: 25 * time.Hour}}
	})
	var silent []string
	for _, f := range r.Findings {
		if f.Kind == proof.Silent {
			silent = append(silent, f.String())
		}
	}
	want := []string{
		"shop log: of its 4 events of " + clock(at) + " in 2 messages, as that day's report counted them, 0 are there in 0",
		"shop log: it said nothing from 2026-09-21T14:13:26Z to 2026-09-23T14:13:36Z, 48h0m10s, and should every 25h0m0s",
	}
	if diff := cmp.Diff(want, silent); diff != "" {
		t.Errorf("silent (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{lane("shop", "b") + "#3", lane("shop", "b") + "#4"}, missing(r)); diff != "" {
		t.Errorf("frames (-want +got):\n%s", diff)
	}
}

// TestKeptHead: an archive whose end was cut off is whole in itself; the head
// that the last report has kept tells.
func TestKeptHead(t *testing.T) {
	b, daily, _ := days(t)
	daily()
	b.Remove(t, of(t, b, b.Now-day)[0])
	found := said(b.Run(t, alone))
	if len(found) == 0 || !strings.Contains(found[0], "sequence 15: the object with hash ") {
		t.Errorf("found %q", found)
	}
}

// TestRetention: what retention deleted is not missing. What is left is looked at,
// and the report says from when on.
func TestRetention(t *testing.T) {
	b, daily, _ := days(t)
	if found := daily(); len(found) > 0 {
		t.Fatalf("found %q", found)
	}
	b.CompactAll(t, true)
	first := (b.Now/day - 3) * day
	w, err := retain.New(archive.NewView(b.Store, schemas.Telemetry), retain.Config{
		Before: func(time.Time) time.Time { return time.Unix(0, first+day) }, Why: "a test", By: "test", Grace: time.Hour,
		Announce: func(context.Context, retain.Announcement) error { return nil },
		Now:      b.Clock,
	})
	must(t, err)
	result, err := w.Run(t.Context())
	must(t, err)
	if result.Condemned == 0 {
		t.Fatal("nothing was deleted")
	}
	expect := func(c *proof.Config) {
		alone(c)
		c.Expect = []proof.Expected{{Kind: "log", Service: "shop", Every: 25 * time.Hour}}
	}
	r := b.Run(t, expect)
	if found := said(r); len(found) > 0 {
		t.Errorf("found %q", found)
	}
	want := "EVENTS_0 before " + time.Unix(0, first+day).UTC().Format(time.RFC3339) + ": retention deleted of it, and archive verify tells what"
	if !slices.Contains(r.Unchecked, want) {
		t.Errorf("unchecked %q, want %q", r.Unchecked, want)
	}
	// What is left is looked at as before.
	b.Rewrite(t, of(t, b, b.Now-day)[0], func(e *fence.Entry) bool { return e.Subject != lane("shop", "b") })
	if r := b.Run(t, expect); len(r.Findings) == 0 {
		t.Error("what was cut out of a later day is not found")
	}
}
