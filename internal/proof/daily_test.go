package proof_test

import (
	"context"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/dermai/millrace/archive"
	"github.com/dermai/millrace/archive/retain"
	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/internal/proof"
	"github.com/dermai/millrace/schemas"
)

const day = int64(24 * time.Hour)

// days is a deployment of three days, which web and shop speak on. Lanes go over
// midnight. daily looks at them.
func days(t *testing.T) (b *bench, daily func() []string, reg *prometheus.Registry) {
	b = newBench(t)
	for range 3 {
		b.send("web", "a", 3)
		b.send("shop", "b", 2)
		b.archive(t)
		b.now += day
	}
	reg = prometheus.NewRegistry()
	d := proof.NewDaily(b.store, reg, func() time.Time { return time.Unix(0, b.now) },
		func(ctx context.Context, since, until int64) (*proof.Report, error) {
			return b.run(t, func(c *proof.Config) { c.Since, c.Until = since, until }), nil
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
func (b *bench) of(t *testing.T, ns int64) (files []string) {
	for _, file := range b.objects(t, "l0/telemetry/") {
		if strings.Contains(file, time.Unix(0, ns).UTC().Format("dt=2006-01-02")) {
			files = append(files, file)
		}
	}
	return files
}

// TestDaily: each day that is over is looked at once, and lanes go on where the
// report of the day before left them.
func TestDaily(t *testing.T) {
	b, daily, reg := days(t)
	b.end("web", "a")
	if found := daily(); len(found) > 0 {
		t.Errorf("found %q", found)
	}
	last, err := proof.Last(t.Context(), b.store)
	must(t, err)
	want := "events.0.log.shop.b: unknown after frame 6 (sequence 15, 2026-09-23T14:13:37Z)"
	if last.Until != (noon/day+3)*day || last.Begun != 0 || len(last.Lanes) != 2 || last.Lanes[0].String() != want {
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
	if n := len(b.objects(t, "verify/")); n != 3 {
		t.Errorf("%d reports, want 3", n)
	}
	// What waits in the stream counts, and ends the lane.
	b.now += day
	if found := daily(); len(found) > 0 {
		t.Errorf("of the fourth day: %q", found)
	}
	if last, err = proof.Last(t.Context(), b.store); err != nil || len(last.Lanes) != 1 || last.Complete != 1 {
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
	at := b.now - 2*day
	rewrite(t, b.of(t, at)[0], func(e *fence.Entry) bool { return e.Subject != lane("shop", "b") })
	clock := func(ns int64) string { return time.Unix(0, ns).UTC().Format("2006-01-02") }
	r := b.run(t, func(c *proof.Config) {
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
	must(t, os.Remove(b.of(t, b.now-day)[0]))
	found := said(b.run(t, alone))
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
	b.compact(t, true)
	first := (b.now/day - 3) * day
	w, err := retain.New(archive.NewView(b.store, schemas.Telemetry), retain.Config{
		Before: func(time.Time) time.Time { return time.Unix(0, first+day) }, Why: "a test", By: "test", Grace: time.Hour,
		Announce: func(context.Context, retain.Announcement) error { return nil },
		Now:      func() time.Time { return time.Unix(0, b.now) },
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
	r := b.run(t, expect)
	if found := said(r); len(found) > 0 {
		t.Errorf("found %q", found)
	}
	want := "EVENTS_0 before " + time.Unix(0, first+day).UTC().Format(time.RFC3339) + ": retention deleted of it, and archive verify tells what"
	if !slices.Contains(r.Unchecked, want) {
		t.Errorf("unchecked %q, want %q", r.Unchecked, want)
	}
	// What is left is looked at as before.
	rewrite(t, b.of(t, b.now-day)[0], func(e *fence.Entry) bool { return e.Subject != lane("shop", "b") })
	if r := b.run(t, expect); len(r.Findings) == 0 {
		t.Error("what was cut out of a later day is not found")
	}
}
