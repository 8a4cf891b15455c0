package rules

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/builtin"
	"github.com/expr-lang/expr/checker"
	"github.com/expr-lang/expr/conf"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/parser"
	"github.com/expr-lang/expr/types"

	"github.com/dermai/millrace/internal/suggest"
	"github.com/dermai/millrace/schemas"
)

// Expressions are written in expr-lang/expr, whose parser and type checker read
// them. What they mean for an event is decided here and not by its virtual
// machine, for three reasons: a comparison with something that is missing is
// neither true nor false (so that "not" and "or" do what they say, see
// evaluate.go), an expression takes time linear in the event whatever the event
// is, and no update of a library changes what a stored event counts for.
type expression struct {
	source string // in canonical form
	eval   evaluator
	kind   kind    // of the result; anything where only the event tells
	fields []field // everything it reads, in the order of the text
	alone  *field  // set where the expression is a field and nothing else
	terms  []Term  // of which each is true where the expression is
}

// Limits of an expression. They keep the time per event small; nobody writes
// conditions of this size by hand.
const (
	maxExpression = 4096 // bytes
	maxNodes      = 200
	maxNesting    = 64 // brackets
)

// exprError is a mistake at a byte offset of an expression.
type exprError struct {
	offset int
	text   string
}

func (e *exprError) Error() string { return e.text }

// compile reads an expression. The error is an *exprError.
func compile(source string) (_ *expression, err error) {
	// The parser is not ours. A bug of it must not stop a processor that reads
	// rules from the control log.
	defer func() {
		if r := recover(); r != nil {
			err = &exprError{text: fmt.Sprintf("is not an expression: %v", r)}
		}
	}()
	if len(source) > maxExpression {
		return nil, &exprError{text: fmt.Sprintf("has %d bytes, at most %d are allowed: make two rules of it", len(source), maxExpression)}
	}
	if nesting(source) > maxNesting {
		return nil, &exprError{text: fmt.Sprintf("has more than %d brackets inside each other: make two rules of it", maxNesting)}
	}
	config := conf.New(vocabulary())
	config.MaxNodes = maxNodes
	tree, err := parser.ParseWithConfig(source, config)
	if err != nil {
		return nil, explain(source, err)
	}
	c := compiler{source: source}
	eval, err := c.compile(tree.Node)
	if err != nil {
		return nil, err
	}
	result, err := checker.Check(tree, config)
	if err != nil {
		return nil, explain(source, err)
	}
	x := &expression{source: tree.Node.String(), eval: eval, kind: kindOf(result), fields: c.fields, terms: termsOf(tree.Node)}
	if f, ok := fieldOf(tree.Node); ok {
		x.alone = &f
	}
	return x, nil
}

// vocabulary is what the type checker knows of an event.
func vocabulary() types.Map {
	v := types.Map{
		"value":   types.Float64,
		"success": types.Bool,
		"details": types.Map{types.Extra: types.Any},
	}
	failure := types.Map{}
	for _, name := range textFields {
		if sub, ok := strings.CutPrefix(name, "error."); ok {
			failure[sub] = types.String
		} else {
			v[name] = types.String
		}
	}
	v["error"] = failure
	attributes := types.Map{types.Extra: types.Any}
	for name, k := range wellKnown {
		attributes[name] = map[kind]types.Type{number: types.Float64, text: types.String, truth: types.Bool}[k]
	}
	v["attributes"] = attributes
	return v
}

func kindOf(t reflect.Type) kind {
	switch t.Kind() {
	case reflect.Bool:
		return truth
	case reflect.String:
		return text
	case reflect.Int, reflect.Float64:
		return number
	case reflect.Interface:
		return anything
	}
	return compound
}

// explain turns an error of the parser or checker into words, with the mend for
// what people get wrong.
func explain(source string, err error) *exprError {
	var at *file.Error
	if !errors.As(err, &at) {
		return &exprError{text: err.Error()}
	}
	offset := 0
	for i := range source { // the location counts runes
		if at.From == 0 {
			offset = i
			break
		}
		at.From--
		offset = len(source)
	}
	msg := at.Message
	switch {
	case strings.Contains(msg, "exceeds maximum allowed nodes"):
		msg = fmt.Sprintf("has more than %d parts: make two rules of it", maxNodes)
	case msg == "unexpected token EOF":
		msg = "the expression ends too soon (in YAML, a # after a space begins a comment: quote the expression)"
	case strings.HasPrefix(msg, `unexpected token Operator("=")`):
		msg = "= does not compare: write =="
	case strings.HasPrefix(msg, "unknown name "):
		name := strings.TrimPrefix(msg, "unknown name ")
		if _, ok := wellKnown[name]; ok {
			msg += ": write attributes." + name
		} else if mean := suggest.DidYouMean(name, topLevel()); mean != "" {
			msg += mean
		} else {
			msg += ": an attribute is written attributes." + name
		}
	case strings.Contains(msg, "mismatched types"):
		msg += ": compare a number with a number and text with text"
	}
	return &exprError{offset: offset, text: msg}
}

// topLevel lists the names that an expression can begin with.
func topLevel() []string {
	names := []string{"attributes", "details", "error", "value", "success"}
	for _, f := range textFields {
		if !strings.Contains(f, ".") {
			names = append(names, f)
		}
	}
	return names
}

// nesting is the greatest number of brackets open at once, those in texts
// counted too.
func nesting(s string) int {
	open, most := 0, 0
	for i := range len(s) {
		switch s[i] {
		case '(', '[', '{':
			open++
			most = max(most, open)
		case ')', ']', '}':
			open = max(0, open-1)
		}
	}
	return most
}

// compiler turns a syntax tree into evaluators and refuses what is not a
// function of one event, or not linear in it.
type compiler struct {
	source string
	fields []field
}

