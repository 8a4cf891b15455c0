package rules

import (
	_ "embed"

	"github.com/dermai/millrace/schemas"
)

//go:embed default.yaml
var defaultRules string

//go:embed demo.yaml
var demoRules string

// Default is the rule file that a deployment begins with.
func Default() schemas.RuleFile {
	return schemas.RuleFile{Name: "default.yaml", Text: defaultRules}
}

// Demo has the same alerts as Default with windows so short that an alert is
// pending, firing and resolved within a minute.
func Demo() schemas.RuleFile {
	return schemas.RuleFile{Name: "demo.yaml", Text: demoRules}
}
