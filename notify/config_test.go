package notify_test

import (
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"

	"github.com/dermai/millrace/notify"
)

// TestValidate shows every fault that a configuration can have, each with its
// field and its mend.
func TestValidate(t *testing.T) {
	for _, c := range []struct {
		name, text, want string
	}{
		{"nobody is told", "", ""},
		{"the smallest", "receivers: [{name: team, slack: null}]\nroute: {receiver: team}", ""},
		{"all at once", `
receivers:
- {name: team, slack: {}}
- {name: team, console: {}}
- {name: "a b", console: {}}
- {console: {}}
- {name: nothing}
route:
  matchers: [a=b]
  continue: true
  group_wait: -1s
  routes:
  - receiver: gone
    matchers: [nonsense, 'a=~"("', 'a="x', '=b']
    routes:
    - repeat_interval: -1h
`, `receivers[1].name: "team" is taken; rename one of the two
receivers[2].name: "a b": use a letter or digit, then up to 62 letters, digits, - and _
receivers[3].name: missing; give it a name
receivers[4]: "nothing" has no type; add one, such as slack
route.receiver: missing; name the receiver of alerts that no other route takes
route.matchers: the root takes every alert; move the matchers to one of its routes
route.continue: nothing comes after the root; remove it
route.group_wait: -1s is negative; use 0s or more
route.routes[0].receiver: there is no receiver "gone"; add it to receivers
route.routes[0].matchers[0]: "nonsense": write label=value, label!=value, label=~pattern or label!~pattern
` + "route.routes[0].matchers[1]: \"a=~\\\"(\\\"\": error parsing regexp: missing closing ): `(`" + `
route.routes[0].matchers[2]: "a=\"x": the quoted value does not end, or has an escape that does not exist
route.routes[0].matchers[3]: "=b": write label=value, label!=value, label=~pattern or label!~pattern
route.routes[0].routes[0].repeat_interval: -1h0m0s is negative; use 0s or more`},
	} {
		t.Run(c.name, func(t *testing.T) {
			var cfg notify.Config
			if err := yaml.UnmarshalWithOptions([]byte(c.text), &cfg, yaml.Strict()); err != nil && c.text != "" {
				t.Fatal(err)
			}
			got := ""
			if err := cfg.Validate(); err != nil {
				got = err.Error()
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("faults (-want +got):\n%s", diff)
			}
		})
	}
}

// TestReceiverYAML reads receivers that are written wrongly.
func TestReceiverYAML(t *testing.T) {
	for text, want := range map[string]string{
		"{name: a, slack: {}, console: {}}":                `receiver "a": console, slack: it has one type; make one of each`,
		"{name: [xyzzySECRET], slack: {}}":                 "receiver: [1:8] cannot unmarshal",
		"{name: a, send_resolved: xyzzySECRET, slack: {}}": "receiver: [",
	} {
		var cfg notify.Config
		err := yaml.Unmarshal([]byte("receivers: ["+text+"]"), &cfg)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}

// TestConfigRoundTrip writes a configuration and reads it again: only options
// are lost.
func TestConfigRoundTrip(t *testing.T) {
	text := "receivers: [{name: team, send_resolved: false, console: {}}]\n" +
		"route: {receiver: team, group_by: null, routes: [{matchers: ['a=~\"x|y\"'], continue: true, group_by: [], repeat_interval: 0s}]}"
	want := config(t, text)
	b, err := yaml.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var got notify.Config
	if err := yaml.UnmarshalWithOptions(b, &got, yaml.Strict()); err != nil {
		t.Fatal(err)
	}
	got.Receivers[0].Options = want.Receivers[0].Options
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(notify.Options{})); diff != "" {
		t.Errorf("read again (-want +got):\n%s\n%s", diff, b)
	}
}

func TestMatcher(t *testing.T) {
	labels := map[string]string{"service": "api", "path": "a\nb", "q": `x"y`}
	for text, want := range map[string]bool{
		"service=api": true, "service!=api": false, " service = api ": true, //nolint:gocritic // blanks are meant
		`service="api"`: true, "service=ap": false,
		"service=~ap": false, "service=~ap.*": true, `service=~"web|api"`: true, `service!~"web|api"`: false, "service=~": false,
		"gone=": true, `gone=""`: true, "gone!=x": true, "gone=~.*": true, "gone=~.+": false,
		"path=~a.b": true, `q!="=x"`: true, `q="x\"y"`: true, `q=x"y`: true, "alertname=": true,
	} {
		m, err := notify.ParseMatcher(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		again, err := notify.ParseMatcher(m.String())
		if err != nil || again.String() != m.String() || again.Matches(labels) != m.Matches(labels) {
			t.Errorf("%s is written as %s, which is another: %v", text, m, err)
		}
		if got := m.Matches(labels); got != want {
			t.Errorf("%s matches: %v, want %v", text, got, want)
		}
	}
	for _, text := range []string{"", "a", "=x", "a=~(", "a=~a)|(b", `a="x`, `a="\q"`, "1a=x", "a==x", "a!==x"} {
		if m, err := notify.ParseMatcher(text); err == nil {
			t.Errorf("%q is read as %s", text, m)
		}
	}
}
