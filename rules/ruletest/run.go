package ruletest

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/dermai/millrace/internal/suggest"
	"github.com/dermai/millrace/rules"
	"github.com/dermai/millrace/rules/engine"
	"github.com/dermai/millrace/schemas"
)

// Result is the outcome of one test. It passed if there is no failure.
type Result struct {
	Name     string   `json:"name"`
	Failures []string `json:"failures,omitempty"`
}

// Run runs the tests of a file. The rule files that it names are read by read,
// with their paths relative to the test file's. An error means that the tests
// could not run; a test that ran and failed is a Result.
func Run(name, text string, read func(name string) ([]byte, error)) ([]Result, error) {
	f, err := parse(name, text)
	if err != nil {
		return nil, err
	}
	var files []schemas.RuleFile
	for _, r := range f.RuleFiles {
		b, err := read(path.Join(path.Dir(name), r))
		if err != nil {
			return nil, fmt.Errorf("%s: rule_files: %w", name, err)
		}
		files = append(files, schemas.RuleFile{Name: r, Text: string(b)})
	}
	set, err := rules.Parse(files...)
	if err != nil {
		return nil, err
	}
	var results []Result
	var errs []error
	for _, t := range f.Tests {
		failures, err := t.run(set, f.Start)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: test %q: %w", name, t.Name, err))
		}
		results = append(results, Result{t.Name, failures})
	}
	return results, errors.Join(errs...)
}

// Write tells the results, the failures with what was expected and what was
// there, and whether all passed.
func Write(w io.Writer, results []Result) (passed bool, err error) {
	passed = true
	var b strings.Builder
	for _, r := range results {
		if len(r.Failures) == 0 {
			fmt.Fprintf(&b, "ok    %s\n", r.Name)
			continue
		}
		passed = false
		fmt.Fprintf(&b, "FAIL  %s\n", r.Name)
		for _, f := range r.Failures {
			fmt.Fprintf(&b, "      %s\n", strings.ReplaceAll(f, "\n", "\n      "))
		}
	}
	_, err = io.WriteString(w, b.String())
	return passed, err
}

func (t *test) run(set *rules.Set, start time.Time) ([]string, error) {
	for _, e := range t.Expect {
		if err := known(set, e.Alert); err != nil {
			return nil, err
		}
	}
	if t.Transitions != nil {
		for _, c := range *t.Transitions {
			if err := known(set, c.Alert); err != nil {
				return nil, err
			}
		}
	}
	events, err := t.events(start)
	if err != nil {
		return nil, err
	}
	var transitions []schemas.Transition
	each := func(yield func(schemas.Event, error) bool) {
		for _, e := range events {
			if !yield(e, nil) {
				return
			}
		}
	}
	_, err = engine.Run(set.Source(), schemas.DefaultDeployment, each, func(tr schemas.Transition) error {
		transitions = append(transitions, tr)
		return nil
	})
	if err != nil {
		return nil, err
	}
	var failures []string
	for _, e := range t.Expect {
		failures = append(failures, e.check(transitions, start)...)
	}
	if t.Transitions != nil {
		failures = append(failures, compare(*t.Transitions, transitions, start)...)
	}
	return failures, nil
}

// known refuses an alert that the rules can't raise.
func known(set *rules.Set, alert string) error {
	name, labels := split(alert)
	var names []string
	for _, r := range set.Rules {
		if names = append(names, r.Name); r.Name != name {
			continue
		}
		given := make([]string, len(labels))
		for i, l := range labels {
			given[i] = l.Name
		}
		want := slices.Sorted(slices.Values(r.Labels))
		if !slices.Equal(given, want) && !strings.Contains(alert, rules.Overflow) {
			return fmt.Errorf("alert %s: its labels are %s: name all of them, as in %s{%s=...}", alert, strings.Join(want, ", "), name, strings.Join(r.Labels, "=...,"))
		}
		return nil
	}
	return fmt.Errorf("alert %s: no rule has this name%s", alert, suggest.DidYouMean(name, names))
}

// split takes "name{a=x, b=y}" apart; the labels are ascending by name.
func split(alert string) (string, []schemas.Label) {
	name, rest, _ := strings.Cut(alert, "{")
	pairs := strings.Split(strings.TrimSuffix(rest, "}"), ",")
	for i, p := range pairs {
		pairs[i] = strings.TrimSpace(p)
	}
	labels := schemas.ParseGroup(strings.Join(pairs, ","))
	slices.SortFunc(labels, func(a, b schemas.Label) int { return cmp.Compare(a.Name, b.Name) })
	return strings.TrimSpace(name), labels
}

