package retain_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dermai/millrace/archive"
	"github.com/dermai/millrace/archive/archivetest"
	"github.com/dermai/millrace/archive/compact"
	"github.com/dermai/millrace/archive/retain"
	"github.com/dermai/millrace/archive/retain/retaintest"
	"github.com/dermai/millrace/schemas"
)

// TestMain makes the test binary the process that TestKill kills.
func TestMain(m *testing.M) { archivetest.Main(m, retainUntilKilled) }

// retainUntilKilled condemns what is older than 40 days and, a grace later, removes
// it. It says what it announces in a file, which is one of its steps.
func retainUntilKilled(dir, now string) error {
	s, err := archive.OpenFileStore(dir)
	if err != nil {
		return err
	}
	at, err := time.Parse(time.RFC3339, now)
	if err != nil {
		return err
	}
	steps := &archivetest.Steps{}
	w, err := retain.New(archive.NewView(archivetest.SteppedStore{FileStore: s, Steps: steps}, schemas.Telemetry), retain.Config{
		Before: func(now time.Time) time.Time { return now.AddDate(0, 0, -40) },
		Why:    "old", By: "test", Now: func() time.Time { return at },
		Announce: func(_ context.Context, a retain.Announcement) error {
			return steps.Step(func() error {
				return os.WriteFile(fmt.Sprintf("%s/announced-%d", dir, a.Version), nil, 0o600)
			})
		},
	})
	if err != nil {
		return err
	}
	for range 2 {
		if _, err := w.Run(context.Background()); err != nil {
			return err
		}
		at = at.Add(97 * time.Hour)
	}
	return nil
}

// TestKill kills retention before and behind each announcement, commit and removal.
// Whatever is left verifies, nothing is gone that was not announced, and the next
// run ends where one that was not killed does.
func TestKill(t *testing.T) {
	b := archivetest.NewBench(t)
	for range 4 {
		b.Put("events.0.log.api.l1", logEvent)
		b.Archive(t, "EVENTS_0")
		b.Now += int64(10 * day)
	}
	b.Compact(t)
	b.Now += int64(15 * day)
	want := b.Cat(t, archive.Filter{})
	prepare := func() string {
		dir := t.TempDir()
		if err := os.CopyFS(dir, os.DirFS(b.Dir)); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	all := b.Keys(t, "l")
	whole := prepare()
	if err := retainUntilKilled(whole, b.Clock().UTC().Format(time.RFC3339)); err != nil {
		t.Fatal(err)
	}
	end := archivetest.OpenBench(t, whole).Keys(t, "l")
	if len(end) >= len(all)-2 || !strings.HasPrefix(end[len(end)-1], "l1/") {
		t.Fatalf("%d of %d objects are left: %q", len(end), len(all), end)
	}
	ends := map[string]int{}
	steps := archivetest.KillAtEach(t, b.Clock().UTC().Format(time.RFC3339), prepare, func(dir string, step int) {
		left := archivetest.OpenBench(t, dir)
		verify := func() {
			t.Helper()
			if r := left.Verify(t, archive.Options{Full: true}); !r.OK() {
				t.Fatalf("step %d: %v", step, r.Problems)
			}
			got := left.Cat(t, archive.Filter{})
			if diff := cmp.Diff(want[len(want)-len(got):], got); diff != "" || len(got) == 0 {
				t.Fatalf("step %d (-want +got):\n%s", step, diff)
			}
		}
		verify()
		chains, err := archive.Chains(t.Context(), left.Store, "", "")
		if err != nil {
			t.Fatal(err)
		}
		m, err := archive.ReadManifest(t.Context(), left.Store, chains[0])
		if err != nil {
			t.Fatal(err)
		}
		for v := m.Version; v > 3; v-- { // behind the three segments
			if _, err := os.Stat(fmt.Sprintf("%s/announced-%d", dir, v)); err != nil {
				t.Errorf("step %d: commit %d was not announced: %v", step, v, err)
			}
		}
		keys := left.Keys(t, "l")
		if gone := len(all) - len(keys); gone > 0 && (len(m.Deleted) == 0 || m.Deleted[0].Removed == 0) {
			t.Errorf("step %d: %d objects are gone without a tombstone", step, gone)
		}
		ends[fmt.Sprint(m.Version, len(keys))]++
		// Another run, killed nowhere.
		if err := retainUntilKilled(dir, b.Clock().UTC().Format(time.RFC3339)); err != nil {
			t.Fatal(err)
		}
		verify()
		if diff := cmp.Diff(end, left.Keys(t, "l")); diff != "" {
			t.Errorf("step %d: in the end (-want +got):\n%s", step, diff)
		}
	})
	if steps < 12 || len(ends) < 5 {
		t.Errorf("%d steps with the ends %v: it was not killed everywhere", steps, ends)
	}
}

// TestFaster: where a compactor commits first, the worker decides again.
func TestFaster(t *testing.T) {
	b := retaintest.Aged(t, archivetest.NewBench(t))
	b.Events(t, logEvent, auditEvent, day)
	c, err := compact.New(b.Store, compact.Config{Bytes: 1, Dir: t.TempDir(), Now: b.Clock})
	if err != nil {
		t.Fatal(err)
	}
	raced := 0
	w, err := retain.New(archive.NewView(b.Store, schemas.Telemetry), retain.Config{
		Before: b.Keep[schemas.Telemetry], Why: "old", By: "test", Now: b.Clock,
		Announce: func(ctx context.Context, _ retain.Announcement) error {
			if raced++; raced > 1 {
				return nil
			}
			_, err := c.Step(ctx)
			return err
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	r, err := w.Run(t.Context())
	if err != nil || raced != 2 || r.Condemned < 9 {
		t.Errorf("%+v after %d announcements, %v; want a second try", r, raced, err)
	}
	// What cannot be announced is not done.
	w, err = retain.New(archive.NewView(b.Store, schemas.AuditTrail), retain.Config{
		Before: b.Keep[schemas.Telemetry], Why: "old", By: "test", Now: b.Clock,
		Announce: func(context.Context, retain.Announcement) error { return errors.New("no broker") },
	})
	if err != nil {
		t.Fatal(err)
	}
	if r, err := w.Run(t.Context()); err == nil || r.Condemned > 0 || len(b.Days(t, "audit")) < 10 {
		t.Errorf("%+v, %v: it deleted what it could not announce", r, err)
	}
}
