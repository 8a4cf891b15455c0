package seedapp_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dermai/millrace/integration/reference"
	"github.com/dermai/millrace/internal/testenv"
	"github.com/dermai/millrace/rules"
	"github.com/dermai/millrace/rules/engine/oracle"
	"github.com/dermai/millrace/schemas"
	"github.com/dermai/millrace/sources"
)

// patient is what must not leave the house. The first five are in the guide's
// own examples.
var patient = []string{
	"John Doe", "john@example.com", "eczema", "psoriasis", "patient_456",
	"Erika Muster", "erika@clinic.example", "123-45-6789", "987-65-4321", "melanoma", "basal cell",
}

// alerts is which alerts fire, and end, and no other.
var alerts = []string{"BackupFailed", "HighCPU", "HighErrorRate", "HighLatency", "PoolExhausted", "SlowQueries"}

// TestApplication takes the application through a bad hour, in a minute.
func TestApplication(t *testing.T) {
	d := deploy(t)

	// 8 % of 25 requests fail: one is answered 500, and in one the database raises
	// what nobody handles, without which it would be 4.2 %. These leave the window
	// first, so that the alert does not come again.
	d.get(500, "/patients/7?status=500")
	d.post(500, "/patients/8/diagnosis", `{"name": "Erika Muster", "old_value": "melanoma", "new_value": "basal cell of 987-65-4321"}`)
	for n := range 23 {
		d.get(200, "/patients/%d", 1000+n)
	}
	d.decided(schemas.Firing, "HighErrorRate")

	// All at once: a p95 above 2 s, queries of 1.2 s, a busy CPU, which is logged
	// only while it is, a pool without a free connection, a backup that fails.
	d.get(200, "/drill/query?name=Erika%%20Muster&ssn=123-45-6789")
	d.post(200, "/drill/cpu/93", "")
	d.health("/health/system", `"healthy":false`)
	d.post(202, "/drill/backup?to=/no/such/directory/of-erika@clinic.example", "")
	d.post(200, "/drill/pool/hold", "")
	if n := d.database.query(t, "SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction'"); n != "3" {
		t.Errorf("%s connections are held, want 3", n)
	}
	d.health("/health/database", `"status":"unhealthy"`)
	var slow sync.WaitGroup
	for n := range 24 {
		slow.Go(func() { d.get(200, "/patients/%d?wait=%v", 2000+n, 2.5*float64(n%2)) })
	}
	slow.Wait()
	d.post(200, "/api/v1/appointments", `{"patient_id": 11}`)
	d.decided(schemas.Firing, alerts...)

	// And all is well again. The health of a machine that is well is not logged.
	d.post(200, "/drill/cpu/12", "")
	d.health("/health/system", `"healthy":true`)
	d.post(200, "/drill/pool/release", "")
	d.health("/health/database", `"status":"healthy","connections":{"size":3,"checkedout":0}`)
	d.post(200, "/drill/backup?to=backup.sql", "")
	if dump, err := os.ReadFile(filepath.Join(d.dir, "backup.sql")); err != nil || !bytes.Contains(dump, []byte("Erika Muster")) {
		t.Errorf("the backup has no patient: %v\n%s", err, dump)
	}
	d.decided(schemas.Inactive, alerts...)

	d.counted()
	d.app.Stop()
	events := d.events()
	d.stored(events)
	d.transitions()
	d.told()
	d.sunk(events)
	d.discreet()
	for _, p := range d.daemons {
		p.Stop()
	}
	d.run("archive", "flush")
	d.archived(events)
}

// health asks for the health of something.
func (d *deployment) health(path, want string) {
	d.t.Helper()
	if got := d.get(200, "%s", path); !strings.Contains(got, want) {
		d.t.Errorf("%s says %s, want %s", path, got, want)
	}
}

// decided waits until alerts have come to a state.
func (d *deployment) decided(state schemas.State, alerts ...string) {
	d.t.Helper()
	testenv.Eventually(d.t, "alerts become "+string(state), func() error {
		changes, _, err := reference.Decided(d.t.Context(), d.log, schemas.Telemetry)
		for _, a := range alerts {
			if !slices.ContainsFunc(changes, func(c schemas.Transition) bool { return c.Rule == a && c.To == state }) {
				err = errors.Join(err, errors.New(a))
			}
		}
		return err
	})
}