func (c *compiler) refuse(n ast.Node, format string, args ...any) error {
	e := explain(c.source, &file.Error{Location: n.Location()})
	e.text = fmt.Sprintf(format, args...)
	return e
}

func (c *compiler) compile(n ast.Node) (evaluator, error) {
	if f, ok := fieldOf(n); ok {
		c.fields = append(c.fields, f)
		return f.read, nil
	}
	switch n := n.(type) {
	case *ast.NilNode:
		return constant(value{kind: null}), nil
	case *ast.BoolNode:
		return constant(truthOf(n.Value)), nil
	case *ast.IntegerNode:
		return constant(numberOf(float64(n.Value))), nil
	case *ast.FloatNode:
		return constant(numberOf(n.Value)), nil
	case *ast.StringNode:
		return constant(value{kind: text, s: n.Value}), nil
	case *ast.UnaryNode:
		return c.unary(n)
	case *ast.BinaryNode:
		return c.binary(n)
	case *ast.ConditionalNode:
		parts, err := c.all(n.Cond, n.Exp1, n.Exp2)
		if err != nil {
			return nil, err
		}
		return choose(parts[0], parts[1], parts[2]), nil
	case *ast.BuiltinNode:
		return c.call(n, n.Name, n.Arguments)
	case *ast.CallNode:
		if callee, ok := n.Callee.(*ast.IdentifierNode); ok {
			return c.call(n, callee.Value, n.Arguments)
		}
		return nil, c.refuse(n, "an event has no methods: use one of %s", strings.Join(functionNames(), ", "))
	case *ast.ChainNode:
		return c.compile(n.Node)
	case *ast.MemberNode:
		if of, ok := n.Node.(*ast.IdentifierNode); ok && of.Value == "error" {
			return nil, c.refuse(n, "an error has error.type, error.message and error.stack")
		}
		return nil, c.refuse(n, `only an event's fields can be read, by constant names: attributes.job or attributes["job name"]`)
	case *ast.IdentifierNode:
		switch n.Value {
		case "attributes", "details":
			return nil, c.refuse(n, `%s as a whole has no value: name one, as in %s.job, or ask "job" in %s`, n.Value, n.Value, n.Value)
		case "error":
			return nil, c.refuse(n, `error as a whole has no value: use error.type, error.message or error.stack`)
		}
		err := explain(c.source, &file.Error{Location: n.Location(), Message: "unknown name " + n.Value})
		return nil, err
	case *ast.ArrayNode:
		return nil, c.refuse(n, "a list can only stand to the right of in")
	case *ast.MapNode, *ast.PairNode:
		return nil, c.refuse(n, "a condition can't make objects")
	case *ast.SliceNode:
		return nil, c.refuse(n, "a condition can't cut: use startsWith, endsWith, contains or matches")
	case *ast.VariableDeclaratorNode, *ast.SequenceNode:
		return nil, c.refuse(n, "a condition is one expression: join conditions by and")
	case *ast.PredicateNode, *ast.PointerNode:
		return nil, c.refuse(n, `a condition can't loop: ask "x" in attributes.list`)
	}
	return nil, c.refuse(n, "a condition can't hold this")
}

func (c *compiler) all(nodes ...ast.Node) ([]evaluator, error) {
	parts := make([]evaluator, len(nodes))
	for i, n := range nodes {
		var err error
		if parts[i], err = c.compile(n); err != nil {
			return nil, err
		}
	}
	return parts, nil
}

// fieldOf recognises a reference to one value of the event.
func fieldOf(n ast.Node) (field, bool) {
	var keys []string
	for {
		switch m := n.(type) {
		case *ast.ChainNode: // attributes?.a: a missing part makes the whole missing anyway
			n = m.Node
			continue
		case *ast.MemberNode:
			key, ok := m.Property.(*ast.StringNode)
			if !ok || m.Method {
				return field{}, false
			}
			keys = append(keys, key.Value)
			n = m.Node
			continue
		case *ast.IdentifierNode:
			slices.Reverse(keys)
			return fieldNamed(m.Value, keys)
		}
		return field{}, false
	}
}

func fieldNamed(root string, keys []string) (field, bool) {
	switch {
	case root == "attributes" && len(keys) > 0:
		f := field{root: root, keys: keys}
		if len(keys) == 1 {
			f.want = wellKnown[keys[0]]
		}
		return f, true
	case root == "details" && len(keys) > 0:
		return field{root: root, keys: keys}, true
	}
	name := strings.Join(append([]string{root}, keys...), ".")
	switch {
	case slices.Contains(textFields, name):
		return field{own: name, text: ownText(name)}, true
	case name == "value", name == "success":
		return field{own: name}, true
	}
	return field{}, false
}

// parseField reads a reference that stands alone, as in by.
func parseField(source string) (field, error) {
	x, err := compile(source)
	if err != nil {
		return field{}, err
	}
	if x.alone == nil {
		return field{}, errors.New("is not a field: write service, attributes.job and the like")
	}
	return *x.alone, nil
}

// number gives the expression's value for an event as a number, and whether
// it is one.
func (x *expression) number(e *schemas.Event) (float64, bool) {
	v := x.eval(e)
	return v.n, v.kind == number
}

// holds tells whether the expression is true for an event, and whether it is
// neither true nor false because something is missing or of another type.
func (x *expression) holds(e *schemas.Event) (is, mismatch bool) {
	v := x.eval(e)
	if v.kind != truth {
		return false, true
	}
	return v.n == 1, false
}

// isBuiltin tells whether expr has a function that is not offered here.
func isBuiltin(name string) bool {
	return slices.Contains(builtin.Names, name)
}
