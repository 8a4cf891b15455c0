package rules

import (
	"regexp"
	"strings"

	"github.com/expr-lang/expr/ast"

	"github.com/dermai/millrace/schemas"
)

// evaluator is a compiled part of an expression.
//
// What is missing, or of a type that the operation does not take, makes the
// operation's result missing, which is neither true nor false. "and" is false
// and "or" is true where one side alone decides it; "not" of missing is
// missing. A condition that is missing at the end does not hold and is counted
// as a mismatch. (This is Kleene's logic, as SQL has it for NULL.)
type evaluator func(*schemas.Event) value

func constant(v value) evaluator { return func(*schemas.Event) value { return v } }

func (c *compiler) unary(n *ast.UnaryNode) (evaluator, error) {
	x, err := c.compile(n.Node)
	if err != nil {
		return nil, err
	}
	switch n.Operator {
	case "not", "!":
		n.Operator = "not" // one canonical form
		return func(e *schemas.Event) value {
			v := x(e)
			if v.kind != truth {
				return value{}
			}
			return value{kind: truth, n: 1 - v.n}
		}, nil
	case "-", "+":
		sign := 1.0
		if n.Operator == "-" {
			sign = -1
		}
		return func(e *schemas.Event) value {
			v := x(e)
			if v.kind != number {
				return value{}
			}
			return numberOf(sign * v.n)
		}, nil
	}
	return nil, c.refuse(n, "the operator %s is not offered", n.Operator)
}

func (c *compiler) binary(n *ast.BinaryNode) (evaluator, error) {
	switch n.Operator {
	case "in":
		return c.in(n)
	case "matches":
		return c.matches(n)
	}
	parts, err := c.all(n.Left, n.Right)
	if err != nil {
		return nil, err
	}
	l, r := parts[0], parts[1]
	switch n.Operator {
	case "and", "&&":
		n.Operator = "and" // one canonical form
		return decides(l, r, 0), nil
	case "or", "||":
		n.Operator = "or"
		return decides(l, r, 1), nil
	case "??":
		return func(e *schemas.Event) value {
			if v := l(e); v.kind != missing && v.kind != null {
				return v
			}
			return r(e)
		}, nil
	case "==", "!=":
		want := n.Operator == "=="
		switch {
		case isNil(n.Right):
			return isNull(l, want), nil
		case isNil(n.Left):
			return isNull(r, want), nil
		}
		if f, s, ok := textIs(n); ok { // by far the commonest, and quicker
			return func(e *schemas.Event) value { return truthOf((f(e) == s) == want) }, nil
		}
		return func(e *schemas.Event) value {
			a, b := l(e), r(e)
			if a.kind != b.kind || a.kind == missing || a.kind == compound {
				return value{}
			}
			return truthOf((a.n == b.n && a.s == b.s) == want)
		}, nil
	case "<":
		return ordered(l, r, func(c int) bool { return c < 0 }), nil
	case "<=":
		return ordered(l, r, func(c int) bool { return c <= 0 }), nil
	case ">":
		return ordered(l, r, func(c int) bool { return c > 0 }), nil
	case ">=":
		return ordered(l, r, func(c int) bool { return c >= 0 }), nil
	case "+":
		return func(e *schemas.Event) value {
			a, b := l(e), r(e)
			switch {
			case a.kind == number && b.kind == number:
				return numberOf(a.n + b.n)
			case a.kind == text && b.kind == text:
				return value{kind: text, s: a.s + b.s}
			}
			return value{}
		}, nil
	case "-":
		return arithmetic(l, r, func(a, b float64) float64 { return a - b }), nil
	case "*":
		return arithmetic(l, r, func(a, b float64) float64 { return a * b }), nil
	case "/":
		return arithmetic(l, r, func(a, b float64) float64 { return a / b }), nil
	case "contains":
		return texts(l, r, strings.Contains), nil
	case "startsWith":
		return texts(l, r, strings.HasPrefix), nil
	case "endsWith":
		return texts(l, r, strings.HasSuffix), nil
	case "..":
		return nil, c.refuse(n, "ranges are not offered: write x >= a and x <= b")
	}
	return nil, c.refuse(n, "the operator %s is not offered", n.Operator)
}

// decides is "and" (by a 0) or "or" (by a 1): a side that has that truth value
// decides alone.
func decides(l, r evaluator, by float64) evaluator {
	return func(e *schemas.Event) value {
		a := l(e)
		if a.kind == truth && a.n == by {
			return a
		}
		b := r(e)
		switch {
		case b.kind == truth && b.n == by:
			return b
		case a.kind != truth || b.kind != truth:
			return value{}
		}
		return b
	}
}

