// Package rules is the language of alert rules: it reads rule files, checks
// them, and compiles each rule into a function of one event. It does no I/O and
// asks no clock. Package engine below it turns the samples of a rule into
// panes, windows and transitions.
//
// The invariant: a compiled rule is a function of the event alone. The same
// event gives the same sample in every process, for ever.
//
//	set, err := rules.Parse(rules.Default())
//	env := rules.NewEnv()
//	env.Set(&event)
//	for _, r := range set.Rules {
//		if s, ok, _ := r.Sample(env); ok {
//			fmt.Println(r.Name, s.Group, s.Value)
//		}
//	}
//
// The language is told in docs/rules.md. Expressions are expr-lang/expr as far
// as its syntax and types go; what they mean for an event is in evaluate.go.
// Package ruletest beside this one tests rules.
package rules
