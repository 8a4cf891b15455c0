package engine_test

import (
	"bytes"
	"flag"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"

	"github.com/dermai/millrace/rules/engine"
	"github.com/dermai/millrace/schemas"
)

var update = flag.Bool("update", false, "write the golden files")

// rows folds events that arrive with the last of them, at a second.
func rows(s *engine.Schedule, second int64, events ...*schemas.Event) []schemas.Row {
	r := engine.NewReducer(s, 0)
	r.Arrive(1, second*1e9, nil)
	for i, e := range events {
		r.Fold(i, e)
	}
	return r.Cut().Rows
}

// TestIdle shows that a system without events waits for nothing, so that
// nothing is written, and that it waits for no tick at which nothing can change.
func TestIdle(t *testing.T) {
	s := begun(t, 1_000_000,
		`{alert: C, on: log, by: [service], count: true, window: 10s, fire: ">= 2", for: 20s}`,
		`{alert: K, on: log, count: true, window: 10s, fire: ">= 2", keep_firing_for: 7s}`)
	d := engine.NewDecider(s, schemas.Telemetry)
	step := func(want int64) []schemas.Decision {
		t.Helper()
		if got, ok := d.Waits(); !ok || got != want {
			t.Fatalf("waits for %d, %v, want %d", got, ok, want)
		}
		d.SkipTo(want + 1000) // stops before
		if d.Tick() != want-1 {
			t.Fatalf("skipped to %d, waited for %d", d.Tick(), want)
		}
		return d.Decide()
	}
	step(105) // the rules come in force
	if tick, ok := d.Waits(); ok {
		t.Errorf("idle, but waits for %d", tick)
	}
	d.SkipTo(5000)
	if err := d.Add(rows(s, 5010, logAt(5009, "a"), logAt(5010, "a")), nil); err != nil {
		t.Fatal(err)
	}
	step(5009)
	if parts := step(5010); len(parts[0].Transitions) != 2 { // C pending, K firing
		t.Errorf("decided %+v", parts)
	}
	step(5019) // the first pane leaves: C inactive, K cooling
	step(5020) // the second one: C is forgotten
	step(5026) // K has cooled
	if tick, ok := d.Waits(); ok {
		t.Errorf("all is over, but it waits for %d", tick)
	}
	if err := d.Add(rows(s, 5020, logAt(5020, "a")), nil); err == nil || !strings.Contains(err.Error(), "for tick 5020 comes after tick 5026 was decided") {
		t.Errorf("a row that comes too late: %v", err)
	}
}

// TestSettled shows that no tick is decided, or skipped, whose rules may change.
func TestSettled(t *testing.T) {
	s := begun(t, 110, countByService)
	d := engine.NewDecider(s, schemas.Telemetry)
	d.SkipTo(104)
	d.Decide()
	d.SkipTo(500)
	if d.Tick() != 109 {
		t.Errorf("skipped to %d, settled are the ticks below 110", d.Tick())
	}
	if !panics(func() { d.Decide() }) {
		t.Error("decided a tick that is not settled")
	}
}

// TestRuleGone shows what becomes of states when their rule goes, and of rows
// that become visible after it.
func TestRuleGone(t *testing.T) {
	s := begun(t, 115, `{alert: C, on: log, by: [service], count: true, window: 30s, fire: "> 0"}`)
	apply(t, s, at{120, schemas.ControlEntry{Rules: rulesOf(countByService)}}, at{200, schemas.ControlEntry{}})
	d := engine.NewDecider(s, schemas.Telemetry)
	if err := d.Add(rows(s, 121, logAt(119, "a"), logAt(121, "b")), nil); err != nil {
		t.Fatal(err)
	}
	// Arrived at tick 124, under the old rules, visible at 125, when they are gone.
	if err := d.Add(rows(s, 125, logAt(125, "c")), nil); err != nil {
		t.Fatal(err)
	}
	var got []string
	var released []schemas.Admission
	for d.Tick() < 130 {
		for _, part := range d.Decide() {
			for _, tr := range part.Transitions {
				got = append(got, tr.Group+" "+string(tr.To)+" "+tr.Why)
			}
			released = append(released, part.Released...)
		}
	}
	want := []string{"service=a firing ", "service=b firing ", "service=a inactive rule gone", "service=b inactive rule gone"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("transitions (-want +got):\n%s", diff)
	}
	if len(released) != 2 {
		t.Errorf("released %v, want both groups", released)
	}
	if tick, ok := d.Waits(); ok {
		t.Errorf("waits for %d", tick)
	}
}

