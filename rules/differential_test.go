package rules_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/expr-lang/expr"

	"github.com/dermai/millrace/rules"
)

// TestAgreesWithExpr: where nothing is missing, a condition is what expr's own
// virtual machine makes of it.
func TestAgreesWithExpr(t *testing.T) {
	e := event()
	variables := map[string]any{
		"kind": "log", "service": e.Service, "message": e.Message, "level": e.Level,
		"attributes": e.Attributes, "details": e.Details, "success": true,
		"error": map[string]any{"type": e.Error.Type, "message": e.Error.Message, "stack": e.Error.Stack},
	}
	env := rules.NewEnv()
	env.Set(e)
	held, failed := 0, 0
	for seed := range uint64(3000) {
		g := generator{rand.New(rand.NewPCG(seed, 1))}
		where := g.truth(4)
		program, err := expr.Compile(where, expr.Env(variables), expr.AsBool())
		if err != nil {
			t.Fatalf("%s: %v", where, err)
		}
		want, err := expr.Run(program, variables)
		if err != nil { // it takes a whole number for an int here and there, and panics
			failed++
			continue
		}
		r := one(t, "alert: A", "on: log", "where: |", "  "+where, "count:", "window: 5m", `fire: "> 1"`)
		_, got, mismatch := r.Sample(env)
		if mismatch || got != want {
			t.Errorf("seed %d: %s: %v (mismatch %v), expr says %v", seed, where, got, mismatch, want)
		}
		if got {
			held++
		}
	}
	if failed > 100 {
		t.Errorf("expr fails on %d of 3000 conditions", failed)
	}
	if held < 500 || held > 2500 {
		t.Errorf("%d of 3000 conditions held: the generator is lopsided", held)
	}
}

// generator makes random expressions that type-check and read nothing that is
// missing.
type generator struct{ *rand.Rand }

func (g generator) pick(of ...string) string { return of[g.IntN(len(of))] }

func (g generator) truth(depth int) string {
	if depth == 0 {
		return g.pick("true", "false", "success", "attributes.healthy", "attributes.yes")
	}
	switch g.IntN(9) {
	case 0:
		return fmt.Sprintf("(%s %s %s)", g.truth(depth-1), g.pick("and", "or", "&&", "||", "==", "!="), g.truth(depth-1))
	case 1:
		return g.pick("not ", "!") + "(" + g.truth(depth-1) + ")"
	case 2, 3:
		return fmt.Sprintf("(%s %s %s)", g.number(depth-1), g.pick("==", "!=", "<", "<=", ">", ">="), g.number(depth-1))
	case 4:
		return fmt.Sprintf("(%s %s %s)", g.text(depth-1), g.pick("==", "!=", "<", "<=", ">", ">=", "contains", "startsWith", "endsWith"), g.text(depth-1))
	case 5:
		return fmt.Sprintf("(%s ? %s : %s)", g.truth(depth-1), g.truth(depth-1), g.truth(depth-1))
	case 6:
		return fmt.Sprintf("(%s %s [%q, %q])", g.text(depth-1), g.pick("in", "not in"), g.pick("api", "GET"), g.pick("log", "text"))
	case 7:
		return fmt.Sprintf("(%s %s [1, 3, 503])", g.pick("attributes.n", "attributes.status_code"), g.pick("in", "not in"))
	}
	return fmt.Sprintf("(%s matches %q)", g.text(depth-1), g.pick("^a", "[a-z]+", "E.*T", "7$"))
}

func (g generator) number(depth int) string {
	if depth <= 0 {
		return g.pick("0", "1", "2.5", "503", "attributes.n", "attributes.status_code", "attributes.duration_ms", "attributes.http.port")
	}
	switch g.IntN(6) {
	case 0:
		return fmt.Sprintf("(%s %s %s)", g.number(depth-1), g.pick("+", "-", "*"), g.number(depth-1))
	case 1:
		return fmt.Sprintf("(%s / %s)", g.number(depth-1), g.pick("2", "attributes.n"))
	case 2:
		return fmt.Sprintf("%s(%s)", g.pick("abs", "ceil", "floor", "round", "-", "float"), g.number(depth-1))
	case 3:
		return fmt.Sprintf("%s(%s, %s)", g.pick("min", "max"), g.number(depth-1), g.number(depth-1))
	case 4:
		return fmt.Sprintf("len(%s)", g.text(depth-1))
	}
	return fmt.Sprintf("(attributes.gone ?? %s)", g.number(depth-1))
}

func (g generator) text(depth int) string {
	if depth <= 0 {
		return g.pick(`"a"`, `""`, "service", "message", "attributes.method", "attributes.s", "error.type", "details.field", "attributes.http.host")
	}
	switch g.IntN(4) {
	case 0:
		return fmt.Sprintf("(%s + %s)", g.text(depth-1), g.text(depth-1))
	case 1:
		return fmt.Sprintf("%s(%s)", g.pick("lower", "upper", "trim", "string"), g.text(depth-1))
	case 2:
		return fmt.Sprintf("%s(%s, %q)", g.pick("trimPrefix", "trimSuffix"), g.text(depth-1), g.pick("a", "i", "GET"))
	}
	return g.text(0)
}
