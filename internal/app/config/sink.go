package config

import (
	"fmt"
	"slices"

	"github.com/goccy/go-yaml"

	"github.com/dermai/millrace/notify"
	"github.com/dermai/millrace/schemas"
)

// Sink is a place that takes events. In YAML its type is the key that the options
// stand under:
//
//   - name: errors
//     kinds: [log]
//     where: level == "ERROR"
//     sentry: {dsn_file: /run/secrets/sentry}
type Sink struct {
	// Name of the sink, and of what the broker remembers for it: a letter or digit,
	// then up to 57 of letters, digits, - and _.
	Name string `yaml:"name"`
	// Kinds and Services of the events. Default: each.
	Kinds    []schemas.Kind `yaml:"kinds,omitempty"`
	Services []string       `yaml:"services,omitempty"`
	// Where is a condition on an event, as that of a rule. Default: none.
	Where string `yaml:"where,omitempty"`

	Type    string         `yaml:"-"` // file, audit_file, sentry
	Options notify.Options `yaml:"-"`
}

// UnmarshalYAML reads what is known and the key that is the type.
func (s *Sink) UnmarshalYAML(b []byte) error {
	type plain Sink
	var known plain
	if err := yaml.Unmarshal(b, &known); err != nil {
		// Without the lines that it is about: they may hold a secret.
		return fmt.Errorf("sink: %s", yaml.FormatError(err, false, false))
	}
	kind, options, err := notify.TypedOptions(b, "name", "kinds", "services", "where")
	if err != nil {
		return fmt.Errorf("sink %q: %w", known.Name, err)
	}
	*s = Sink(known)
	s.Type, s.Options = kind, options
	return nil
}

// MarshalYAML writes the sink without its options.
func (s Sink) MarshalYAML() (any, error) {
	out := yaml.MapSlice{{Key: "name", Value: s.Name}}
	if len(s.Kinds) > 0 {
		out = append(out, yaml.MapItem{Key: "kinds", Value: s.Kinds})
	}
	if len(s.Services) > 0 {
		out = append(out, yaml.MapItem{Key: "services", Value: s.Services})
	}
	if s.Where != "" {
		out = append(out, yaml.MapItem{Key: "where", Value: s.Where})
	}
	return append(out, yaml.MapItem{Key: s.Type, Value: s.Options.String()}), nil
}

// sinkName leaves room for what is put before it.
const sinkName = schemas.TokenBytes - len("sink-")

// sinkFaults gives the faults of all sinks, each with its place and the mend.
func sinkFaults(sinks []Sink, fault func(path, format string, args ...any)) {
	for i, s := range sinks {
		path := fmt.Sprintf("sinks[%d]", i)
		t, err := schemas.Token(s.Name)
		switch {
		case s.Name == "":
			fault(path+".name", "missing; give it a name")
		case err != nil || t != s.Name || len(s.Name) > sinkName:
			fault(path+".name", "%q: use 1 to %d letters, digits, - and _", s.Name, sinkName)
		case slices.ContainsFunc(sinks[:i], func(other Sink) bool { return other.Name == s.Name }):
			fault(path+".name", "%q is taken; rename one of the two", s.Name)
		}
		if s.Type == "" {
			fault(path, "%q has no type; add file, audit_file or sentry", s.Name)
		}
		for _, k := range s.Kinds {
			if k.Class() == "" {
				fault(path+".kinds", "%q: use log, metric or audit", k)
			}
		}
	}
}
