package notify

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
)

// Config says who is told about which alerts.
type Config struct {
	// Route is the root of the tree of routes: it takes every alert that none of
	// its Routes takes. Its Receiver is the default receiver.
	Route Route `yaml:"route"`
	// Receivers are the places that can be told. None: nobody is.
	Receivers []ReceiverConfig `yaml:"receivers"`
}

// Route takes the alerts that all its matchers match. What is not given is
// taken from the route above it.
type Route struct {
	Receiver string   `yaml:"receiver,omitempty" json:"receiver,omitempty"`
	Matchers []string `yaml:"matchers,omitempty" json:"matchers,omitempty"` // see ParseMatcher
	// Continue: the routes after this one get the alert too. Default: the first
	// route that matches takes it.
	Continue bool `yaml:"continue,omitempty" json:"continue,omitempty"`
	// GroupBy names the labels whose values make a group; "..." stands for all.
	// Default: all, so that every alert is a group of its own. An empty list puts
	// everything that the route takes in one group. The rule's name is the label
	// alertname.
	GroupBy LabelNames `yaml:"group_by" json:"group_by"`
	// GroupWait is how long the first notification of a group waits for more
	// alerts. Default: 0.
	GroupWait *time.Duration `yaml:"group_wait,omitempty" json:"group_wait,omitempty"`
	// GroupInterval is the least time between two notifications of a group, if
	// the second is about a change. Default: 1m.
	GroupInterval *time.Duration `yaml:"group_interval,omitempty" json:"group_interval,omitempty"`
	// RepeatInterval is the time after which a group that still fires is told
	// again. 0s: never. Default: 4h.
	RepeatInterval *time.Duration `yaml:"repeat_interval,omitempty" json:"repeat_interval,omitempty"`
	// MuteTimes are times in which nothing is told; what changed is told when they
	// are over, if it still is so.
	MuteTimes []MuteTime `yaml:"mute_times,omitempty" json:"mute_times,omitempty"`
	Routes    []Route    `yaml:"routes,omitempty" json:"routes,omitempty"`
}

// LabelNames are names of labels. None given is another thing than none.
type LabelNames []string

// MarshalYAML keeps the two apart.
func (l LabelNames) MarshalYAML() (any, error) {
	if l == nil {
		return nil, nil
	}
	return []string(l), nil
}

// ReceiverConfig names a receiver and says of what type it is. In YAML the type
// is the key that the options stand under:
//
//   - name: team
//     slack: {webhook_url_file: /run/secrets/slack}
type ReceiverConfig struct {
	// Name is part of subjects and paths: a letter or digit, then up to 62 of
	// letters, digits, - and _.
	Name string
	// SendResolved says whether the receiver is told that alerts ended. Default:
	// true.
	SendResolved *bool
	// MaxPerMinute is how many messages the receiver gets in a minute at most; 0
	// is no limit. Default: DefaultPerMinute.
	MaxPerMinute *int
	Type         string // such as slack
	// Options are the type's own, as YAML. They may hold secrets.
	Options Options
}

// UnmarshalYAML reads a name and the key that is the type.
func (r *ReceiverConfig) UnmarshalYAML(b []byte) error {
	var known struct {
		Name         string `yaml:"name"`
		SendResolved *bool  `yaml:"send_resolved"`
		MaxPerMinute *int   `yaml:"max_per_minute"`
	}
	if err := yaml.Unmarshal(b, &known); err != nil {
		return fmt.Errorf("receiver: %s", withoutSource(err))
	}
	kind, options, err := TypedOptions(b, "name", "send_resolved", "max_per_minute")
	if err != nil {
		return fmt.Errorf("receiver %q: %w", known.Name, err)
	}
	*r = ReceiverConfig{
		Name: known.Name, SendResolved: known.SendResolved, MaxPerMinute: known.MaxPerMinute, Type: kind, Options: options,
	}
	return nil
}

// TypedOptions finds in a YAML mapping the one key that is not among the known
// ones: it is a type, and what stands under it are the type's options. None: "".
func TypedOptions(b []byte, known ...string) (kind string, options Options, err error) {
	var fields map[string]yaml.RawMessage
	if err := yaml.Unmarshal(b, &fields); err != nil {
		return "", Options{}, errors.New(withoutSource(err))
	}
	maps.DeleteFunc(fields, func(key string, _ yaml.RawMessage) bool { return slices.Contains(known, key) })
	types := slices.Sorted(maps.Keys(fields))
	switch len(types) {
	case 0:
		return "", Options{}, nil
	case 1:
		return types[0], NewOptions(fields[types[0]]), nil
	}
	return "", Options{}, fmt.Errorf("%s: it has one type; make one of each", strings.Join(types, ", "))
}

