package notify

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// Matcher is a condition on one label. A label that an alert does not have is
// empty. The rule's name is the label alertname.
type Matcher struct {
	Label   string
	Negated bool
	Value   string
	pattern *regexp.Regexp // nil: Value is compared as it is
}

var matcherShape = regexp.MustCompile(`^\s*([A-Za-z_][A-Za-z0-9_.]*)\s*(=~|!~|!=|=)\s*(.*?)\s*$`)

// ParseMatcher reads label=value, label!=value, label=~pattern or
// label!~pattern. The value may be quoted as in Go; a pattern (RE2) matches the
// whole label.
func ParseMatcher(s string) (Matcher, error) {
	parts := matcherShape.FindStringSubmatch(s)
	if parts == nil {
		return Matcher{}, fmt.Errorf("%q: write label=value, label!=value, label=~pattern or label!~pattern", s)
	}
	m := Matcher{Label: parts[1], Negated: parts[2][0] == '!', Value: parts[3]}
	if rest, ok := strings.CutPrefix(m.Value, "="); ok {
		return Matcher{}, fmt.Errorf("%q: write %s%s%s, or quote a value that begins with =", s, m.Label, parts[2], rest)
	}
	if strings.HasPrefix(m.Value, `"`) {
		value, err := strconv.Unquote(m.Value)
		if err != nil {
			return Matcher{}, fmt.Errorf("%q: the quoted value does not end, or has an escape that does not exist", s)
		}
		m.Value = value
	}
	if strings.HasSuffix(parts[2], "~") {
		// Compiled alone first: "a)|(b" must not escape from the group.
		if _, err := regexp.Compile(m.Value); err != nil {
			return Matcher{}, fmt.Errorf("%q: %w", s, err)
		}
		pattern, err := regexp.Compile(`^(?s:` + m.Value + `)$`)
		if err != nil {
			return Matcher{}, fmt.Errorf("%q: %w", s, err)
		}
		m.pattern = pattern
	}
	return m, nil
}

// Matches tells whether an alert with these labels meets the condition.
func (m Matcher) Matches(labels map[string]string) bool {
	value := labels[m.Label]
	if m.pattern != nil {
		return m.pattern.MatchString(value) != m.Negated
	}
	return (value == m.Value) != m.Negated
}

// String is the canonical form, which ParseMatcher reads.
func (m Matcher) String() string {
	op := "="
	if m.Negated {
		op = "!"
	}
	switch {
	case m.pattern != nil:
		op += "~"
	case m.Negated:
		op += "="
	}
	return m.Label + op + strconv.Quote(m.Value)
}
