package app

import (
	"fmt"
	"maps"
	"slices"

	"github.com/dermai/millrace/rules"
	"github.com/dermai/millrace/schemas"
)

// condition is what where of a rule says: an expression on one event. The zero
// condition always holds.
type condition struct{ *rules.Condition }

// parseWhere compiles an expression by the rules' own compiler.
func parseWhere(expression string) (condition, error) {
	if expression == "" {
		return condition{}, nil
	}
	c, err := rules.ParseCondition(expression)
	if err != nil {
		return condition{}, fmt.Errorf("where: %w", err)
	}
	return condition{c}, nil
}

func (c condition) holds(e *schemas.Event) bool { return c.Condition == nil || c.Holds(e) }

func sortedNames(m map[string]any) []string { return slices.Sorted(maps.Keys(m)) }
