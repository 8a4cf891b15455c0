package rules

import (
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"

	"github.com/dermai/millrace/schemas"
)

// compiled is the part of a rule that only this package looks into.
type compiled struct {
	column      int
	where       *expression // nil: every event of its kinds
	aggregate   *expression // nil: count, rate, expect
	by          []field
	worst       *expression // nil: evidence is in the order of time
	evidence    []field
	labels      map[string]string // alertname, severity and the rule's own
	annotations []annotation      // ascending by name
}

// Bounds of a rule.
const (
	maxWindow   = 31 * 24 * time.Hour
	minWindow   = time.Second // one tick
	maxCap      = 1_000_000
	maxBy       = 8
	maxEvidence = 16 // fields
	maxNotes    = 64 // labels or annotations
)

var (
	percentile = regexp.MustCompile(`^p([0-9]+(?:\.[0-9]+)?)$`)
	comparison = regexp.MustCompile(`^(>=|<=|==|!=|>|<) *([-+]?[0-9.]+(?:[eE][-+]?[0-9]+)?) *(%?)$`)
)

var ruleKeys = []string{
	"alert", "on", "where", "by",
	"count", "rate", "ratio", "sum", "avg", "min", "max", "last",
	"window", "fire", "resolve", "min_samples", "for", "keep_firing_for", "no_data",
	"cap", "labels", "annotations", "expect", "keys", "evidence",
}

// draft is a rule while it is read.
type draft struct {
	*reader
	*Rule
	start   *token.Token // where the rule begins
	entries map[string]entry
}

// rule reads one rule. What it gives is usable only if no fault was noted.
func (r *reader) rule(n ast.Node) *Rule {
	r.alert = ""
	defer func() { r.alert = "" }()
	all := r.mapping(n, "rules")
	if all == nil {
		return nil
	}
	if len(all) == 0 {
		r.fault(n.GetToken(), "rules", "the rule is empty: begin with alert: and a name")
		return nil
	}
	before := len(r.faults)
	d := draft{reader: r, Rule: &Rule{File: r.file}, start: all[0].at, entries: map[string]entry{}}
	d.Line, d.column = d.start.Position.Line, d.start.Position.Column
	for _, e := range all {
		d.entries[e.key] = e
	}
	d.name()
	var aggregates []entry
	for _, e := range all {
		isPercentile := percentile.MatchString(e.key)
		if !slices.Contains(ruleKeys, e.key) && !isPercentile {
			r.fault(e.at, "", "unknown key %q%s", e.key, orOneOf(e.key, append([]string{"p95"}, ruleKeys...)))
		}
		if isPercentile || slices.Contains([]Aggregate{Count, Rate, Ratio, Sum, Avg, Min, Max, LastOf}, Aggregate(e.key)) {
			aggregates = append(aggregates, e)
		}
	}
	d.on()
	d.where = d.condition("where")
	d.groupBy()
	if e, ok := d.entries["expect"]; ok {
		d.expect(e, aggregates)
	} else {
		d.aggregated(aggregates)
	}
	d.For = d.duration("for", 0, maxWindow)
	d.Keep = d.duration("keep_firing_for", 0, maxWindow)
	d.Cap = int(d.integer("cap", maxCap))
	d.labelled()
	d.evidenced()
	d.annotated()
	if len(r.faults) > before {
		return d.Rule
	}
	d.describe()
	d.Fingerprint = d.fingerprint()
	return d.Rule
}

func (d *draft) name() {
	e, ok := d.entries["alert"]
	if !ok {
		d.fault(d.start, "", "the rule has no alert: add alert: and a name")
		return
	}
	name, ok := d.text(e)
	if ok && (!isName(name) || len(name) > 63) {
		d.fault(e.at, "alert", "%q can't be a name: use letters, digits and _, at most 63, as in HighErrorRate", name)
	}
	d.Name, d.alert = name, name
}

