package notify

import "time"

// LongestHold is for how long a planner may hold back a notification after the
// last change, at most: until then somebody must see to it that ticks come.
func (c Config) LongestHold() time.Duration {
	return DefaultGroupWait + max(DefaultGroupInterval, c.Route.longestHold())
}

func (r Route) longestHold() time.Duration {
	var hold time.Duration
	for _, d := range []*time.Duration{r.GroupWait, r.GroupInterval} {
		if d != nil {
			hold += *d
		}
	}
	for _, child := range r.Routes {
		hold = max(hold, child.longestHold())
	}
	return hold
}
