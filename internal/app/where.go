package app

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/goccy/go-yaml"

	"github.com/dermai/millrace/internal/app/config"
	"github.com/dermai/millrace/rules"
	"github.com/dermai/millrace/schemas"
)

// condition is what where of a rule says: an expression on one event. The zero
// condition always holds. It is not for concurrent use.
type condition struct {
	env   *rules.Env
	rules []*rules.Rule // one for each class in which the expression makes sense
}

// parseWhere compiles an expression by the rules' own compiler. kind, if given,
// is that of the events.
func parseWhere(expression string, kind schemas.Kind) (condition, error) {
	if expression == "" {
		return condition{}, nil
	}
	c := condition{env: rules.NewEnv()}
	var faults error
	for _, kinds := range [][]string{{"log", "metric"}, {"audit"}} {
		if kind != "" && !slices.Contains(kinds, string(kind)) {
			continue
		}
		text, err := yaml.Marshal(map[string]any{"groups": []any{map[string]any{"name": "where", "rules": []any{map[string]any{
			"alert": "Where", "on": kinds, "where": expression, "count": true, "window": "1m", "fire": "> 0",
		}}}}})
		if err != nil {
			return condition{}, fmt.Errorf("where: %w", err)
		}
		set, err := rules.Parse(schemas.RuleFile{Name: "where", Text: string(text)})
		if err != nil {
			faults = err
			continue
		}
		c.rules = append(c.rules, set.Rules...)
	}
	if len(c.rules) > 0 {
		return c, nil
	}
	var said []error
	for _, err := range config.Flatten(faults) {
		if fault, ok := errors.AsType[*rules.Fault](err); ok {
			err = errors.New(fault.Text) // the place is that of a file which nobody wrote
		}
		said = append(said, err)
	}
	return condition{}, fmt.Errorf("where: %w", errors.Join(said...))
}

func (c condition) holds(e *schemas.Event) bool {
	if c.env == nil {
		return true
	}
	c.env.Set(e)
	return slices.ContainsFunc(c.rules, func(r *rules.Rule) bool {
		_, ok, _ := r.Sample(c.env)
		return ok
	})
}

func sortedNames(m map[string]any) []string { return slices.Sorted(maps.Keys(m)) }