func same(a, b string) bool {
	name, labels := split(a)
	other, others := split(b)
	return name == other && slices.Equal(labels, others)
}

// check compares the state of one alert at one time.
func (e *expectation) check(transitions []schemas.Transition, start time.Time) []string {
	last := schemas.Transition{To: schemas.Inactive}
	var changes []string
	for _, tr := range transitions {
		if same(tr.Alert, e.Alert) {
			changes = append(changes, show(&tr, start))
			if tr.Time <= start.Add(time.Duration(e.At)).UnixNano() {
				last = tr
			}
		}
	}
	var wrong []string
	differs := func(what string, want, got any) {
		wrong = append(wrong, fmt.Sprintf("at %s %s: %s is %v, want %v", e.At, e.Alert, what, got, want))
	}
	if last.To != e.State {
		differs("state", e.State, last.To)
	}
	if e.Value != nil && !e.Value.equals(last.Value) {
		differs("value", e.Value.text, e.Value.show(last.Value))
	}
	if e.N != nil && *e.N != last.N {
		differs("n", *e.N, last.N)
	}
	for _, name := range sortedKeys(e.Labels) {
		if last.Labels[name] != e.Labels[name] {
			differs("label "+name, fmt.Sprintf("%q", e.Labels[name]), fmt.Sprintf("%q", last.Labels[name]))
		}
	}
	if e.Summary != nil && *e.Summary != last.Annotations["summary"] {
		differs("summary", fmt.Sprintf("%q", *e.Summary), fmt.Sprintf("%q", last.Annotations["summary"]))
	}
	if len(wrong) > 0 && len(changes) > 0 {
		wrong = append(wrong, "  its changes were:\n    "+strings.Join(changes, "\n    "))
	} else if len(wrong) > 0 {
		wrong = append(wrong, "  it never changed")
	}
	return wrong
}

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// show writes a transition for people.
func show(tr *schemas.Transition, start time.Time) string {
	at := duration(tr.Time - start.UnixNano())
	s := fmt.Sprintf("%-8s %s → %s, n %d", at, tr.From, tr.To, tr.N)
	if tr.Value != nil {
		s += fmt.Sprintf(", value %.6g", *tr.Value)
	}
	if tr.Why != "" {
		s += " (" + tr.Why + ")"
	}
	return s
}

// compare sets the exact list of changes beside the one that was.
func compare(want []change, got []schemas.Transition, start time.Time) []string {
	line := func(at duration, alert string, to schemas.State) string {
		name, labels := split(alert)
		names, values := make([]string, len(labels)), make([]string, len(labels))
		for i, l := range labels {
			names[i], values[i] = l.Name, l.Value
		}
		return fmt.Sprintf("%-8s %s{%s} → %s", at, name, schemas.GroupOf(names, values), to)
	}
	var a, b []string
	for _, c := range want {
		a = append(a, line(c.At, c.Alert, c.To))
	}
	for _, tr := range got {
		b = append(b, line(duration(tr.Time-start.UnixNano()), tr.Alert, tr.To))
	}
	if slices.Equal(a, b) {
		return nil
	}
	return []string{"transitions (- expected, + actual):\n" + strings.Join(diff(a, b), "\n")}
}

// diff is the shortest edit from a to b by whole lines (longest common
// subsequence).
func diff(a, b []string) []string {
	common := make([][]int, len(a)+1)
	for i := range common {
		common[i] = make([]int, len(b)+1)
	}
	for i, v := range slices.Backward(a) {
		for j := len(b) - 1; j >= 0; j-- {
			common[i][j] = max(common[i+1][j], common[i][j+1])
			if v == b[j] {
				common[i][j] = common[i+1][j+1] + 1
			}
		}
	}
	var out []string
	i, j := 0, 0
	for i < len(a) || j < len(b) {
		switch {
		case i < len(a) && j < len(b) && a[i] == b[j]:
			out = append(out, "  "+a[i])
			i, j = i+1, j+1
		case j == len(b) || i < len(a) && common[i+1][j] >= common[i][j+1]:
			out = append(out, "- "+a[i])
			i++
		default:
			out = append(out, "+ "+b[j])
			j++
		}
	}
	return out
}
