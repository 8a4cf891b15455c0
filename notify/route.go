package notify

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The defaults of a route.
const (
	DefaultGroupWait      = 0 * time.Second
	DefaultGroupInterval  = time.Minute
	DefaultRepeatInterval = 4 * time.Hour
)

// allLabels in group_by stands for every label.
const allLabels = "..."

// route is a route with everything inherited and durations in ticks.
type route struct {
	key      string // the matchers on the way to it; unique in its tree
	receiver string
	matchers []Matcher
	goOn     bool
	all      bool     // group by all labels
	groupBy  []string // otherwise; ascending
	wait     int64
	interval int64
	repeat   int64 // 0: never
	mutes    []*mute
	routes   []*route
}

// compile checks matchers and resolves what is inherited.
func (r Route) compile(tick time.Duration) (*route, error) {
	root := &route{
		all:      true,
		wait:     ticks(DefaultGroupWait, tick),
		interval: ticks(DefaultGroupInterval, tick),
		repeat:   ticks(DefaultRepeatInterval, tick),
	}
	return r.inherit(root, tick, map[string]int{})
}

func (r Route) inherit(from *route, tick time.Duration, seen map[string]int) (*route, error) {
	out := *from
	out.matchers, out.routes, out.goOn = nil, nil, r.Continue
	names := make([]string, len(r.Matchers))
	for i, s := range r.Matchers {
		m, err := ParseMatcher(s)
		if err != nil {
			return nil, fmt.Errorf("matcher: %w", err)
		}
		out.matchers = append(out.matchers, m)
		names[i] = m.String()
	}
	slices.Sort(names)
	out.key = from.key + "/{" + strings.Join(names, ",") + "}"
	if seen[out.key]++; seen[out.key] > 1 {
		out.key += "#" + strconv.Itoa(seen[out.key])
	}
	if r.Receiver != "" {
		out.receiver = r.Receiver
	}
	if r.GroupBy != nil {
		out.all = slices.Contains(r.GroupBy, allLabels)
		out.groupBy = slices.Compact(slices.Sorted(slices.Values(r.GroupBy)))
	}
	for _, d := range []struct {
		given *time.Duration
		ticks *int64
	}{{r.GroupWait, &out.wait}, {r.GroupInterval, &out.interval}, {r.RepeatInterval, &out.repeat}} {
		if d.given != nil {
			*d.ticks = ticks(*d.given, tick)
		}
	}
	if r.MuteTimes != nil {
		out.mutes = nil
	}
	for _, t := range r.MuteTimes {
		m, err := t.compile()
		if err != nil {
			return nil, fmt.Errorf("mute_times: %w", err)
		}
		out.mutes = append(out.mutes, m)
	}
	for _, child := range r.Routes {
		c, err := child.inherit(&out, tick, seen)
		if err != nil {
			return nil, err
		}
		out.routes = append(out.routes, c)
	}
	return &out, nil
}

// ticks rounds up.
func ticks(d, tick time.Duration) int64 { return int64((d + tick - 1) / tick) }

// match appends the routes that take an alert with these labels.
func (r *route) match(labels map[string]string, out []*route) []*route {
	for _, m := range r.matchers {
		if !m.Matches(labels) {
			return out
		}
	}
	before := len(out)
	for _, child := range r.routes {
		n := len(out)
		if out = child.match(labels, out); len(out) > n && !child.goOn {
			break
		}
	}
	if len(out) == before {
		out = append(out, r)
	}
	return out
}

// walk calls f for the route and all below it.
func (r *route) walk(f func(*route)) {
	f(r)
	for _, child := range r.routes {
		child.walk(f)
	}
}

// group gives the labels that an alert is grouped by.
func (r *route) group(labels map[string]string) map[string]string {
	if r.all {
		return labels
	}
	out := make(map[string]string, len(r.groupBy))
	for _, name := range r.groupBy {
		out[name] = labels[name]
	}
	return out
}
