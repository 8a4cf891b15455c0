// Package retaintest proves retention on any store: each test takes a bench on an empty
// one.
package retaintest

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/dermai/millrace/archive"
	"github.com/dermai/millrace/archive/archivetest"
	"github.com/dermai/millrace/archive/retain"
	"github.com/dermai/millrace/schemas"
)

// Day is a day.
const Day = 24 * time.Hour

// Bench is an archive with workers of both classes, as a deployment has them.
type Bench struct {
	*archivetest.Bench
	Keep      map[schemas.Class]func(time.Time) time.Time // what arrived before is past its time
	Workers   map[schemas.Class]*retain.Worker
	Announced []retain.Announcement
}

// New puts them on a bench. Telemetry is kept for 90 days, the audit trail for 6 years
// and 30 days.
func New(t *testing.T, on *archivetest.Bench) *Bench {
	t.Helper()
	b := &Bench{Bench: on, Workers: map[schemas.Class]*retain.Worker{}}
	b.Keep = map[schemas.Class]func(time.Time) time.Time{
		schemas.Telemetry:  func(now time.Time) time.Time { return now.AddDate(0, 0, -90) },
		schemas.AuditTrail: func(now time.Time) time.Time { return now.AddDate(-6, 0, -30) },
	}
	for _, class := range schemas.Classes {
		w, err := retain.New(archive.NewView(b.Store, class), retain.Config{
			Before: func(now time.Time) time.Time { return b.Keep[class](now) },
			Why:    "old " + string(class), By: "test", Now: b.Clock,
			Announce: func(_ context.Context, a retain.Announcement) error {
				b.Announced = append(b.Announced, a)
				return nil
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		b.Workers[class] = w
	}
	return b
}

// Events archives an event of each class and lets time pass.
func (b *Bench) Events(t *testing.T, telemetry, audit string, then time.Duration) {
	t.Helper()
	b.Put("events.0.log.api.l1", telemetry)
	b.Put("audit.api.l1", audit)
	b.Archive(t, "EVENTS_0")
	b.Archive(t, "AUDIT")
	b.Now += int64(then)
}

// An event of each class.
const (
	LogEvent   = `{"message":"API request","level":"INFO"}`
	AuditEvent = `{"user":"ann","action":"read","resource":"patient/7"}`
)

// Run runs retention of both classes.
func (b *Bench) Run(t *testing.T) map[schemas.Class]retain.Result {
	t.Helper()
	out := map[schemas.Class]retain.Result{}
	for class, w := range b.Workers {
		r, err := w.Run(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		out[class] = r
	}
	return out
}

// Plan says what retention of both classes would do: verdict and key.
func (b *Bench) Plan(t *testing.T) (out []string) {
	t.Helper()
	for _, class := range schemas.Classes {
		plan, err := b.Workers[class].Plan(t.Context())
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

// Days are those of arrival of what is read of a class.
func (b *Bench) Days(t *testing.T, class string) (out []string) {
	t.Helper()
	for _, m := range b.Cat(t, archive.Filter{Class: class}) {
		out = append(out, time.Unix(0, m.Arrival).UTC().Format(time.DateOnly))
	}
	return slices.Compact(out)
}

// Healthy verifies everything.
func (b *Bench) Healthy(t *testing.T) archive.Report {
	t.Helper()
	r := b.Verify(t, archive.Options{Full: true})
	if !r.OK() {
		t.Fatal(r.Problems)
	}
	return r
}

// Aged is an archive of which the events of ten days are past their time.
func Aged(t *testing.T, on *archivetest.Bench) *Bench {
	t.Helper()
	b := New(t, on)
	for i := range 10 {
		service := "api"
		if i == 3 {
			service = "shop"
		}
		b.Put("events.0.log."+service+".l1", LogEvent)
		b.Events(t, LogEvent, fmt.Sprintf(`{"user":"u%d","action":"read","resource":"patient/%d"}`, i, i), Day)
	}
	b.Compact(t)
	b.Now += int64(100 * Day)
	return b
}
