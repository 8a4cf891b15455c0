package rules

import (
	"math"
	"regexp"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

var (
	percentile = regexp.MustCompile(`^p([0-9]+(?:\.[0-9]+)?)$`)
	comparison = regexp.MustCompile(`^(>=|<=|==|!=|>|<) *([-+]?[0-9.]+(?:[eE][-+]?[0-9]+)?) *(%?)$`)
)

// aggregated reads what the rule computes and what it makes of the result.
func (d *draft) aggregated(found []entry) {
	d.NoData = d.noData()
	d.MinSamples = d.integer("min_samples", math.MaxInt32)
	if e, ok := d.entries["window"]; ok {
		d.Window = d.duration(e.key, minWindow, maxWindow)
	} else {
		d.fault(d.start, "window", "says how far back the rule looks: add window: 5m or the like")
	}
	if e, ok := d.entries["keys"]; ok {
		d.fault(e.at, "keys", "belongs to expect alone: remove it")
	}
	if len(found) != 1 {
		d.oneAggregate(found)
		return
	}
	e := found[0]
	d.Aggregate = Aggregate(e.key)
	switch d.Aggregate {
	case Count, Rate:
		if s, _ := scalar(e.node); s != "true" && e.node.Type() != ast.NullType {
			d.fault(e.at, e.key, "takes no expression: write %s: true, and what is counted under where", e.key)
		}
	case Ratio:
		d.aggregate = d.condition(e.key)
	case LastOf:
		d.aggregate = d.expression(e.at, e.node, e.key)
		if d.aggregate != nil && (d.aggregate.kind == text || d.aggregate.kind == compound) {
			d.fault(e.at, e.key, "want a number or a condition")
		}
	default:
		d.aggregate = d.expression(e.at, e.node, e.key)
		if d.aggregate != nil && d.aggregate.kind != number && d.aggregate.kind != anything {
			d.fault(e.at, e.key, "want a number, such as attributes.duration_ms")
		}
	}
	if m := percentile.FindStringSubmatch(e.key); m != nil {
		p, _ := strconv.ParseFloat(m[1], 64)
		if p < 50 || p > 99.9 {
			d.fault(e.at, e.key, "percentiles go from p50 to p99.9")
		}
		d.Aggregate, d.Quantile = Quantile, p/100
	}
	d.thresholds()
}

func (d *draft) oneAggregate(found []entry) {
	const all = "count, rate, ratio, sum, avg, min, max, last, p50 to p99.9, or expect"
	if len(found) == 0 {
		d.fault(d.start, "", "the rule computes nothing: add one of %s", all)
		return
	}
	for _, e := range found[1:] {
		d.fault(e.at, e.key, "the rule has %s already: a rule computes one thing, make two rules", found[0].key)
	}
}

func (d *draft) thresholds() {
	fire := d.comparison("fire")
	resolve := d.comparison("resolve")
	_, given := d.entries["fire"]
	switch {
	case fire != nil:
		d.Fire = *fire
	case given: // a fault was noted
	case d.Aggregate == LastOf && d.aggregate != nil && d.aggregate.kind == truth:
		d.Fire = Comparison{Op: "==", Value: 1}
	default:
		d.fault(d.start, "fire", `says when the alert fires: add fire: "> 0" or the like`)
	}
	d.Resolve = resolve
	if fire != nil && resolve != nil && overlap(*fire, *resolve) {
		d.fault(d.entries["resolve"].at, "resolve", "some values would both fire (%s) and resolve (%s): put resolve on the quiet side of fire", d.written("fire"), d.written("resolve"))
	}
}

// written is the text of a field that was read already.
func (d *draft) written(key string) string {
	s, _ := scalar(d.entries[key].node)
	return s
}

// overlap tells whether a number satisfies both comparisons. The borders and
// their neighbours decide it.
func overlap(a, b Comparison) bool {
	for _, v := range []float64{a.Value, b.Value} {
		for _, x := range []float64{math.Nextafter(v, math.Inf(-1)), v, math.Nextafter(v, math.Inf(1))} {
			if a.Holds(x) && b.Holds(x) {
				return true
			}
		}
	}
	return false
}

func (d *draft) comparison(key string) *Comparison {
	e, ok := d.entries[key]
	if !ok {
		return nil
	}
	s, ok := d.text(e)
	if !ok {
		return nil
	}
	m := comparison.FindStringSubmatch(strings.TrimSpace(s))
	if m == nil {
		d.fault(e.at, key, `%q is not a comparison: write "> 5", "<= 0.5" or, for a ratio, "> 5%%"`, s)
		return nil
	}
	v, err := strconv.ParseFloat(m[2], 64)
	if err != nil {
		d.fault(e.at, key, "%q is not a number", m[2])
		return nil
	}
	switch {
	case m[3] == "%" && d.Aggregate != Ratio:
		d.fault(e.at, key, "only a ratio is compared with a percentage: write %s %s", m[1], m[2])
		return nil
	case m[3] == "%":
		v /= 100
	}
	if d.Aggregate == Ratio && (v < 0 || v > 1) {
		d.fault(e.at, key, "a ratio lies between 0 and 1, or 0%% and 100%%: did you mean %s %s%%?", m[1], m[2])
		return nil
	}
	return &Comparison{Op: m[1], Value: v + 0}
}
