package rules

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/expr-lang/expr/ast"

	"github.com/dermai/millrace/schemas"
)

// Condition is an expression that is true or false of an event: what where of a
// rule says. It is immutable and may be used by any number of goroutines.
type Condition struct{ x *expression }

// Term is a comparison of one of an event's own texts with constants.
type Term struct {
	Field string // as it is written: service, level, trace_id, ...
	// Op is ==, !=, <, <=, > or >= with one value, in with any number of them, or
	// startsWith with one.
	Op     string
	Values []string
}

// ConditionError is a mistake in a condition.
type ConditionError struct {
	Column int    // in characters, from 1
	Text   string // what is wrong and how to mend it
}

func (e *ConditionError) Error() string { return fmt.Sprintf("column %d: %s", e.Column, e.Text) }

// ParseCondition reads a condition. The error is a *ConditionError.
func ParseCondition(source string) (*Condition, error) {
	if strings.TrimSpace(source) == "" {
		return nil, &ConditionError{1, `want a condition, such as level == "ERROR"`}
	}
	x, err := compile(source)
	if wrong, ok := err.(*exprError); ok {
		return nil, &ConditionError{utf8.RuneCountInString(source[:wrong.offset]) + 1, wrong.text}
	}
	if err != nil {
		return nil, err
	}
	if x.kind != truth && x.kind != anything {
		return nil, &ConditionError{1, "want a condition, which is true or false: compare with something"}
	}
	return &Condition{x}, nil
}

// Holds tells whether the condition is true of an event.
func (c *Condition) Holds(e *schemas.Event) bool {
	holds, _ := c.x.holds(e)
	return holds
}

// Terms are comparisons that are true of every event of which the condition is:
// what stands in it joined by and. Who looks for events may pass over all of which
// one of them is not true.
func (c *Condition) Terms() []Term { return slices.Clone(c.x.terms) }

// termsOf takes a compiled tree, whose operators are in canonical form.
func termsOf(n ast.Node) []Term {
	b, ok := n.(*ast.BinaryNode)
	switch {
	case !ok:
		return nil
	case b.Operator == "and":
		return append(termsOf(b.Left), termsOf(b.Right)...)
	case b.Operator == "or":
		return either(termsOf(b.Left), termsOf(b.Right))
	}
	if t, ok := termOf(b); ok {
		return []Term{t}
	}
	return nil
}

// either is what holds where one of two sides does, if they ask the same field for
// certain values.
func either(l, r []Term) []Term {
	var out []Term
	for _, a := range l {
		for _, b := range r {
			if a.Field == b.Field && a.among() && b.among() {
				out = append(out, Term{a.Field, "in", slices.Concat(a.Values, b.Values)})
			}
		}
	}
	return out
}

func (t *Term) among() bool { return t.Op == "==" || t.Op == "in" }

// mirrored are the operators by which a comparison can be turned around.
var mirrored = map[string]string{"==": "==", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}

func termOf(n *ast.BinaryNode) (t Term, ok bool) {
	l, r, op := n.Left, n.Right, n.Operator
	if _, constant := l.(*ast.StringNode); constant {
		l, r, op = r, l, mirrored[op]
	}
	f, isField := fieldOf(l)
	if !isField || f.text == nil {
		return t, false
	}
	t = Term{Field: f.own, Op: op}
	switch r := r.(type) {
	case *ast.StringNode:
		t.Values = []string{r.Value}
		_, compares := mirrored[op]
		return t, compares || op == "startsWith"
	case *ast.ArrayNode:
		for _, item := range r.Nodes {
			if s, isText := item.(*ast.StringNode); isText { // others are equal to no text
				t.Values = append(t.Values, s.Value)
			}
		}
		return t, op == "in"
	}
	return t, false
}
