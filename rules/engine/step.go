package engine

import (
	"github.com/dermai/millrace/rules"
	"github.com/dermai/millrace/schemas"
)

// verdict is what a window says: whether the rule fires, whether a firing alert
// resolves (both may be false, and with thresholds that overlap both true), and
// why, where it is not the condition.
type verdict struct {
	fire, resolve bool
	why           string
}

// judge reads the window of one group at a tick.
func (in *Instance) judge(f *schemas.Fold, v float64, tick int64) verdict {
	r := in.Rule
	switch {
	case in.silent && tick < in.Born+in.Window:
		return verdict{}
	case r.Expect:
		return verdict{fire: f.N == 0, resolve: f.N > 0}
	case f.N < leastSamples(r):
		switch r.NoData {
		case rules.NoDataHold:
			return verdict{why: noData}
		case rules.NoDataFire:
			return verdict{fire: true, why: noData}
		}
		return verdict{resolve: true, why: noData}
	}
	fire := r.Fire.Holds(v)
	if r.Resolve == nil {
		return verdict{fire: fire, resolve: !fire}
	}
	return verdict{fire: fire, resolve: r.Resolve.Holds(v)}
}

// Reasons in transitions.
const (
	noData     = "no data"
	ruleGone   = "rule gone"
	ruleLive   = "rule live" // it came out of shadow
	ruleShadow = "rule shadow"
)

// leastSamples is the number of samples below which a window is no data. Nothing
// counted is a count of 0 and no lack of data, unless the rule asks for samples
// or holds or fires for want of them.
func leastSamples(r *rules.Rule) int64 {
	counts := r.Aggregate == rules.Count || r.Aggregate == rules.Rate
	if counts && r.MinSamples == 0 && r.NoData != rules.NoDataHold && r.NoData != rules.NoDataFire {
		return 0
	}
	return max(1, r.MinSamples)
}

// firesOnSilence tells that a rule may fire on an empty window.
func firesOnSilence(r *rules.Rule) bool {
	return r.Expect || r.NoData == rules.NoDataFire || leastSamples(r) == 0 && r.Fire.Holds(0)
}

// standing is the state of an alert and the tick at which it began.
type standing struct {
	state schemas.State
	since int64
}

// step is the whole state machine: the standing at a tick, after the one
// before. At most one change a tick.
func (in *Instance) step(s standing, v verdict, tick int64) standing {
	switch s.state {
	case schemas.Inactive:
		switch {
		case v.fire && in.For == 0:
			return standing{schemas.Firing, tick}
		case v.fire:
			return standing{schemas.Pending, tick}
		}
	case schemas.Pending:
		switch {
		case !v.fire:
			return standing{schemas.Inactive, tick}
		case tick-s.since >= in.For:
			return standing{schemas.Firing, tick}
		}
	case schemas.Firing:
		switch {
		case v.resolve && in.Keep == 0:
			return standing{schemas.Inactive, tick}
		case v.resolve:
			return standing{schemas.Cooling, tick}
		}
	case schemas.Cooling:
		switch {
		case !v.resolve:
			return standing{schemas.Firing, tick}
		case tick-s.since >= in.Keep:
			return standing{schemas.Inactive, tick}
		}
	}
	return s
}

// deadline is the tick at which the standing changes although the window does
// not, if it does.
func (in *Instance) deadline(s standing) (int64, bool) {
	switch s.state {
	case schemas.Pending:
		return s.since + in.For, true
	case schemas.Cooling:
		return s.since + in.Keep, true
	}
	return 0, false
}
