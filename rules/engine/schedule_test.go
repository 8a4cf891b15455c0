package engine_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dermai/millrace/rules/engine"
	"github.com/dermai/millrace/schemas"
)

const second = int64(time.Second)

var genesis = schemas.ControlEntry{Deployment: &schemas.DefaultDeployment}

// source is a rule set of simple rules; equal names have equal fingerprints.
func source(names ...string) *schemas.RuleSource {
	var b strings.Builder
	b.WriteString("groups: [{name: g, rules: [\n")
	for _, n := range names {
		b.WriteString("{alert: " + n + ", on: log, count: true, window: 10s, fire: '> 3'},\n")
	}
	b.WriteString("]}]\n")
	return &schemas.RuleSource{Files: []schemas.RuleFile{{Name: "t.yaml", Text: b.String()}}}
}

// apply folds entries at moments in seconds.
func apply(t *testing.T, s *engine.Schedule, entries ...at) {
	t.Helper()
	for _, e := range entries {
		if err := s.Apply(s.Seq()+1, e.second*second, &e.entry); err != nil {
			t.Fatal(err)
		}
	}
}

type at struct {
	second int64
	entry  schemas.ControlEntry
}

// inForce names the rules at a tick with their births.
func inForce(s *engine.Schedule, tick int64) map[string]int64 {
	born := map[string]int64{}
	for _, in := range s.At(tick) {
		born[in.Rule.Name] = in.Born
		if s.Instance(in.ID) == nil {
			born[in.Rule.Name] = -1
		}
	}
	return born
}

func TestScheduleBirths(t *testing.T) {
	s := engine.NewSchedule()
	apply(t, s,
		at{100, genesis},
		at{100, schemas.ControlEntry{Rules: source("A", "B")}}, // in force from 105
		at{110, schemas.ControlEntry{Rules: source("A")}},      // B goes at 115
		at{120, schemas.ControlEntry{Rules: source("A", "B")}}, // and is back at 125
		at{130, schemas.ControlEntry{Rules: source("C")}},      // never in force:
		at{130, schemas.ControlEntry{Rules: source("B", "C")}}, // later, for the same tick 135
		at{90, schemas.ControlEntry{Rules: source("A", "C")}},  // the clock stepped back: still 135
	)
	tests := []struct {
		tick int64
		want map[string]int64
	}{
		{104, map[string]int64{}},
		{105, map[string]int64{"A": 105, "B": 105}},
		{114, map[string]int64{"A": 105, "B": 105}},
		{115, map[string]int64{"A": 105}},
		{125, map[string]int64{"A": 105, "B": 125}},
		{135, map[string]int64{"A": 105, "C": 135}},
		{9999, map[string]int64{"A": 105, "C": 135}},
	}
	check := func(s *engine.Schedule, from int64) {
		t.Helper()
		for _, tt := range tests {
			if tt.tick < from {
				continue
			}
			if diff := cmp.Diff(tt.want, inForce(s, tt.tick)); diff != "" {
				t.Errorf("rules at tick %d (-want +got):\n%s", tt.tick, diff)
			}
		}
	}
	check(s, 0)
	if s.Limit() != 135 || s.Arrival() != 130*second {
		t.Errorf("limit %d, arrival %d: want tick 135 and second 130", s.Limit(), s.Arrival())
	}

	// A snapshot tells the same of every tick from its own on, and what follows
	// continues the runs.
	for _, from := range []int64{0, 105, 116, 125, 130, 200} {
		snap := s.Snapshot(from)
		other := engine.NewSchedule()
		if err := other.Apply(snap.Seq+1, 131*second, &schemas.ControlEntry{Snapshot: &snap}); err != nil {
			t.Fatal(err)
		}
		check(other, from)
		if other.Limit() != 136 {
			t.Errorf("limit %d after the snapshot at second 131, want 136", other.Limit())
		}
		apply(t, other, at{140, schemas.ControlEntry{Rules: source("A", "B")}})
		if diff := cmp.Diff(map[string]int64{"A": 105, "B": 145}, inForce(other, 145)); diff != "" {
			t.Errorf("after the snapshot from %d (-want +got):\n%s", from, diff)
		}
	}
	if n := len(s.Snapshot(126).Revisions); n != 2 {
		t.Errorf("a snapshot for readers from tick 126 on holds %d revisions, want the one in force and the next", n)
	}

	// Whoever knows it already is not thrown back by a snapshot.
	old := engine.NewSchedule()
	apply(t, old, at{100, genesis}, at{100, schemas.ControlEntry{Rules: source("X")}})
	snap := old.Snapshot(0)
	apply(t, s, at{150, schemas.ControlEntry{Snapshot: &snap}})
	check(s, 0)
}

