package rules

import (
	"time"

	"github.com/dermai/millrace/schemas"
)

// Rule is one compiled alert rule. It is immutable and may be used by any
// number of goroutines, each with its own Env.
type Rule struct {
	Name  string // alert
	Group string // the group of the file it stands in
	File  string
	Line  int

	Class schemas.Class
	Kinds []schemas.Kind // on

	By         []string // as written: service, attributes.job, ...
	Labels     []string // names of the group's labels, in the order of By: service, job
	Aggregate  Aggregate
	Quantile   float64       // 0 < q < 1, for AggregateQuantile
	Window     time.Duration // > 0
	Fire       Comparison
	Resolve    *Comparison // nil: the condition no longer holds
	MinSamples int64       // 0: 1
	For        time.Duration
	Keep       time.Duration // keep_firing_for
	NoData     NoData
	Cap        int // most groups at once, 0: DefaultCap
	// Expect: fire when a window holds no sample, for each of Keys, and for every
	// group that was seen, when its last sample leaves the window.
	Expect bool
	Keys   []string // groups (see GroupOf), ascending

	Shadow bool // mode: shadow; nobody is told of its alerts

	// Fingerprint hashes everything that changes a fold or a decision; labels,
	// annotations and the mode are not in it.
	Fingerprint string // 16 hex digits

	compiled
}

// Aggregate is what a rule computes over its window.
type Aggregate string

// The aggregates. Expect rules count.
const (
	Count    Aggregate = "count"
	Rate     Aggregate = "rate" // count per second of the window
	Ratio    Aggregate = "ratio"
	Sum      Aggregate = "sum"
	Avg      Aggregate = "avg"
	Min      Aggregate = "min"
	Max      Aggregate = "max"
	LastOf   Aggregate = "last"
	Quantile Aggregate = "quantile" // p50 to p99.9
)

// NoData says what a window with fewer than MinSamples samples means.
type NoData string

// The meanings of too few samples.
const (
	NoDataResolve NoData = "resolve" // does not fire; resolves what fires
	NoDataHold    NoData = "hold"    // changes nothing
	NoDataFire    NoData = "fire"
)

// DefaultCap is how many groups a rule may have at once unless it says more;
// what is above is counted in the group Overflow.
const DefaultCap = 10000

// Overflow is the group of what a rule's cap did not admit.
const Overflow = "~other"

// Comparison is "> 5%" and the like.
type Comparison struct {
	Op    string // > >= < <= == !=
	Value float64
}

// Holds compares.
func (c Comparison) Holds(v float64) bool {
	switch c.Op {
	case ">":
		return v > c.Value
	case ">=":
		return v >= c.Value
	case "<":
		return v < c.Value
	case "<=":
		return v <= c.Value
	case "==":
		return v == c.Value
	}
	return v != c.Value
}

// Sample is what one event gives to one rule.
type Sample struct {
	Group string
	Value float64 // of the aggregate's field; a condition of last is 1 or 0
	Hit   bool    // ratio: the condition held
}
