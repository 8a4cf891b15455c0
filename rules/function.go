package rules

import (
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/expr-lang/expr/ast"

	"github.com/dermai/millrace/internal/suggest"
	"github.com/dermai/millrace/schemas"
)

// function is one that expressions may call. It is a function of its arguments
// alone and returns no more than it was given.
type function struct {
	least, most int // number of arguments
	call        func(args []value) value
}

// functions are those of expr that keep the promise above: without clock,
// randomness, loops and iteration over maps.
func functions() map[string]function {
	return map[string]function{
		"abs":        onNumber(math.Abs),
		"ceil":       onNumber(math.Ceil),
		"floor":      onNumber(math.Floor),
		"round":      onNumber(math.Round),
		"min":        {1, maxArguments, func(a []value) value { return extreme(a, func(x, y float64) bool { return x < y }) }},
		"max":        {1, maxArguments, func(a []value) value { return extreme(a, func(x, y float64) bool { return x > y }) }},
		"lower":      onText(strings.ToLower),
		"upper":      onText(strings.ToUpper),
		"trim":       onText(strings.TrimSpace),
		"trimPrefix": onTexts(strings.TrimPrefix),
		"trimSuffix": onTexts(strings.TrimSuffix),
		"len":        {1, 1, func(a []value) value { return length(a[0]) }},
		"float":      {1, 1, func(a []value) value { return toNumber(a[0]) }},
		"string":     {1, 1, func(a []value) value { return toText(a[0]) }},
	}
}

const maxArguments = 16

func functionNames() []string { return slices.Sorted(maps.Keys(functions())) }

func (c *compiler) call(n ast.Node, name string, args []ast.Node) (evaluator, error) {
	fn, ok := functions()[name]
	switch {
	case !ok && isBuiltin(name):
		return nil, c.refuse(n, "%s is not offered: a condition depends on the event alone and takes time linear in it; there are %s", name, strings.Join(functionNames(), ", "))
	case !ok:
		return nil, c.refuse(n, "there is no function %s%s", name, suggest.DidYouMean(name, functionNames()))
	case len(args) < fn.least || len(args) > fn.most:
		return nil, c.refuse(n, "%s takes %s, not %d", name, arity(fn), len(args))
	}
	parts, err := c.all(args...)
	if err != nil {
		return nil, err
	}
	return func(e *schemas.Event) value {
		args := make([]value, len(parts))
		for i, p := range parts {
			args[i] = p(e)
		}
		return fn.call(args)
	}, nil
}

func arity(fn function) string {
	switch {
	case fn.least != fn.most:
		return "1 to " + strconv.Itoa(fn.most) + " arguments"
	case fn.least == 1:
		return "1 argument"
	}
	return strconv.Itoa(fn.least) + " arguments"
}

func onNumber(f func(float64) float64) function {
	return function{1, 1, func(a []value) value {
		if a[0].kind != number {
			return value{}
		}
		return numberOf(f(a[0].n))
	}}
}

func onText(f func(string) string) function {
	return function{1, 1, func(a []value) value {
		if a[0].kind != text {
			return value{}
		}
		return value{kind: text, s: f(a[0].s)}
	}}
}

func onTexts(f func(s, t string) string) function {
	return function{2, 2, func(a []value) value {
		if a[0].kind != text || a[1].kind != text {
			return value{}
		}
		return value{kind: text, s: f(a[0].s, a[1].s)}
	}}
}

func extreme(args []value, better func(x, y float64) bool) value {
	best := args[0]
	for _, a := range args {
		if a.kind != number {
			return value{}
		}
		if better(a.n, best.n) {
			best = a
		}
	}
	return best
}

// length counts characters, items or keys.
func length(v value) value {
	switch x := v.x.(type) {
	case []any:
		return numberOf(float64(len(x)))
	case map[string]any:
		return numberOf(float64(len(x)))
	}
	if v.kind != text {
		return value{}
	}
	return numberOf(float64(utf8.RuneCountInString(v.s)))
}

// toNumber reads a number that a service logged as text.
func toNumber(v value) value {
	if v.kind != text {
		if v.kind != number {
			return value{}
		}
		return v
	}
	n, err := strconv.ParseFloat(v.s, 64)
	if err != nil {
		return value{}
	}
	return numberOf(n)
}

func toText(v value) value {
	switch v.kind {
	case text:
		return v
	case number:
		return value{kind: text, s: formatNumber(v.n)}
	case truth:
		return value{kind: text, s: strconv.FormatBool(v.n == 1)}
	}
	return value{}
}
