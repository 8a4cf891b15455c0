package notify

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/dermai/millrace/schemas"
)

// silence is a schemas.Silence with its matchers read.
type silence struct {
	matchers     []Matcher
	starts, ends int64
}

// ValidateSilence names the first fault of a silence.
func ValidateSilence(s schemas.Silence) error {
	_, err := compileSilence(s)
	return err
}

func compileSilence(s schemas.Silence) (silence, error) {
	out := silence{starts: s.Starts, ends: s.Ends}
	for _, text := range s.Matchers {
		m, err := ParseMatcher(text)
		if err != nil {
			return out, fmt.Errorf("matcher: %w", err)
		}
		out.matchers = append(out.matchers, m)
	}
	switch {
	case len(s.Matchers) == 0:
		return out, fmt.Errorf("silence %s: it has no matcher, and would silence everything; name a label", s.ID)
	case s.Ends < s.Starts:
		return out, fmt.Errorf("silence %s: it ends before it starts", s.ID)
	}
	return out, nil
}

// Silences tells whether a silence that holds at a time keeps an alert quiet.
// One that cannot be read keeps none.
func Silences(s schemas.Silence, at time.Time, rule string, labels map[string]string) bool {
	compiled, err := compileSilence(s)
	return err == nil && compiled.holds(at.UnixNano()) &&
		compiled.matches(labelsOf(&schemas.Transition{Rule: rule, Labels: labels}))
}

func (s silence) holds(at int64) bool { return s.starts <= at && at < s.ends }

func (s silence) matches(labels map[string]string) bool {
	return !slices.ContainsFunc(s.matchers, func(m Matcher) bool { return !m.Matches(labels) })
}

// Silence replaces the silences in force, and tells whether they did change. It
// holds from the next tick on. Those that are over, or cannot be read, are left
// out.
func (p *Planner) Silence(list []schemas.Silence) (changed bool, err error) {
	now := int64(0)
	for _, class := range schemas.Classes {
		if clock := p.clocks[class]; now == 0 || clock < now {
			now = clock
		}
	}
	list = slices.Clone(list)
	list = slices.DeleteFunc(list, func(s schemas.Silence) bool {
		return s.Ends <= now*int64(p.tick) || ValidateSilence(s) != nil
	})
	slices.SortFunc(list, func(a, b schemas.Silence) int { return cmp.Compare(a.ID, b.ID) })
	if len(list) == 0 && len(p.settings.Silences) == 0 || reflect.DeepEqual(list, p.settings.Silences) {
		return false, nil
	}
	s := p.settings
	s.Silences = list
	if err := p.use(s); err != nil {
		return false, err
	}
	for _, g := range p.groups {
		g.Held = 0
		if g.untold > 0 && g.Since == 0 {
			g.Since = p.clocks[g.Class] + 1
		}
	}
	return true, nil
}

// muting tells of members of a route's groups until which tick nothing is said
// of them, as far as is known at a tick; 0: they are not muted.
func (p *Planner) muting(r *route, tick int64) func(*member) int64 {
	at := tick * int64(p.tick)
	whole := int64(0)
	for _, mute := range r.mutes {
		if until, muted := mute.until(time.Unix(0, at)); muted {
			whole = max(whole, ticks(time.Duration(until.UnixNano()), p.tick))
		}
	}
	var holding []silence
	for _, s := range p.silences {
		if s.holds(at) {
			holding = append(holding, s)
		}
	}
	return func(m *member) int64 {
		until := whole
		if len(holding) == 0 {
			return until
		}
		labels := labelsOf(&schemas.Transition{Rule: m.Alert.Rule, Labels: m.Alert.Labels})
		for _, s := range holding {
			if s.matches(labels) {
				until = max(until, ticks(time.Duration(s.ends), p.tick))
			}
		}
		return until
	}
}