// TestParts shows that parts keep their bound, that together they are the whole
// decision, and that a reader of any number of them can be served the rest.
func TestParts(t *testing.T) {
	s := begun(t, 200, `{alert: C, on: log, by: [service], count: true, window: 3s, fire: "> 0"}`)
	var events []*schemas.Event
	for i := range 8 * 26 {
		events = append(events, logAt(120, strings.Repeat(string(rune('a'+i/26)), 3)+string(rune('a'+i%26))))
	}
	decide := func(bytes int, tick int64) []schemas.Decision {
		d := engine.NewDecider(s, schemas.Telemetry)
		d.PartBytes = bytes
		if err := d.Add(rows(s, 121, events...), nil); err != nil {
			t.Fatal(err)
		}
		d.SkipTo(tick - 1)
		for d.Tick() < tick-1 {
			d.Decide()
			d.SkipTo(tick - 1)
		}
		return d.Decide()
	}
	for _, tick := range []int64{120, 123} { // all fire and are admitted; all resolve and are released
		whole := decide(0, tick)
		if len(whole) != 1 || len(whole[0].Transitions) != len(events) || !whole[0].Done {
			t.Fatalf("tick %d: %d parts", tick, len(whole))
		}
		const limit = 2000
		parts := decide(limit, tick)
		for i, part := range parts {
			if n := len(encode(t, part)); n > limit {
				t.Errorf("tick %d: part %d has %d bytes", tick, i, n)
			}
			if part.Done != (i == len(parts)-1) || part.Tick != tick {
				t.Errorf("tick %d: part %d of %d: tick %d, done %v", tick, i, len(parts), part.Tick, part.Done)
			}
		}
		if len(parts) < 20 {
			t.Errorf("tick %d: %d parts", tick, len(parts))
		}
		// However many parts are stored, and however the tick is cut the next time,
		// the transitions come once and nothing is missing.
		for stored := 0; stored <= len(parts); stored += 1 + len(parts)/16 {
			all := slices.Clone(parts[:stored])
			again := decide(1+1500*(stored%7), tick)
			if stored > 0 {
				again = engine.Rest(again, all[stored-1])
			}
			if diff := cmp.Diff(joined(whole), joined(append(all, again...))); diff != "" {
				t.Fatalf("tick %d, %d parts stored (-want +got):\n%s", tick, stored, diff)
			}
		}
		if rest := engine.Rest(parts, schemas.Decision{Tick: tick + 1}); len(rest) != 0 {
			t.Errorf("tick %d: %d parts are left after a later tick", tick, len(rest))
		}
		if rest := engine.Rest(parts, schemas.Decision{Tick: tick - 1, Done: true}); len(rest) != len(parts) {
			t.Errorf("tick %d: %d parts of %d are left after an earlier tick", tick, len(rest), len(parts))
		}
	}
}

// joined is what parts say together. Admissions and releases may be repeated.
func joined(parts []schemas.Decision) map[string]any {
	var transitions []string
	admitted, released := map[schemas.Admission]bool{}, map[schemas.Admission]bool{}
	done := 0
	for _, p := range parts {
		for _, t := range p.Transitions {
			transitions = append(transitions, t.Alert)
		}
		for _, a := range p.Admitted {
			admitted[a] = true
		}
		for _, a := range p.Released {
			released[a] = true
		}
		if p.Done {
			done++
		}
	}
	return map[string]any{"transitions": transitions, "admitted": admitted, "released": released, "done": done}
}

