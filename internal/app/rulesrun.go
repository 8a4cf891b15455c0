package app

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/dermai/millrace/rules"
	"github.com/dermai/millrace/rules/engine"
	"github.com/dermai/millrace/schemas"
)

// rulesRun decides recorded events. Findings: lines that are no events.
type rulesRun struct {
	eventFlags
	Rules  []string `short:"r" placeholder:"FILE" help:"Rule files, as often as needed. Default: those of the configuration, or else the built-in rules."`
	Events []string `arg:"" help:"Files of JSON lines in the order of time, plain or compressed with gzip or zstd; - is standard input."`
}

func (c *rulesRun) Run(ctx context.Context, s *session) error {
	files, err := s.ruleFiles(c.Rules)
	if err != nil {
		return err
	}
	set, err := rules.Parse(files...)
	if err != nil {
		return err
	}
	defaults, err := c.defaults(s)
	if err != nil {
		return err
	}
	refused := 0
	events := s.recorded(ctx, c.Events, defaults, &refused)
	sum, err := engine.Run(set.Source(), s.config.Deployment.Schema(), events, s.printTransition)
	if err != nil {
		return err
	}
	if err := s.out.flush(); err != nil {
		return err
	}
	fmt.Fprintf(s.Stderr, "%s, %s\n", plural(int(sum.Events), "event"), plural(int(sum.Transitions), "transition"))
	for _, name := range slices.Sorted(maps.Keys(sum.TooLate)) {
		fmt.Fprintf(s.Stderr, "%s: %s came after every window that could hold them\n", name, plural(int(sum.TooLate[name]), "event"))
	}
	for _, name := range slices.Sorted(maps.Keys(sum.Mismatched)) {
		fmt.Fprintf(s.Stderr, "%s: for %s a condition was false because an attribute was missing or of another type\n", name, plural(int(sum.Mismatched[name]), "event"))
	}
	if refused > 0 {
		return findingsError(plural(refused, "line") + " refused")
	}
	return nil
}

// printTransition prints a change of an alert's state.
func (s *session) printTransition(t schemas.Transition) error {
	return s.out.print(t, clock(t.Time), t.Alert, string(t.From)+" to "+string(t.To), valueText(t.Value), summary(&t))
}

// valueText is a rule's value as people read it, "" for none.
func valueText(v *float64) string {
	if v == nil {
		return ""
	}
	return strconv.FormatFloat(*v, 'g', 6, 64)
}

// summary says in a few words why an alert changed.
func summary(t *schemas.Transition) string {
	words := cmp.Or(t.Why, t.Annotations["summary"])
	if t.Suspect {
		words = strings.TrimSpace(words + " (suspect: a stream lost messages that might have counted)")
	}
	return words
}
