package notify

import "time"

// LongestHold is for how long a planner may hold back a notification after the
// last change, at most: until then somebody must see to it that ticks come,
// since a system without events has none of its own.
func (c Config) LongestHold() time.Duration {
	return c.Route.longestHold(max(DefaultGroupWait, DefaultGroupInterval))
}

// longestHold is the longest wait or interval of the tree, or what is given.
func (r Route) longestHold(hold time.Duration) time.Duration {
	for _, d := range []*time.Duration{r.GroupWait, r.GroupInterval} {
		if d != nil {
			hold = max(hold, *d)
		}
	}
	for _, child := range r.Routes {
		hold = child.longestHold(hold)
	}
	return hold
}