// textIs recognises a comparison of a text of the event's own with a constant.
func textIs(n *ast.BinaryNode) (get func(*schemas.Event) string, constant string, ok bool) {
	l, r := n.Left, n.Right
	if _, ok := l.(*ast.StringNode); ok {
		l, r = r, l
	}
	f, isField := fieldOf(l)
	s, isConstant := r.(*ast.StringNode)
	if !isField || !isConstant || f.text == nil {
		return nil, "", false
	}
	return f.text, s.Value, true
}

func isNil(n ast.Node) bool {
	_, ok := n.(*ast.NilNode)
	return ok
}

func isNull(x evaluator, want bool) evaluator {
	return func(e *schemas.Event) value {
		v := x(e)
		return truthOf((v.kind == missing || v.kind == null) == want)
	}
}

func ordered(l, r evaluator, holds func(int) bool) evaluator {
	return func(e *schemas.Event) value {
		a, b := l(e), r(e)
		switch {
		case a.kind == number && b.kind == number:
			switch {
			case a.n < b.n:
				return truthOf(holds(-1))
			case a.n > b.n:
				return truthOf(holds(1))
			}
			return truthOf(holds(0))
		case a.kind == text && b.kind == text:
			return truthOf(holds(strings.Compare(a.s, b.s)))
		}
		return value{}
	}
}

func arithmetic(l, r evaluator, op func(a, b float64) float64) evaluator {
	return func(e *schemas.Event) value {
		a, b := l(e), r(e)
		if a.kind != number || b.kind != number {
			return value{}
		}
		return numberOf(op(a.n, b.n))
	}
}

func texts(l, r evaluator, op func(a, b string) bool) evaluator {
	return func(e *schemas.Event) value {
		a, b := l(e), r(e)
		if a.kind != text || b.kind != text {
			return value{}
		}
		return truthOf(op(a.s, b.s))
	}
}

func choose(cond, yes, no evaluator) evaluator {
	return func(e *schemas.Event) value {
		v := cond(e)
		switch {
		case v.kind != truth:
			return value{}
		case v.n == 1:
			return yes(e)
		}
		return no(e)
	}
}

// matches takes a constant pattern only: text of an event never becomes code.
func (c *compiler) matches(n *ast.BinaryNode) (evaluator, error) {
	pattern, ok := n.Right.(*ast.StringNode)
	if !ok {
		return nil, c.refuse(n.Right, "the pattern of matches must be a constant text")
	}
	re, err := regexp.Compile(pattern.Value)
	if err != nil {
		return nil, c.refuse(n.Right, "%v", err)
	}
	l, err := c.compile(n.Left)
	if err != nil {
		return nil, err
	}
	return func(e *schemas.Event) value {
		v := l(e)
		if v.kind != text {
			return value{}
		}
		return truthOf(re.MatchString(v.s))
	}, nil
}

// in asks whether a value is among constants, whether it is in a list that the
// event holds, or whether the event has an attribute of that name.
func (c *compiler) in(n *ast.BinaryNode) (evaluator, error) {
	l, err := c.compile(n.Left)
	if err != nil {
		return nil, err
	}
	var list evaluator
	switch right := n.Right.(type) {
	case *ast.ArrayNode:
		items := make([]any, len(right.Nodes))
		for i, item := range right.Nodes {
			switch item := item.(type) {
			case *ast.StringNode:
				items[i] = item.Value
			case *ast.IntegerNode:
				items[i] = float64(item.Value)
			case *ast.FloatNode:
				items[i] = item.Value
			case *ast.BoolNode:
				items[i] = item.Value
			default:
				return nil, c.refuse(item, "the items of a list must be constants")
			}
		}
		list = constant(value{kind: compound, x: items})
	case *ast.IdentifierNode:
		switch right.Value {
		case "attributes":
			list = func(e *schemas.Event) value { return value{kind: compound, x: e.Attributes} }
		case "details":
			list = func(e *schemas.Event) value { return value{kind: compound, x: e.Details} }
		}
	}
	if list == nil {
		if list, err = c.compile(n.Right); err != nil {
			return nil, err
		}
	}
	return func(e *schemas.Event) value {
		v, among := l(e), list(e)
		if v.kind == missing || v.kind == compound || among.kind != compound {
			return value{}
		}
		switch x := among.x.(type) {
		case []any:
			for _, item := range x {
				if i := valueOf(item); i.kind == v.kind && i.n == v.n && i.s == v.s {
					return truthOf(true)
				}
			}
			return truthOf(false)
		case map[string]any:
			if v.kind != text {
				return value{}
			}
			_, ok := x[v.s]
			return truthOf(ok)
		}
		return value{}
	}, nil
}
