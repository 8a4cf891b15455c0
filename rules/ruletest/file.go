package ruletest

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"

	"github.com/dermai/millrace/rules"
	"github.com/dermai/millrace/schemas"
)

// file is a test file as it is written.
type file struct {
	RuleFiles []string  `yaml:"rule_files"`
	Start     time.Time `yaml:"start"` // of every test; DefaultStart
	Tests     []test    `yaml:"tests"`
}

// DefaultStart is when the events of a test begin unless its file says start.
var DefaultStart = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

type test struct {
	Name        string        `yaml:"name"`
	Events      []series      `yaml:"events"`
	Expect      []expectation `yaml:"expect"`
	Transitions *[]change     `yaml:"transitions"` // nil: not compared
}

// series is one event, or count events from at on, one every so often.
type series struct {
	At    duration       `yaml:"at"`
	Every duration       `yaml:"every"`
	Count int            `yaml:"count"` // 0: 1
	Event map[string]any `yaml:"event"`
}

// expectation is the state of an alert at a time.
type expectation struct {
	At    duration      `yaml:"at"`
	Alert string        `yaml:"alert"`
	State schemas.State `yaml:"state"`
	// Value and N are those of the alert's last change, where they are given.
	Value  *quantity         `yaml:"value"`
	N      *int64            `yaml:"n"`
	Labels map[string]string `yaml:"labels"` // these, and others
	// Summary is the annotation of that name.
	Summary *string `yaml:"summary"`
}

// change is one entry of the exact list of changes.
type change struct {
	At    duration      `yaml:"at"`
	Alert string        `yaml:"alert"`
	To    schemas.State `yaml:"to"`
}

type duration time.Duration

// UnmarshalYAML reads 30s, 5m or 1h30m.
func (d *duration) UnmarshalYAML(n ast.Node) error {
	s := n.GetToken().Value
	v, ok := rules.ParseDuration(s)
	if !ok {
		return fault(n, "%q is not a duration: write 30s, 5m, 25h, 7d or 1h30m", s)
	}
	*d = duration(v)
	return nil
}

func (d duration) String() string { return rules.FormatDuration(time.Duration(d)) }

// fault is a mistake at a place in the file.
func fault(n ast.Node, format string, args ...any) error {
	return &yaml.SyntaxError{Message: fmt.Sprintf(format, args...), Token: n.GetToken()}
}

// quantity is a number as it was written: it equals what rounds to it.
type quantity struct {
	text     string
	value    float64
	decimals int
	percent  bool
}

// UnmarshalYAML reads 12, 0.5 or 8.25%.
func (q *quantity) UnmarshalYAML(n ast.Node) error {
	q.text = n.GetToken().Value
	digits, percent := strings.CutSuffix(q.text, "%")
	v, err := strconv.ParseFloat(digits, 64)
	if err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
		return fault(n, "%q is not a number: write 12, 0.5 or 8.25%%", q.text)
	}
	_, fraction, _ := strings.Cut(digits, ".")
	q.value, q.decimals, q.percent = v, len(fraction), percent
	return nil
}

func (q *quantity) equals(v *float64) bool {
	return v != nil && math.Abs(q.scaled(*v)-q.value) <= 0.5000001*math.Pow10(-q.decimals)
}

// show writes a value in the same unit.
func (q *quantity) show(v *float64) string {
	if v == nil {
		return "none"
	}
	s := strconv.FormatFloat(q.scaled(*v), 'g', 6, 64)
	if q.percent {
		s += "%"
	}
	return s
}

func (q *quantity) scaled(v float64) float64 {
	if q.percent {
		return v * 100
	}
	return v
}

// parse reads a test file. Its errors name the file, and the line where the
// YAML tells one.
func parse(name, text string) (*file, error) {
	var f file
	if err := yaml.UnmarshalWithOptions([]byte(text), &f, yaml.Strict()); err != nil {
		var at yaml.Error
		if errors.As(err, &at) && at.GetToken() != nil {
			p := at.GetToken().Position
			return nil, fmt.Errorf("%s:%d:%d: %s", name, p.Line, p.Column, at.GetMessage())
		}
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if f.Start.IsZero() {
		f.Start = DefaultStart
	}
	var errs []error
	wrong := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s: %s", name, fmt.Sprintf(format, args...)))
	}
	if len(f.RuleFiles) == 0 {
		wrong("rule_files: name the files whose rules are tested")
	}
	if len(f.Tests) == 0 {
		wrong("tests: there are none")
	}
	for i, t := range f.Tests {
		if t.Name == "" {
			wrong("tests: number %d has no name", i+1)
		}
		if len(t.Expect) == 0 && t.Transitions == nil {
			wrong("test %q: expects nothing: add expect or transitions", t.Name)
		}
		for _, e := range t.Expect {
			if !isState(e.State) {
				wrong("test %q: state %q: write inactive, pending, firing or cooling", t.Name, e.State)
			}
		}
	}
	return &f, errors.Join(errs...)
}

func isState(s schemas.State) bool {
	return slices.Contains([]schemas.State{schemas.Inactive, schemas.Pending, schemas.Firing, schemas.Cooling}, s)
}

// maxEvents bounds the events of one test.
const maxEvents = 1_000_000

// events makes the events of a test, in the order of their times, those of one
// time in the order of the file.
func (t *test) events(start time.Time) ([]schemas.Event, error) {
	var all []schemas.Event
	for i, s := range t.Events {
		count := max(1, s.Count)
		if count > 1 && s.Every <= 0 {
			return nil, fmt.Errorf("events: number %d has a count and no every: say how far apart they are", i+1)
		}
		if len(all)+count > maxEvents {
			return nil, fmt.Errorf("events: more than %d", maxEvents)
		}
		line, err := json.Marshal(s.Event, json.Deterministic(true))
		if err != nil {
			return nil, fmt.Errorf("events: number %d: %w", i+1, err)
		}
		for n := range count {
			e, err := schemas.Decode(line, schemas.Origin{})
			if err != nil {
				return nil, fmt.Errorf("events: number %d: %w", i+1, err)
			}
			if e.Time != 0 {
				return nil, fmt.Errorf("events: number %d has a timestamp: at says when it happens", i+1)
			}
			e.Time = start.Add(time.Duration(s.At) + time.Duration(n)*time.Duration(s.Every)).UnixNano()
			all = append(all, e)
		}
	}
	slices.SortStableFunc(all, func(a, b schemas.Event) int { return cmp.Compare(a.Time, b.Time) })
	return all, nil
}
