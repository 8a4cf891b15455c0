package engine_test

import (
	"errors"
	"fmt"
	"iter"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dermai/millrace/rules/engine"
	"github.com/dermai/millrace/schemas"
)

// start is a moment on a whole second; the moments of the tests count from it.
const start = int64(1_700_000_000) * second

// series are log events of service a, at seconds from the start.
func series(seconds ...float64) []schemas.Event {
	var list []schemas.Event
	for _, s := range seconds {
		list = append(list, valued(s, "a", s))
	}
	return list
}

func valued(seconds float64, service string, v float64) schemas.Event {
	return schemas.Event{
		Kind:       schemas.KindLog,
		Service:    service,
		Time:       start + int64(seconds*1e9),
		Attributes: map[string]any{"v": v},
	}
}

func each(events []schemas.Event) iter.Seq2[schemas.Event, error] {
	return func(yield func(schemas.Event, error) bool) {
		for _, e := range events {
			if !yield(e, nil) {
				return
			}
		}
	}
}

// changes runs rules over events and writes each transition as
// "<second> <alert> <to> <n> <value> <why>".
func changes(t *testing.T, events []schemas.Event, list ...string) []string {
	t.Helper()
	got := []string{}
	_, err := engine.Run(*rulesOf(list...), schemas.DefaultDeployment, each(events), func(tr schemas.Transition) error {
		line := fmt.Sprintf("%d %s %s n=%d", tr.Tick-start/second, tr.Alert, tr.To, tr.N)
		if tr.Value != nil {
			line += fmt.Sprintf(" %.4g", *tr.Value)
		}
		if tr.Why != "" {
			line += " (" + tr.Why + ")"
		}
		if tr.Time != tr.Tick*second || tr.Since != tr.Tick {
			t.Errorf("%s: time %d, since %d", line, tr.Time, tr.Since)
		}
		got = append(got, line)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestStates(t *testing.T) {
	tests := []struct {
		name   string
		rule   string
		events []schemas.Event
		want   []string
	}{
		{"count fires and resolves when the events leave the window",
			`{alert: C, on: log, by: [service], count: true, window: 10s, fire: ">= 3"}`,
			series(1, 2, 3, 30), []string{
				"3 C{service=a} firing n=3 3",
				"11 C{service=a} inactive n=2 2",
			}},
		{"for: pending, then firing",
			`{alert: C, on: log, count: true, window: 10s, fire: ">= 3", for: 4s}`,
			series(1, 2, 3, 30), []string{
				"3 C{} pending n=3 3",
				"7 C{} firing n=3 3",
				"11 C{} inactive n=2 2",
			}},
		{"for: not long enough",
			`{alert: C, on: log, count: true, window: 10s, fire: ">= 3", for: 8s}`,
			series(1, 2, 3, 30), []string{
				"3 C{} pending n=3 3",
				"11 C{} inactive n=2 2", // the condition ends at the tick at which it would have fired
			}},
		{"keep_firing_for: cooling, back to firing, cooling, over",
			`{alert: C, on: log, count: true, window: 5s, fire: ">= 2", keep_firing_for: 4s}`,
			series(1, 2, 8, 9, 30), []string{
				"2 C{} firing n=2 2",
				"6 C{} cooling n=1 1",
				"9 C{} firing n=2 2",
				"13 C{} cooling n=1 1",
				"17 C{} inactive n=0 0",
			}},
		{"hysteresis",
			`{alert: L, on: log, last: attributes.v, window: 60s, fire: "> 50", resolve: "< 40"}`,
			[]schemas.Event{valued(1, "a", 45), valued(2, "a", 51), valued(3, "a", 45), valued(4, "a", 40), valued(5, "a", 39), valued(6, "a", 45)}, []string{
				"2 L{} firing n=2 51",
				"5 L{} inactive n=5 39",
			}},
		{"min_samples: too few resolve",
			`{alert: R, on: log, ratio: attributes.v > 10, window: 10s, fire: "> 50%", min_samples: 2}`,
			[]schemas.Event{valued(1, "a", 20), valued(3, "a", 20)}, []string{
				"3 R{} firing n=2 1",
				"11 R{} inactive n=1 1 (no data)",
			}},
		{"no_data: hold keeps firing on an empty window",
			`{alert: R, on: log, max: attributes.v, window: 5s, fire: "> 10", no_data: hold}`,
			[]schemas.Event{valued(1, "a", 20), valued(20, "a", 5)}, []string{
				"1 R{} firing n=1 20",
				"20 R{} inactive n=1 5",
			}},
		{"no_data: fire, for a group that was seen, after its first whole window",
			`{alert: R, on: log, by: [service], max: attributes.v, window: 5s, fire: "> 10", no_data: fire}`,
			[]schemas.Event{valued(1, "a", 5), valued(2, "b", 5), valued(6, "a", 5), valued(9, "c", 5)}, []string{
				"7 R{service=b} firing n=0 (no data)",
				"11 R{service=a} firing n=0 (no data)",
				"14 R{service=c} firing n=0 (no data)",
			}},
		{"count below: fires on silence once a whole window has passed",
			`{alert: Q, on: log, count: true, window: 5s, fire: "< 1"}`,
			series(1, 2, 10), []string{
				"7 Q{} firing n=0 0",
				"10 Q{} inactive n=1 1",
				"15 Q{} firing n=0 0",
			}},
		{"count below, with min_samples: nothing is no longer a count",
			`{alert: Q, on: log, count: true, window: 5s, fire: "< 2", min_samples: 1}`,
			series(1, 2, 10), []string{
				"1 Q{} firing n=1 1",
				"2 Q{} inactive n=2 2",
				"6 Q{} firing n=1 1",
				"7 Q{} inactive n=0 0 (no data)",
				"10 Q{} firing n=1 1",
				"15 Q{} inactive n=0 0 (no data)",
			}},
		{"expect: groups that were seen, and groups that are named",
			`{alert: E, on: log, by: [service], expect: every 5s, keys: [{service: never}]}`,
			[]schemas.Event{valued(1, "a", 1), valued(8, "a", 1), valued(8, "b", 1)}, []string{
				"4 E{service=never} firing n=0 0", // the rules are in force from tick -1 on
				"6 E{service=a} firing n=0 0",
				"8 E{service=a} inactive n=1 1",
				"13 E{service=a} firing n=0 0",
				"13 E{service=b} firing n=0 0",
			}},
		{"cap: the rest is counted together",
			`{alert: C, on: log, by: [service], count: true, window: 5s, fire: ">= 2", cap: 1}`,
			[]schemas.Event{valued(1, "b", 1), valued(1, "a", 1), valued(1, "c", 1), valued(2, "a", 1), valued(20, "c", 1), valued(20, "c", 1)}, []string{
				"1 C{~other} firing n=2 2", // b and c
				"2 C{service=a} firing n=2 2",
				"6 C{service=a} inactive n=1 1",
				"6 C{~other} inactive n=0 0",
				"20 C{service=c} firing n=2 2", // a was released
				"25 C{service=c} inactive n=0 0",
			}},
		{"late events count in every later window that holds them",
			`{alert: C, on: log, count: true, window: 10s, fire: ">= 2"}`,
			series(1, 20, 12, 30), []string{
				"20 C{} firing n=2 2", // 12 arrived with 20: too late for the ticks before
				"22 C{} inactive n=1 1",
			}},
		{"a wide pane leaves as a whole",
			`{alert: C, on: log, count: true, window: 120s, fire: ">= 2"}`,
			series(1, 2, 121.5, 300), []string{ // panes end at even seconds
				"2 C{} firing n=2 2",
				"122 C{} inactive n=1 1",
			}},
		{"percentile",
			`{alert: P, on: log, p50: attributes.v, window: 10s, fire: "> 100"}`,
			[]schemas.Event{valued(1, "a", 3), valued(2, "a", 1000), valued(3, "a", 1001)}, []string{
				"3 P{} firing n=3 1002",
				"13 P{} inactive n=0 (no data)",
			}},
	}
	for _, tt := range tests {
		if diff := cmp.Diff(tt.want, changes(t, tt.events, tt.rule)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

// TestRunYears runs a log with gaps of months, forwards and backwards, and of
// both classes, in the order of time.
func TestRunYears(t *testing.T) {
	const month = 30 * 24 * 3600
	audit := func(s float64) schemas.Event {
		return schemas.Event{Kind: schemas.KindAudit, Time: start + int64(s*1e9), User: "u", Action: "read", Resource: "r"}
	}
	events := []schemas.Event{
		audit(1), valued(1, "a", 1),
		valued(40*month, "a", 1), {Kind: schemas.KindLog, Service: "a"}, // no time: with the one before
		valued(7, "a", 1), // three years late
		audit(40*month + 1), valued(41*month, "a", 1),
	}
	began := time.Now()
	var got []string
	sum, err := engine.Run(*rulesOf(
		`{alert: L, on: log, count: true, window: 1h, fire: "> 0"}`,
		`{alert: A, on: audit, count: true, window: 2h, fire: "> 0"}`,
		`{alert: E, on: log, by: [service], expect: every 25h}`,
		`{alert: T, on: log, avg: attributes.v, window: 1h, fire: "> 5"}`,
	), schemas.DefaultDeployment, each(events), func(tr schemas.Transition) error {
		got = append(got, fmt.Sprintf("%d %s %s %d", tr.Tick-start/second, tr.Alert, tr.To, tr.N))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	// Panes of a minute, two minutes and 1500 s leave as a whole.
	want := []string{
		"1 L{} firing 1",
		"1 A{} firing 1",
		"3640 L{} inactive 0",
		"7240 A{} inactive 0",
		"91000 E{service=a} firing 0",
		"103680000 L{} firing 2",
		"103680000 E{service=a} inactive 2",
		"103680001 A{} firing 1",
		"103683640 L{} inactive 0",
		"103687240 A{} inactive 0",
		"103771000 E{service=a} firing 0",
		"106272000 L{} firing 1",
		"106272000 E{service=a} inactive 1",
		"106275640 L{} inactive 0",
		"106363000 E{service=a} firing 0", // after the last event
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("transitions (-want +got):\n%s", diff)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("took %v: gaps are not skipped", took)
	}
	if sum.Events != int64(len(events)) || sum.Transitions != int64(len(got)) || sum.First != start+second || sum.Last != start+41*month*second {
		t.Errorf("summary %+v", sum)
	}
	if diff := cmp.Diff(map[string]int64{"L": 1, "E": 1, "T": 1}, sum.TooLate); diff != "" {
		t.Errorf("too late (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]int64{"T": 1}, sum.Mismatched); diff != "" {
		t.Errorf("mismatched (-want +got):\n%s", diff)
	}
}

// TestRunEndsLate shows that a file which ends with late events, and one without
// a time, ends at the latest moment in it.
func TestRunEndsLate(t *testing.T) {
	events := append(series(1, 20, 12), schemas.Event{Kind: schemas.KindLog, Service: "a"})
	var n []int64
	sum, err := engine.Run(*rulesOf(`{alert: C, on: log, count: true, window: 10s, fire: ">= 3"}`), schemas.DefaultDeployment, each(events), func(tr schemas.Transition) error {
		n = append(n, tr.Tick-start/second, tr.N)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if sum.Last != start+20*second || sum.End != start+31*second {
		t.Errorf("last %d, end %d: want 20 s and, a window and a pane later, 31 s", sum.Last-start, sum.End-start)
	}
	if diff := cmp.Diff([]int64{20, 3, 22, 2}, n); diff != "" {
		t.Errorf("ticks and samples (-want +got):\n%s", diff)
	}
}

func TestRunErrors(t *testing.T) {
	src := *rulesOf(countByService)
	none := func(schemas.Transition) error { return nil }
	broken := errors.New("disk on fire")
	tests := []struct {
		name   string
		src    schemas.RuleSource
		dep    schemas.Deployment
		events iter.Seq2[schemas.Event, error]
		emit   func(schemas.Transition) error
		want   string
	}{
		{"reading", src, schemas.DefaultDeployment, func(yield func(schemas.Event, error) bool) {
			_ = yield(valued(1, "a", 1), nil) && yield(schemas.Event{}, broken)
		}, none, "event 2: disk on fire"},
		{"no time", src, schemas.DefaultDeployment, each([]schemas.Event{{Kind: schemas.KindLog}}), none,
			"event 1: it has no timestamp, and there is none before it to go by"},
		{"time out of range", src, schemas.DefaultDeployment, each([]schemas.Event{{Kind: schemas.KindLog, Time: -1 << 63}}), none,
			"event 1: its timestamp lies outside of what 64-bit nanoseconds hold"},
		{"emitting", *rulesOf(`{alert: L, on: log, count: true, window: 1h, fire: "> 0"}`), schemas.DefaultDeployment,
			each(series(1, 9)), func(schemas.Transition) error { return broken }, "event 2: disk on fire"},
		{"deployment", src, schemas.Deployment{Engine: 1, Delay: 5, Tick: time.Millisecond}, each(nil), none, "tick 1ms: want 100ms to 1h"},
		{"rules", schemas.RuleSource{Files: []schemas.RuleFile{{Name: "x.yaml", Text: "groups: 7"}}}, schemas.DefaultDeployment,
			each(nil), none, "x.yaml:1:1: groups: want a list"},
	}
	for _, tt := range tests {
		_, err := engine.Run(tt.src, tt.dep, tt.events, tt.emit)
		if err == nil || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want %s", tt.name, err, tt.want)
		}
	}
	if sum, err := engine.Run(src, schemas.DefaultDeployment, each(nil), none); err != nil || sum.Events != 0 {
		t.Errorf("no events: %+v, %v", sum, err)
	}
}
