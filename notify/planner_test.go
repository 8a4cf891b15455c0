package notify_test

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"

	"github.com/dermai/millrace/notify"
	"github.com/dermai/millrace/schemas"
)

var update = flag.Bool("update", false, "write golden files anew")

// TestPlanner runs the scripts in testdata/planner. Each has the configuration,
// what happens ("tick fire|end|quiet rule[@instance] label=value ...", or a tick
// alone, or routes and silences that change), and what the receiver team is told.
func TestPlanner(t *testing.T) {
	files, err := filepath.Glob("testdata/planner/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			parts := strings.SplitN(string(text), "\n---\n", 3)
			if len(parts) < 2 {
				t.Fatal("want two parts or three, with lines of --- between them")
			}
			got := play(t, parts[0], parts[1])
			if *update {
				if err := os.WriteFile(file, []byte(parts[0]+"\n---\n"+parts[1]+"\n---\n"+got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(parts[2], got); diff != "" {
				t.Errorf("told (-want +got):\n%s", diff)
			}
		})
	}
}

func config(t *testing.T, text string) notify.Config {
	t.Helper()
	var cfg notify.Config
	if err := yaml.UnmarshalWithOptions([]byte(text), &cfg, yaml.Strict()); err != nil {
		t.Fatal(err)
	}
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	return cfg
}

func newPlanner(t *testing.T, cfg notify.Config) *notify.Planner {
	t.Helper()
	p, err := notify.NewPlanner("team", cfg, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func play(t *testing.T, text, script string) string {
	t.Helper()
	p := newPlanner(t, config(t, text))
	var out strings.Builder
	seq := uint64(0)
	for line := range strings.SplitSeq(script, "\n") {
		line, _, _ = strings.Cut(line, "#")
		if routes, ok := strings.CutPrefix(line, "routes "); ok {
			if _, err := p.Reconfigure(config(t, "receivers: [{name: team, console: {}}, {name: other, console: {}}]\nroute: "+routes)); err != nil {
				t.Fatal(err)
			}
			continue
		}
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		if fields[0] == "silence" {
			if _, err := p.Silence(silences(t, fields[1:])); err != nil {
				t.Fatal(err)
			}
			continue
		}
		seq++
		d := decision(t, fields)
		for _, n := range p.Feed(seq, &d) {
			out.WriteString(told(n))
		}
	}
	return out.String()
}

// silences reads "from-to matcher ...", ticks; nothing is none.
func silences(t *testing.T, fields []string) []schemas.Silence {
	t.Helper()
	if len(fields) == 0 {
		return nil
	}
	var from, to int64
	if _, err := fmt.Sscanf(fields[0], "%d-%d", &from, &to); err != nil {
		t.Fatal(err)
	}
	return []schemas.Silence{{ID: "s", Matchers: fields[1:], Starts: from * 1e9, Ends: to * 1e9, Author: "desk", Comment: "known"}}
}

// decision reads "tick change rule label=value ..., ...": several changes are
// separated by commas. A tick that ends in + is not done.
func decision(t *testing.T, fields []string) schemas.Decision {
	t.Helper()
	number, more := strings.CutSuffix(fields[0], "+")
	tick, err := strconv.ParseInt(number, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	d := schemas.Decision{Class: schemas.Telemetry, Tick: tick, Done: !more}
	for change := range strings.SplitSeq(strings.Join(fields[1:], " "), ",") {
		words := strings.Fields(change)
		if len(words) == 0 {
			continue
		}
		rule, instance, _ := strings.Cut(words[1], "@")
		labels := map[string]string{}
		for _, word := range words[2:] {
			name, value, _ := strings.Cut(word, "=")
			labels[name] = value
		}
		d.Transitions = append(d.Transitions, transition(tick, words[0], rule, instance, labels))
	}
	return d
}

func transition(tick int64, change, rule, instance string, labels map[string]string) schemas.Transition {
	tr := schemas.Transition{
		Rule: rule, Instance: rule + "@" + instance, Tick: tick, Time: tick * 1e9, Labels: labels,
		Annotations: map[string]string{"summary": rule + " is bad"},
	}
	var pairs []string
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		if name != "severity" { // a label of the rule, not of the group
			pairs = append(pairs, name+"="+labels[name])
		}
	}
	tr.Group = strings.Join(pairs, ",")
	tr.Alert = rule + "{" + tr.Group + "}"
	switch change {
	case "fire":
		tr.From, tr.To = schemas.Pending, schemas.Firing
	case "end":
		tr.From, tr.To = schemas.Cooling, schemas.Inactive
	case "cool":
		tr.From, tr.To = schemas.Firing, schemas.Cooling
	case "warm":
		tr.From, tr.To = schemas.Cooling, schemas.Firing
	case "pend":
		tr.From, tr.To = schemas.Inactive, schemas.Pending
	case "cancel":
		tr.From, tr.To = schemas.Pending, schemas.Inactive
	case "fire-unseen":
		tr.From, tr.To, tr.Shadow = schemas.Pending, schemas.Firing, true
	case "cool-unseen":
		tr.From, tr.To, tr.Shadow = schemas.Firing, schemas.Cooling, true
	case "end-unseen":
		tr.From, tr.To, tr.Shadow = schemas.Cooling, schemas.Inactive, true
	case "show": // the rule comes out of shadow
		tr.From, tr.To = schemas.Firing, schemas.Firing
	case "show-cooling":
		tr.From, tr.To = schemas.Cooling, schemas.Cooling
	case "show-pending":
		tr.From, tr.To = schemas.Pending, schemas.Pending
	case "hide":
		tr.From, tr.To, tr.Shadow = schemas.Firing, schemas.Firing, true
	}
	return tr
}

// told is a notification in one line.
func told(n schemas.Notification) string {
	var alerts []string
	for _, a := range n.Alerts {
		s := a.Status + " " + a.Alert + " " + strconv.FormatInt(a.Starts/1e9, 10)
		if a.Ends != 0 {
			s += "-" + strconv.FormatInt(a.Ends/1e9, 10)
		}
		alerts = append(alerts, s)
	}
	return fmt.Sprintf("%d %s %s: %s (%s)\n", n.Tick, n.Reason, n.Status, strings.Join(alerts, ", "), n.GroupKey)
}

// history is a random life of a few alerts: at most one change of an alert a
// tick, ticks ascending.
func history(rng *rand.Rand, alerts, length int) []schemas.Transition {
	firing := map[int]bool{}
	var out []schemas.Transition
	for tick := int64(1); tick <= int64(length); tick++ {
		for a := range alerts {
			if rng.Float64() > 0.08 {
				continue
			}
			change := "fire"
			if firing[a] {
				change = "end"
			}
			firing[a] = !firing[a]
			labels := map[string]string{"service": string(rune('a' + a%3)), "n": strconv.Itoa(a), "severity": []string{"warning", "critical"}[a%2]}
			out = append(out, transition(tick, change, "R"+strconv.Itoa(a%2), "1", labels))
		}
	}
	return out
}

// decisions spreads a history over decisions in a random way, up to tick last.
func decisions(rng *rand.Rand, history []schemas.Transition, last int64) []schemas.Decision {
	var out []schemas.Decision
	d := schemas.Decision{Class: schemas.Telemetry}
	next := 0
	for tick := int64(1); tick <= last; tick++ {
		for next < len(history) && history[next].Tick == tick {
			d.Transitions = append(d.Transitions, history[next])
			next++
			if rng.Float64() < 0.3 {
				d.Tick = tick
				out, d = append(out, d), schemas.Decision{Class: schemas.Telemetry}
			}
		}
		if d.Tick = tick; rng.Float64() < 0.3 || tick == last {
			d.Done = true
			out, d = append(out, d), schemas.Decision{Class: schemas.Telemetry}
		}
	}
	return out
}

const randomRoutes = `
receivers: [{name: team, console: {}}, {name: other, console: {}}]
route:
  receiver: team
  group_by: %s
  group_wait: %s
  group_interval: %s
  repeat_interval: %s
  routes:
  - matchers: [service=c, severity=critical]
    receiver: other
    continue: %t
  - matchers: ['n=~"[345]"']
    group_by: [n]
`

func randomConfig(t *testing.T, rng *rand.Rand) notify.Config {
	pick := func(s ...string) string { return s[rng.IntN(len(s))] }
	return config(t, fmt.Sprintf(randomRoutes,
		pick("null", "[]", "[service]", "[alertname, severity]"), pick("0s", "3s", "10s"),
		pick("0s", "5s", "20s"), pick("0s", "30s", "50s"), rng.IntN(2) == 0))
}

// TestPlannerIgnoresCommits feeds the same changes spread over decisions in
// different ways, also through checkpoints.
func TestPlannerIgnoresCommits(t *testing.T) {
	total := 0
	for seed := range uint64(40) {
		rng := rand.New(rand.NewPCG(seed, 1))
		cfg := randomConfig(t, rng)
		changes := history(rng, 8, 200)
		var want []schemas.Notification
		for try := range 3 {
			p := newPlanner(t, cfg)
			if seed%2 == 0 {
				if _, err := p.Silence(silences(t, []string{"50-120", "service=~a|b"})); err != nil {
					t.Fatal(err)
				}
			}
			var got []schemas.Notification
			for i, d := range decisions(rng, changes, 300) {
				got = append(got, p.Feed(uint64(i+1), &d)...)
				if try > 0 && rng.Float64() < 0.03 {
					state, err := p.Checkpoint()
					if err != nil {
						t.Fatal(err)
					}
					if p, err = notify.RestorePlanner(state, time.Second); err != nil {
						t.Fatal(err)
					}
				}
			}
			for i := range got {
				got[i].Covers = 0
			}
			if try == 0 {
				want = got
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("seed %d: other decisions, other notifications (-first +now):\n%s", seed, diff)
			}
		}
		total += len(want)
	}
	if total < 1500 {
		t.Errorf("only %d notifications: the test tests nothing", total)
	}
}

// TestPlannerTellsTheTruth follows what a receiver believes.
func TestPlannerTellsTheTruth(t *testing.T) {
	for seed := range uint64(100) {
		rng := rand.New(rand.NewPCG(seed, 2))
		interval := []int64{0, 5, 20}[rng.IntN(3)]
		wait := []int64{0, 4}[rng.IntN(2)]
		repeat := []int64{0, 40}[rng.IntN(2)]
		cfg := config(t, fmt.Sprintf("receivers: [{name: team, console: {}}]\nroute: {receiver: team, group_by: [service], group_wait: %ds, group_interval: %ds, repeat_interval: %ds}", wait, interval, repeat))
		p := newPlanner(t, cfg)
		quiet := silences(t, []string{"60-150", "service=~a|b"})
		if seed%2 == 0 {
			quiet = nil
		}
		if _, err := p.Silence(quiet); err != nil {
			t.Fatal(err)
		}
		changes := history(rng, 9, 200)
		truth, belief := map[string]bool{}, map[string]bool{}
		last, ids, threads := map[string]int64{}, map[string]bool{}, map[string]string{}
		check := func(n schemas.Notification) {
			if ids[n.ID] {
				t.Fatalf("seed %d: id %s twice", seed, n.ID)
			}
			ids[n.ID] = true
			if n.Reason != "new" && n.Tick < last[n.GroupKey]+interval {
				t.Errorf("seed %d: tick %d, %s told %d ticks after it was last", seed, n.Tick, n.GroupKey, n.Tick-last[n.GroupKey])
			}
			if n.Reason == "repeat" && (repeat == 0 || n.Tick < last[n.GroupKey]+repeat) {
				t.Errorf("seed %d: tick %d repeats too early", seed, n.Tick)
			}
			last[n.GroupKey] = n.Tick
			if first, ok := threads[n.GroupKey]; n.Thread != first && ok || n.Thread != n.ID && !ok {
				t.Errorf("seed %d: tick %d, %s is of thread %s, want %s", seed, n.Tick, n.ID, n.Thread, first)
			}
			if threads[n.GroupKey] = n.Thread; n.Status == "resolved" {
				delete(threads, n.GroupKey)
			}
			any, changed := false, false
			for _, a := range n.Alerts {
				if a.Status == "resolved" && !belief[a.Alert] {
					t.Errorf("seed %d: tick %d, %s ended, but was never told to fire", seed, n.Tick, a.Alert)
				}
				changed = changed || belief[a.Alert] != (a.Status == "firing")
				belief[a.Alert] = a.Status == "firing"
				if len(quiet) > 0 && notify.Silences(quiet[0], time.Unix(n.Tick, 0), a.Rule, a.Labels) {
					t.Errorf("seed %d: tick %d, %s is told, though it is silenced", seed, n.Tick, a.Alert)
				}
			}
			for alert, fires := range belief {
				_, service, _ := strings.Cut(alert, "service=")
				any = any || fires && strings.Contains(n.GroupKey, fmt.Sprintf("service=%q", service[:1]))
			}
			if any != (n.Status == "firing") || changed == (n.Reason == "repeat") {
				t.Errorf("seed %d: %s", seed, told(n))
			}
		}
		for i, d := range decisions(rng, changes, 400) {
			for _, tr := range d.Transitions {
				truth[tr.Alert] = tr.To == schemas.Firing
			}
			for _, n := range p.Feed(uint64(i+1), &d) {
				check(n)
			}
		}
		maps.DeleteFunc(belief, func(_ string, on bool) bool { return !on })
		maps.DeleteFunc(truth, func(_ string, on bool) bool { return !on })
		if diff := cmp.Diff(truth, belief); diff != "" {
			t.Errorf("seed %d: in the end the receiver believes something else (-fires +believed):\n%s", seed, diff)
		}
	}
}

func TestPlannerBounds(t *testing.T) {
	long := strings.Repeat("ä", 700) + "\x00"
	labels := map[string]string{"service": long}
	for i := range 100 {
		labels[fmt.Sprintf("l%03d", i)] = long
	}
	p := newPlanner(t, config(t, "receivers: [{name: team, console: {}}]\nroute: {receiver: team, group_by: []}"))
	d := schemas.Decision{Class: schemas.Telemetry, Tick: 1, Done: true}
	for i := range 120 {
		tr := transition(1, "fire", "R", "1", map[string]string{"n": fmt.Sprintf("%03d", i)})
		if i >= 60 {
			tr = transition(1, "fire", "S"+strconv.Itoa(i), "1", labels)
			tr.Annotations = labels
		}
		d.Transitions = append(d.Transitions, tr)
	}
	out := p.Feed(1, &d)
	if len(out) != 1 || len(out[0].Alerts) != notify.MaxAlerts || out[0].Truncated != 70 {
		t.Fatalf("%d notifications, %d alerts, %d left out", len(out), len(out[0].Alerts), out[0].Truncated)
	}
	// The large ones alone: fewer are listed, none is lost from the count.
	p = newPlanner(t, config(t, "receivers: [{name: team, console: {}}]\nroute: {receiver: team, group_by: []}"))
	d.Transitions = d.Transitions[60:]
	n := p.Feed(1, &d)[0]
	if len(n.Alerts) == 0 || len(n.Alerts)+n.Truncated != 60 {
		t.Fatalf("%d alerts, %d left out", len(n.Alerts), n.Truncated)
	}
	for _, a := range n.Alerts {
		if len(a.Labels) > 32 || len(a.Labels["l000"]) > 1024 || !strings.HasSuffix(a.Labels["l000"], "ä...") {
			t.Errorf("labels are not cut: %d, %q", len(a.Labels), a.Labels["l000"])
		}
	}
	if got := size(t, n); got > 512<<10 {
		t.Errorf("notification of %d bytes", got)
	}
}

func size(t *testing.T, v any) int {
	t.Helper()
	return len(fmt.Sprintf("%q", fmt.Sprint(v)))
}
