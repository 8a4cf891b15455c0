package notify_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/notify"
	"github.com/dermai/millrace/schemas"
)

// TestStored shows every kind of message that is kept for good, and restores a
// planner from what the golden file holds.
func TestStored(t *testing.T) {
	const file = "testdata/stored.txt"
	w := newWorld(t, 1)
	w.settle(w.plan(config(t, storedRoutes), w.log, nil, 3))
	for _, tr := range []schemas.Transition{
		transition(1700036001, "fire", "HighErrorRate", "5f1d@12", map[string]string{"service": "api", "severity": "critical"}),
		transition(1700036101, "end", "HighErrorRate", "5f1d@12", map[string]string{"service": "api", "severity": "critical"}),
	} {
		value := 0.0712
		tr.Value, tr.N = &value, 420
		tr.Evidence = []schemas.Evidence{{Order: schemas.Order{Time: 1700036000e9, Partition: 2, Seq: 9, Index: 1}, ID: "e-1", Fields: map[string]string{"path": "/x"}}}
		w.put("alerts.telemetry", schemas.TypeDecision, schemas.Decision{Class: schemas.Telemetry, Tick: tr.Tick, Done: true, Transitions: []schemas.Transition{tr}})
	}
	w.put("alerts.audit", schemas.TypeCheckpoint, schemas.CheckpointPart{Part: 1, Of: 1})
	w.settle(w.plan(config(t, storedRoutes), w.log, nil, 3))
	answers := []error{answer{after: time.Second}, answer{ambiguous: true}, nil, answer{permanent: true}}
	r := receiver(func(context.Context, schemas.Notification) (string, error) {
		err := answers[0]
		answers = answers[1:]
		return "req-1", err
	})
	w.settle(w.send(w.log, r, &quarantine{}, nil, nil))

	var got strings.Builder
	for _, e := range slices.Concat(w.entries(schemas.StreamNotify), w.entries(schemas.StreamDeliveries)) {
		fmt.Fprintf(&got, "%s %d\n", e.Subject, e.Seq)
		for _, name := range slices.Sorted(maps.Keys(e.Header)) {
			if name != fence.HeaderToken {
				fmt.Fprintf(&got, "%s: %s\n", name, e.Header[name])
			}
		}
		data, err := schemas.Unpack(nil, e.Data, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		if e.Header[schemas.HeaderType] == schemas.TypeCheckpoint {
			var part schemas.CheckpointPart
			if err := schemas.DecodeInto(e.Data, &part); err != nil {
				t.Fatal(err)
			}
			state, err := schemas.Unpack(nil, part.Data, 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			data = fmt.Appendf(nil, "part %d of %d: %s", part.Part, part.Of, state)
		}
		fmt.Fprintf(&got, "%s\n\n", data)
	}
	if *update {
		if err := os.WriteFile(file, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("stored (-want +got):\n%s", diff)
	}

	_, text, _ := strings.Cut(string(want[strings.LastIndex(string(want), "part 1 of 1: "):]), ": ")
	text, _, _ = strings.Cut(text, "\n")
	var kept struct {
		Planner json.RawMessage `json:"planner"`
	}
	if err := json.Unmarshal([]byte(text), &kept); err != nil {
		t.Fatal(err)
	}
	p, err := notify.RestorePlanner(kept.Planner, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	// The group is resting for a minute after it was told at 1700036101.
	d := decision(t, strings.Fields("1700036120 fire HighErrorRate service=api severity=critical"))
	if out := p.Feed(6, &d); len(out) != 0 || p.Seq() != 6 {
		t.Errorf("told %v at %d", out, p.Seq())
	}
	d = schemas.Decision{Class: schemas.Telemetry, Tick: 1700036161, Done: true}
	if out := p.Feed(7, &d); len(out) != 1 || out[0].Tick != 1700036161 {
		t.Errorf("told %v", out)
	}
}

const storedRoutes = `
receivers: [{name: team, console: {}}]
route: {receiver: team, group_by: [alertname, service], routes: [{matchers: [severity=critical], group_wait: 0s}]}
`

// TestOnlyAllowed puts a word of its own into every field of a transition, and
// looks at which of them reach a receiver.
func TestOnlyAllowed(t *testing.T) {
	tr := schemas.Transition{
		Alert: "canary-alert", Rule: "canary-rule", Instance: "canary-instance", Group: "canary-group", Tick: 7, Time: 7e9,
		From: schemas.Pending, To: schemas.Firing, Since: 7, Active: 3, Why: "canary-why",
		Labels:      map[string]string{"canary-label": "canary-labelled"},
		Annotations: map[string]string{"canary-annotation": "canary-annotated"},
		Evidence: []schemas.Evidence{{
			Order: schemas.Order{Time: 1, Partition: 2, Seq: 3, Index: 4}, Rank: 31337, ID: "canary-id", Trace: "canary-trace",
			Fields: map[string]string{"canary-field": "canary-fielded"},
		}},
	}
	for range 9 { // no more evidence than there may be
		tr.Evidence = append(tr.Evidence, schemas.Evidence{ID: fmt.Sprint("canary-extra", len(tr.Evidence))})
	}
	cfg := config(t, "receivers: [{name: team, console: {}}]\nroute: {receiver: team, group_by: []}")
	d := schemas.Decision{Class: schemas.Telemetry, Tick: 7, Done: true, Transitions: []schemas.Transition{tr},
		Admitted: []schemas.Admission{{Instance: "canary-admitted", Group: "canary-admitted"}}}
	out := newPlanner(t, cfg).Feed(1, &d)
	if len(out) != 1 {
		t.Fatalf("%d notifications", len(out))
	}
	words := map[string]bool{}
	for _, word := range strings.FieldsFunc(asJSON(t, out[0]), func(r rune) bool { return r != '-' && (r < '0' || r > '9') && (r < 'a' || r > 'z') }) {
		if strings.HasPrefix(word, "canary-") {
			words[word] = true
		}
	}
	want := []string{"canary-alert", "canary-annotated", "canary-annotation", "canary-extra1", "canary-extra2", "canary-extra3", "canary-extra4",
		"canary-field", "canary-fielded", "canary-id", "canary-label", "canary-labelled", "canary-rule", "canary-trace", "canary-why"}
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(words))); diff != "" {
		t.Errorf("what reaches the receiver (-want +got):\n%s", diff)
	}
}

// TestPlannerForgets: what has ended and been told takes no room.
func TestPlannerForgets(t *testing.T) {
	for _, routes := range []string{
		"{receiver: team, group_wait: 10s}", // ends before it is told
		"{receiver: team, group_interval: 1s}",
		"{receiver: team, group_by: [], group_interval: 1s}",
	} {
		p := newPlanner(t, config(t, "receivers: [{name: team, console: {}}]\nroute: "+routes))
		first := 0
		for i := range int64(500) {
			for j, change := range []string{"fire", "end"} {
				tick := 10*i + 5*int64(j)
				d := schemas.Decision{Class: schemas.Telemetry, Tick: tick, Done: true,
					Transitions: []schemas.Transition{transition(tick, change, "R", "1", map[string]string{"n": fmt.Sprint(i)})}}
				p.Feed(uint64(2*i)+uint64(j)+1, &d)
			}
			state, err := p.Checkpoint()
			if err != nil {
				t.Fatal(err)
			}
			if i == 10 {
				first = len(state)
			}
			if i > 10 && len(state) > 2*first {
				t.Fatalf("%s: %d bytes after %d alerts, %d after 10", routes, len(state), i, first)
			}
		}
	}
}

func TestRestoreRefuses(t *testing.T) {
	p := newPlanner(t, config(t, oneGroup))
	state, err := p.Checkpoint()
	if err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string]string{
		"cut":          string(state[:len(state)/2]),
		"other name":   strings.Replace(string(state), `"receiver":"team"`, `"receiver":"../x"`, 1),
		"lost route":   strings.Replace(string(state), `"seq":0`, `"seq":0,"groups":[{"class":"telemetry","route":"/{gone}","name":"x"}]`, 1),
		"bad matcher":  strings.Replace(string(state), `"receiver":"team",`, `"receiver":"team","matchers":["("],`, 2),
		"empty":        "",
		"another type": `[]`,
	} {
		if _, err := notify.RestorePlanner([]byte(bad), time.Second); err == nil {
			t.Errorf("%s: restored %s", name, bad)
		}
	}
}