// checkpointed has something of everything in its state.
func checkpointed(t *testing.T) (*engine.Schedule, *engine.Decider) {
	t.Helper()
	s := begun(t, 200,
		`{alert: Count, on: log, by: [service], count: true, window: 10s, fire: "> 0", for: 5s, cap: 2}`,
		`{alert: Average, on: log, avg: attributes.v, window: 120s, fire: "> 5", keep_firing_for: 9s, evidence: {worst: attributes.v, fields: [logger]}}`,
		`{alert: Ratio, on: log, ratio: attributes.v > 5, window: 10s, fire: "> 50%"}`,
		`{alert: Percentile, on: log, p95: attributes.v, window: 10s, fire: "> 5"}`,
		`{alert: Last, on: log, last: attributes.v, window: 10s, fire: "> 500"}`,
		`{alert: Least, on: log, min: attributes.v, window: 10s, fire: "< -500"}`,
		`{alert: Most, on: log, max: attributes.v, window: 10s, fire: "> 500"}`,
		`{alert: Expected, on: log, by: [service], expect: every 8s, keys: [{service: never}]}`)
	event := func(second int64, service string, v float64) *schemas.Event {
		e := logAt(second, service)
		e.ID, e.Logger, e.Attributes = "id-"+service, "l", map[string]any{"v": v}
		return e
	}
	d := engine.NewDecider(s, schemas.Telemetry)
	if err := d.Add(rows(s, 122, event(112, "a", 7.5), event(113, "a", -3), event(119, "b", 1e17), event(120, "c", 0.1), event(121, "d", 12), event(122, "d", 8)), nil); err != nil {
		t.Fatal(err)
	}
	for d.Tick() < 121 {
		d.Decide()
	}
	return s, d
}

// written is the checkpoint of a decider.
func written(t testing.TB, d *engine.Decider) []byte {
	t.Helper()
	var b bytes.Buffer
	if done, err := d.Snapshot(&b).Write(math.MaxInt); !done {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestCheckpoint keeps the format: a golden file, which every later build must
// be able to restore.
func TestCheckpoint(t *testing.T) {
	s, d := checkpointed(t)
	data := written(t, d)
	pretty := jsontext.Value(bytes.Clone(data))
	if err := pretty.Indent(); err != nil {
		t.Fatal(err)
	}
	golden := filepath.Join("testdata", "checkpoint.json")
	if *update {
		if err := os.WriteFile(golden, append(pretty, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	stored, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(stored), string(pretty)+"\n"); diff != "" {
		t.Errorf("the format changed (-golden +got):\n%s", diff)
	}
	other := engine.NewDecider(s, schemas.Telemetry)
	if err := other.Restore(bytes.NewReader(stored)); err != nil {
		t.Fatal(err)
	}
	for range 60 {
		if a, b := encode(t, d.Decide()), encode(t, other.Decide()); a != b {
			t.Fatalf("tick %d: decided %s, restored %s", d.Tick(), a, b)
		}
		if a, b := written(t, d), written(t, other); string(a) != string(b) {
			t.Fatalf("tick %d: state in memory is %s, restored %s", d.Tick(), a, b)
		}
		at, ok := d.Waits()
		if at2, ok2 := other.Waits(); at != at2 || ok != ok2 {
			t.Fatalf("tick %d: waits for %d, %v, restored %d, %v", d.Tick(), at, ok, at2, ok2)
		}
	}
}

func TestRestoreRefuses(t *testing.T) {
	s, d := checkpointed(t)
	data := written(t, d)
	replace := func(old, new string) string {
		if !strings.Contains(string(data), old) {
			t.Fatalf("the checkpoint has no %s", old)
		}
		return strings.Replace(string(data), old, new, 1)
	}
	instance := s.At(110)[0].ID
	tests := []struct{ name, data, want string }{
		{"truncated", string(data[:len(data)/2]), "restore the checkpoint of telemetry: "},
		{"another class", replace(`"class":"telemetry"`, `"class":"audit"`), "restore the checkpoint of telemetry: it is one of audit"},
		{"from the future", replace(`"tick":121`, `"tick":999`), "restore the checkpoint of telemetry: tick 999 is not settled below 200: read the control log further first"},
		{"another log", strings.ReplaceAll(string(data), instance, "0123456789abcdef@7"), "restore the checkpoint of telemetry: rule instance 0123456789abcdef@7 is not in force at tick 121: the control log is another one"},
		{"no state", replace(`"state":"pending"`, `"state":"burning"`), `restore the checkpoint of telemetry: state "burning" of `},
		{"buckets", replace(`"q":[{"b":131312,"c":1}]`, `"q":[{"b":131312,"c":1},{"b":7,"c":1}]`), "restore the checkpoint of telemetry: json: cannot unmarshal"},
		{"rows of the past", replace(`"v":122`, `"v":121`), "restore the checkpoint of telemetry: row of "},
	}
	before, _ := json.Marshal(d.Tick())
	for _, tt := range tests {
		if err := d.Restore(strings.NewReader(tt.data)); err == nil || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want %s", tt.name, err, tt.want)
		}
	}
	if string(written(t, d)) != string(data) {
		t.Errorf("a refused checkpoint changed the state at tick %s", before)
	}
}