func TestSchedulePartitions(t *testing.T) {
	s := engine.NewSchedule()
	if _, ok := s.First(); ok {
		t.Error("an empty schedule has a first tick")
	}
	apply(t, s,
		at{100, genesis},
		at{100, schemas.ControlEntry{Rules: source("A"), Open: []schemas.Partition{1, schemas.Audit, 0}}},
		at{200, schemas.ControlEntry{Open: []schemas.Partition{7, 1}}},
	)
	if diff := cmp.Diff([]schemas.Partition{0, 1, 7}, s.Partitions(schemas.Telemetry)); diff != "" {
		t.Errorf("telemetry (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]schemas.Partition{schemas.Audit}, s.Partitions(schemas.AuditTrail)); diff != "" {
		t.Errorf("audit (-want +got):\n%s", diff)
	}
	first, _ := s.First()
	one, _ := s.Opened(1)
	seven, _ := s.Opened(7)
	if first != 105 || one != 105 || seven != 205 {
		t.Errorf("first %d, 1 opened at %d, 7 at %d: want 105, 105 (opening again changes nothing), 205", first, one, seven)
	}
	if _, ok := s.Opened(2); ok {
		t.Error("partition 2 is open")
	}
	// The first event that partition 7 may hold belongs to tick 205.
	if got := s.Timing().Arrival(s.Floor(7)); got != 205 {
		t.Errorf("arrival tick at the floor is %d, want 205", got)
	}
}

func TestScheduleRefuses(t *testing.T) {
	begun := []at{{100, genesis}, {100, schemas.ControlEntry{Rules: source("A")}}}
	bad := func(change func(*schemas.Deployment)) schemas.ControlEntry {
		d := schemas.DefaultDeployment
		change(&d)
		return schemas.ControlEntry{Deployment: &d}
	}
	snapshot := schemas.ControlSnapshot{Seq: 4, Deployment: schemas.DefaultDeployment}
	tests := []struct {
		name  string
		given []at
		seq   uint64
		entry schemas.ControlEntry
		want  string
	}{
		{"newer engine", nil, 1, bad(func(d *schemas.Deployment) { d.Engine = 2 }), "control entry 1: this build has engine 1, the log needs 2: upgrade"},
		{"no tick", nil, 1, bad(func(d *schemas.Deployment) { d.Tick = 0 }), "control entry 1: tick 0s: want 100ms to 1h"},
		{"no delay", nil, 1, bad(func(d *schemas.Deployment) { d.Delay = 0 }), "control entry 1: delay 0: want 1 to 1000000 ticks"},
		{"negative lateness", nil, 1, bad(func(d *schemas.Deployment) { d.Lateness = -1 }), "control entry 1: lateness -1: want 0 to 1000000 ticks"},
		{"no genesis", nil, 1, schemas.ControlEntry{}, "control entry 1: the first entry is neither a genesis nor a snapshot"},
		{"a second genesis", begun, 3, genesis, "control entry 3: a deployment has one genesis, this is a second"},
		{"a gap", begun, 4, schemas.ControlEntry{}, "control entry 4: follows entry 2: entries are missing or repeated"},
		{"a repetition", begun, 2, schemas.ControlEntry{}, "control entry 2: follows entry 2: entries are missing or repeated"},
		{"a gap after a snapshot", nil, 6, schemas.ControlEntry{Snapshot: &snapshot}, "control entry 6: snapshot of entry 4: the entries between are missing"},
		{"a snapshot of a newer engine", nil, 5, schemas.ControlEntry{Snapshot: &schemas.ControlSnapshot{Seq: 4, Deployment: *bad(func(d *schemas.Deployment) { d.Engine = 9 }).Deployment}},
			"control entry 5: snapshot: this build has engine 1, the log needs 9: upgrade"},
		{"bad rules", begun, 3, schemas.ControlEntry{Rules: &schemas.RuleSource{Files: []schemas.RuleFile{{Name: "x.yaml", Text: "groups: 7"}}}}, "control entry 3: rules: x.yaml:"},
	}
	for _, tt := range tests {
		s := engine.NewSchedule()
		apply(t, s, tt.given...)
		limit, rules := s.Limit(), inForce(s, 1000)
		err := s.Apply(tt.seq, 500*second, &tt.entry)
		if err == nil || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want %s", tt.name, err, tt.want)
		}
		if s.Limit() != limit || !cmp.Equal(rules, inForce(s, 1000)) {
			t.Errorf("%s: the refused entry changed the schedule", tt.name)
		}
	}
}

func TestTiming(t *testing.T) {
	timing := engine.Timing{Deployment: schemas.DefaultDeployment}
	for _, tt := range []struct{ ns, want int64 }{
		{0, 0}, {1, 1}, {second - 1, 1}, {second, 1}, {second + 1, 2}, {-1, 0}, {-second, -1}, {-second - 1, -1},
	} {
		if got := timing.Sec(tt.ns); got != tt.want {
			t.Errorf("Sec(%d) = %d, want %d", tt.ns, got, tt.want)
		}
	}
	// Tick 10 waits for an arrival after second 11; at 11 sharp another message
	// with the same timestamp may follow.
	if got := timing.Decidable(11 * second); got != 9 {
		t.Errorf("arrival at 11 s: tick %d may be decided, want 9", got)
	}
	if got := timing.Decidable(11*second + 1); got != 10 {
		t.Errorf("arrival just after 11 s: tick %d may be decided, want 10", got)
	}
}