func (d *draft) on() {
	e, ok := d.entries["on"]
	if !ok {
		d.fault(d.start, "on", "says which events the rule counts: add on: log, metric or audit")
		return
	}
	items := []ast.Node{e.node}
	if s, ok := e.node.(*ast.SequenceNode); ok {
		items = s.Values
	}
	for _, item := range items {
		name, ok := scalar(item)
		kind := schemas.Kind(name)
		switch {
		case !ok:
			d.fault(item.GetToken(), "on", "want log, metric or audit, not %s", describeNode(item))
		case kind.Class() == "":
			d.fault(item.GetToken(), "on", "%q is not a kind of event: log, metric and audit are", name)
		case slices.Contains(d.Kinds, kind):
			d.fault(item.GetToken(), "on", "%s stands there twice: remove one", kind)
		case d.Class != "" && d.Class != kind.Class():
			d.fault(item.GetToken(), "on", "audit events never mix with logs and metrics: make two rules")
		default:
			d.Class = kind.Class()
			d.Kinds = append(d.Kinds, kind)
		}
	}
	if len(items) == 0 {
		d.fault(e.at, "on", "the list is empty: name log, metric or audit")
	}
	slices.Sort(d.Kinds)
}

// condition reads an expression that is true or false, nil if there is none.
func (d *draft) condition(key string) *expression {
	e, ok := d.entries[key]
	if !ok {
		return nil
	}
	x := d.expression(e.at, e.node, key)
	if x != nil && x.kind != truth && x.kind != anything {
		d.fault(e.at, key, "want a condition, which is true or false: compare with something")
	}
	return x
}

func (d *draft) expression(at *token.Token, n ast.Node, key string) *expression {
	source, ok := scalar(n)
	if !ok || strings.TrimSpace(source) == "" {
		d.fault(at, key, "want an expression, such as attributes.duration_ms, not %s", describeNode(n))
		return nil
	}
	x, err := compile(source)
	if err != nil {
		d.fault(within(n, source, err), key, "%v", err)
		return nil
	}
	return x
}

// within is the place of an expression's mistake, as exactly as the file's
// quoting lets one say.
func within(n ast.Node, source string, err error) *token.Token {
	at := n.GetToken()
	wrong, ok := err.(*exprError)
	if !ok || at == nil || strings.Contains(source, "\n") {
		return at
	}
	i := strings.Index(strings.TrimLeft(at.Origin, " \n"), source)
	if _, isText := n.(*ast.StringNode); !isText || i < 0 {
		return at
	}
	moved, position := *at, *at.Position
	position.Column += i + len([]rune(source[:wrong.offset]))
	moved.Position = &position
	return &moved
}

func (d *draft) groupBy() {
	e, ok := d.entries["by"]
	if !ok {
		return
	}
	items := []ast.Node{e.node}
	if s, ok := e.node.(*ast.SequenceNode); ok {
		items = s.Values
	}
	if len(items) > maxBy {
		d.fault(e.at, "by", "has %d fields, at most %d are allowed: every combination of values is an alert", len(items), maxBy)
	}
	d.by = d.fieldList("by", items)
	for i, f := range d.by {
		label := f.label()
		switch {
		case slices.Contains([]string{"id", "trace_id", "span_id"}, f.own):
			d.fault(items[i].GetToken(), "by", "%s differs in every event, so no two would be counted together: remove it", f)
		case slices.Contains(d.Labels, label):
			d.fault(items[i].GetToken(), "by", "two fields would be called %s: remove one", label)
		case slices.Contains([]string{"alertname", "severity"}, label):
			d.fault(items[i].GetToken(), "by", "%s is a label that every alert has: group by another field", label)
		}
		d.By = append(d.By, f.String())
		d.Labels = append(d.Labels, label)
	}
}

