package rules

import (
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

var ruleKeys = []string{
	"alert", "on", "where", "by",
	"count", "rate", "ratio", "sum", "avg", "min", "max", "last",
	"window", "fire", "resolve", "min_samples", "for", "keep_firing_for", "no_data",
	"cap", "labels", "annotations", "expect", "keys", "evidence", "mode",
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
	d.mode()
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

func (d *draft) mode() {
	e, ok := d.entries["mode"]
	if !ok {
		return
	}
	switch s, _ := scalar(e.node); s {
	case "live":
	case "shadow":
		d.Shadow = true
	default:
		d.fault(e.at, "mode", "%q is not known: write shadow, so that nobody is told, or live", s)
	}
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