// events are the lines that the application wrote.
func (d *deployment) events() []schemas.Event {
	var list []schemas.Event
	for _, name := range []string{"logs/app.log", "logs/audit/audit.log"} {
		text, err := os.ReadFile(filepath.Join(d.dir, name))
		if err != nil {
			d.t.Fatal(err)
		}
		for line := range bytes.Lines(text) {
			e, err := sources.Normalize(bytes.TrimSpace(line), sources.Defaults{Service: "clinic"})
			if err != nil {
				d.t.Fatalf("%s: %v\n%s", name, err, line)
			}
			list = append(list, e)
		}
	}
	alarms := 0
	for _, e := range list {
		if e.Message == "System health degraded" {
			alarms++
		}
	}
	if alarms != 1 {
		d.t.Errorf("the busy CPU was logged %d times, want once: while it was busy", alarms)
	}
	return list
}

// canonical are events as they are stored, sorted.
func canonical(t *testing.T, events []schemas.Event) []string {
	t.Helper()
	var list []string
	for _, e := range events {
		text, err := schemas.AppendJSON(nil, &e)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, string(text))
	}
	slices.Sort(list)
	return list
}

// stored waits until every event is stored, and none was set aside.
func (d *deployment) stored(events []schemas.Event) {
	testenv.Eventually(d.t, "every event is stored", func() error {
		if n := strings.Count(d.run("tail", "--no-follow", "-o", "json"), "\n"); n != len(events) {
			return fmt.Errorf("%d of %d", n, len(events))
		}
		return nil
	})
	if out := d.run("quarantine", "ls", "-o", "json"); out != "" {
		d.t.Errorf("in quarantine: %s", out)
	}
}

// transitions: those in ALERTS are those of the oracle, byte for byte, and each
// alert that is named fired once and ended.
func (d *deployment) transitions() {
	t, ctx := d.t, d.t.Context()
	schedule, err := reference.Schedule(ctx, d.log, new(rules.Cache))
	if err != nil {
		t.Fatal(err)
	}
	live, last, err := reference.Decided(ctx, d.log, schemas.Telemetry)
	if err != nil {
		t.Fatal(err)
	}
	messages, err := reference.Messages(ctx, d.log, schedule, schemas.Telemetry)
	if err != nil {
		t.Fatal(err)
	}
	want := oracle.Transitions(schedule, reference.Events(messages), reference.Losses(messages), schemas.Telemetry, last)
	if err := reference.Differ("the oracle", live, want); err != nil {
		t.Error(err)
	}
	changes, expected := map[string][]schemas.State{}, map[string][]schemas.State{}
	for _, c := range live {
		changes[c.Rule] = append(changes[c.Rule], c.To)
	}
	for _, a := range alerts {
		expected[a] = []schemas.State{schemas.Firing, schemas.Inactive}
	}
	if diff := cmp.Diff(expected, changes); diff != "" {
		t.Errorf("alerts (-want +got):\n%s", diff)
	}
	t.Logf("%d events, %d transitions up to tick %d", len(reference.Events(messages)), len(live), last)
}

// archived: the archive holds every event once, and proves it.
func (d *deployment) archived(events []schemas.Event) {
	var got []string
	for _, class := range []string{"telemetry", "audit"} {
		for line := range strings.Lines(d.run("archive", "cat", "--class", class)) {
			var head struct{ Service string }
			if json.Unmarshal([]byte(line), &head) != nil || head.Service == "" {
				continue // a change of the rules or of an alert
			}
			got = append(got, strings.TrimSuffix(line, "\n"))
		}
	}
	slices.Sort(got)
	if diff := cmp.Diff(canonical(d.t, events), got); diff != "" {
		d.t.Errorf("the archive (-written +archived):\n%.3000s", diff)
	}
	d.run("archive", "verify", "--full")
	for _, p := range patient {
		if !strings.Contains(strings.Join(got, "\n"), p) {
			d.t.Errorf("%q was not even logged", p)
		}
	}
}
