package notify

import (
	"time"

	"github.com/dermai/millrace/schemas"
)

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

// Wakes are the times at which planners that were held back by silences or mute
// times may have something to tell.
type Wakes struct {
	hold  int64 // ns
	mutes []*mute
}

// Wakes prepares the times of a valid configuration.
func (c Config) Wakes() Wakes {
	w := Wakes{hold: int64(c.LongestHold())}
	c.Route.collect(&w)
	return w
}

func (r Route) collect(w *Wakes) {
	for _, t := range r.MuteTimes {
		if m, err := t.compile(); err == nil {
			w.mutes = append(w.mutes, m)
		}
	}
	for _, child := range r.Routes {
		child.collect(w)
	}
}

// After is the first such time after another, Unix ns: somebody must see to it
// that a tick comes then. ok: there is one.
func (w Wakes) After(silences []schemas.Silence, after int64) (at int64, ok bool) {
	note := func(t int64) {
		if t > after && (!ok || t < at) {
			at, ok = t, true
		}
	}
	for _, s := range silences {
		if s.Starts <= after+w.hold {
			note(s.Ends)
			note(s.Ends + w.hold) // group_interval may not have passed
		}
	}
	for _, m := range w.mutes {
		if until, muted := m.until(time.Unix(0, after)); muted {
			note(until.UnixNano())
			note(until.UnixNano() + w.hold)
		}
	}
	return at, ok
}
