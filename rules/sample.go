package rules

import (
	"math"
	"slices"

	"github.com/dermai/millrace/schemas"
)

// Env holds the event that rules look at, and the room they need for it. It is
// reused from event to event and is not for concurrent use.
type Env struct {
	event  *schemas.Event
	labels []string
}

// NewEnv returns an Env without an event; call Set before anything else.
func NewEnv() *Env { return &Env{} }

// Set makes e the event that rules look at. The event must not change while
// they do.
func (env *Env) Set(e *schemas.Event) { env.event = e }

// limit bounds what is a number for a rule: what the fixed-point sums hold.
const limit = 1 << 63

// Sample gives what the event adds to the rule. It is ok when the event is of
// the rule's kinds, where holds, and the aggregate's field is a number n with
// |n| < 2^63. Mismatch tells that a condition did not hold, or a field was no
// such number, only because something is missing or of another type. For a
// ratio, such an event is a sample that did not hit.
func (r *Rule) Sample(env *Env) (s Sample, ok, mismatch bool) {
	e := env.event
	if !slices.Contains(r.Kinds, e.Kind) {
		return Sample{}, false, false
	}
	if r.where != nil {
		if holds, mismatch := r.where.holds(e); !holds {
			return Sample{}, false, mismatch
		}
	}
	switch r.Aggregate {
	case Count, Rate:
		s.Value = 1
	case Ratio:
		s.Hit, mismatch = r.aggregate.holds(e)
	default:
		v := r.aggregate.eval(e)
		isNumber := v.kind == number && math.Abs(v.n) < limit
		if !isNumber && (r.Aggregate != LastOf || v.kind != truth) {
			return Sample{}, false, true
		}
		s.Value = v.n
	}
	s.Group = r.group(env)
	return s, true, mismatch
}