// fieldList reads references; the result has as many as there are items, or
// faults were noted.
func (d *draft) fieldList(key string, items []ast.Node) []field {
	placeholder := field{own: "service"}
	fields := make([]field, len(items))
	for i, item := range items {
		source, ok := scalar(item)
		if !ok {
			d.fault(item.GetToken(), key, "want a field such as service or attributes.job, not %s", describeNode(item))
			fields[i] = placeholder
			continue
		}
		f, err := parseField(source)
		if err != nil {
			d.fault(within(item, source, err), key, "%s: %v", source, err)
			f = placeholder
		}
		fields[i] = f
	}
	return fields
}

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
		d.fault(d.entries["resolve"].at, "resolve", "some values would both fire (%s) and resolve (%s): put resolve on the quiet side of fire", d.text0("fire"), d.text0("resolve"))
	}
}

// text0 is the text of a field that was read already.
func (d *draft) text0(key string) string {
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

// expect reads a rule that fires when something did not happen.
func (d *draft) expect(e entry, aggregates []entry) {
	d.Expect, d.Aggregate, d.NoData = true, Count, NoDataResolve
	for _, a := range aggregates {
		d.fault(a.at, a.key, "a rule with expect counts what it expects: remove it, or make two rules")
	}
	for _, key := range []string{"window", "fire", "resolve", "min_samples", "no_data"} {
		if other, ok := d.entries[key]; ok {
			d.fault(other.at, key, "has no meaning in a rule with expect: remove it")
		}
	}
	s, ok := d.text(e)
	if !ok {
		return
	}
	every, ok := strings.CutPrefix(s, "every ")
	if !ok {
		d.fault(e.at, "expect", "%q says no interval: write expect: every 25h", s)
		return
	}
	d.Window = d.parseDuration(e, every, minWindow, maxWindow)
	d.Fire = Comparison{Op: "<", Value: 1}
	d.keys()
}

func (d *draft) keys() {
	e, ok := d.entries["keys"]
	if !ok {
		return
	}
	for _, item := range d.list(e) {
		values := make([]string, len(d.Labels))
		given := 0
		for _, k := range d.mapping(item, "keys", d.Labels...) {
			v, _ := d.text(k)
			values[slices.Index(d.Labels, k.key)] = v
			given++
		}
		if given != len(d.Labels) || given == 0 {
			d.fault(item.GetToken(), "keys", "a key names every label of by (%s): add what is missing", strings.Join(d.Labels, ", "))
			continue
		}
		group := schemas.GroupOf(d.Labels, values)
		if slices.Contains(d.Keys, group) {
			d.fault(item.GetToken(), "keys", "the key stands there twice: remove one")
		}
		d.Keys = append(d.Keys, group)
	}
	slices.Sort(d.Keys)
}

func (d *draft) noData() NoData {
	e, ok := d.entries["no_data"]
	if !ok {
		return NoDataResolve
	}
	s, _ := scalar(e.node)
	switch n := NoData(s); n {
	case NoDataResolve, NoDataHold, NoDataFire:
		return n
	}
	d.fault(e.at, "no_data", "%q is not known: write resolve, hold or fire", s)
	return NoDataResolve
}

// integer reads a whole number from 1 to most, 0 if it is not given.
func (d *draft) integer(key string, most int64) int64 {
	e, ok := d.entries[key]
	if !ok {
		return 0
	}
	s, _ := scalar(e.node)
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 1 || n > most {
		d.fault(e.at, key, "want a whole number from 1 to %d, not %q", most, s)
		return 0
	}
	return n
}

func (d *draft) duration(key string, least, most time.Duration) time.Duration {
	e, ok := d.entries[key]
	if !ok {
		return 0
	}
	s, ok := d.text(e)
	if !ok {
		return 0
	}
	return d.parseDuration(e, s, least, most)
}

func (d *draft) parseDuration(e entry, s string, least, most time.Duration) time.Duration {
	v, ok := ParseDuration(s)
	switch {
	case !ok:
		d.fault(e.at, e.key, "%q is not a duration: write 30s, 5m, 25h, 7d or 1h30m", s)
	case v < least || v > most:
		d.fault(e.at, e.key, "%s is out of bounds: write %s to %s", s, FormatDuration(least), FormatDuration(most))
	}
	return v
}