// MarshalYAML writes the receiver without its options.
func (r ReceiverConfig) MarshalYAML() (any, error) {
	out := yaml.MapSlice{{Key: "name", Value: r.Name}}
	if r.SendResolved != nil {
		out = append(out, yaml.MapItem{Key: "send_resolved", Value: *r.SendResolved})
	}
	if r.MaxPerMinute != nil {
		out = append(out, yaml.MapItem{Key: "max_per_minute", Value: *r.MaxPerMinute})
	}
	return append(out, yaml.MapItem{Key: r.Type, Value: r.Options.String()}), nil
}

// PerMinute is how many messages a receiver gets in a minute at most, 0 for no
// limit.
func (c Config) PerMinute(receiver string) int {
	for _, r := range c.Receivers {
		if r.Name == receiver && r.MaxPerMinute != nil {
			return *r.MaxPerMinute
		}
	}
	return DefaultPerMinute
}

// RoutePath is a route as people name it.
type RoutePath struct {
	Path     string   `json:"path"`     // such as route.routes[0]
	Matchers []string `json:"matchers"` // of the route and those above it; the root has none
}

// RoutesTo are the routes that tell a receiver, in the order of the configuration.
func (c Config) RoutesTo(receiver string) []RoutePath {
	return c.Route.to(receiver, "", RoutePath{Path: "route", Matchers: []string{}}, []RoutePath{})
}

func (r Route) to(receiver, inherited string, at RoutePath, out []RoutePath) []RoutePath {
	told := cmp.Or(r.Receiver, inherited)
	if told == receiver {
		out = append(out, at)
	}
	for i, child := range r.Routes {
		out = child.to(receiver, told, RoutePath{
			Path: fmt.Sprintf("%s.routes[%d]", at.Path, i), Matchers: slices.Concat(at.Matchers, child.Matchers),
		}, out)
	}
	return out
}

// receiverName is what may stand in a subject and in a path.
var receiverName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$`)

// Validate joins all faults; each names the field and the mend. Whether the
// types exist and their options are right, the types say.
func (c Config) Validate() error {
	var faults []error
	names := map[string]bool{}
	for i, r := range c.Receivers {
		where := fmt.Sprintf("receivers[%d]", i)
		switch {
		case r.Name == "":
			faults = append(faults, fmt.Errorf("%s.name: missing; give it a name", where))
		case !receiverName.MatchString(r.Name):
			faults = append(faults, fmt.Errorf("%s.name: %q: use a letter or digit, then up to 62 letters, digits, - and _", where, r.Name))
		case names[r.Name]:
			faults = append(faults, fmt.Errorf("%s.name: %q is taken; rename one of the two", where, r.Name))
		}
		if r.Type == "" {
			faults = append(faults, fmt.Errorf("%s: %q has no type; add one, such as slack", where, r.Name))
		}
		if n := r.MaxPerMinute; n != nil && (*n < 0 || *n > maxPerMinute) {
			faults = append(faults, fmt.Errorf("%s.max_per_minute: %d; use 1 to %d, or 0 for no limit", where, *n, maxPerMinute))
		}
		names[r.Name] = true
	}
	if len(c.Receivers) > 0 && c.Route.Receiver == "" {
		faults = append(faults, errors.New("route.receiver: missing; name the receiver of alerts that no other route takes"))
	}
	if len(c.Route.Matchers) > 0 {
		faults = append(faults, errors.New("route.matchers: the root takes every alert; move the matchers to one of its routes"))
	}
	if c.Route.Continue {
		faults = append(faults, errors.New("route.continue: nothing comes after the root; remove it"))
	}
	return errors.Join(append(faults, c.Route.faults("route", names)...)...)
}

func (r Route) faults(where string, receivers map[string]bool) []error {
	var faults []error
	if r.Receiver != "" && !receivers[r.Receiver] {
		faults = append(faults, fmt.Errorf("%s.receiver: there is no receiver %q; add it to receivers", where, r.Receiver))
	}
	for i, m := range r.Matchers {
		if _, err := ParseMatcher(m); err != nil {
			faults = append(faults, fmt.Errorf("%s.matchers[%d]: %w", where, i, err))
		}
	}
	for _, d := range []struct {
		name  string
		value *time.Duration
	}{{"group_wait", r.GroupWait}, {"group_interval", r.GroupInterval}, {"repeat_interval", r.RepeatInterval}} {
		if d.value != nil && *d.value < 0 {
			faults = append(faults, fmt.Errorf("%s.%s: %v is negative; use 0s or more", where, d.name, *d.value))
		}
	}
	for i, t := range r.MuteTimes {
		if _, err := t.compile(); err != nil {
			faults = append(faults, fmt.Errorf("%s.mute_times[%d]: %w", where, i, err))
		}
	}
	for i, child := range r.Routes {
		faults = append(faults, child.faults(fmt.Sprintf("%s.routes[%d]", where, i), receivers)...)
	}
	return faults
}
