package rules

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"github.com/dermai/millrace/schemas"
)

// DefaultSeverity is the severity of alerts whose rule names none.
const DefaultSeverity = "warning"

type annotation struct {
	name string
	text template
}

// Describe fills the transition's labels and annotations: what is the same for
// every alert of the rule, what its group says, and the annotations with the
// transition's value and number of samples in them.
func (r *Rule) Describe(t *schemas.Transition) {
	t.Labels = maps.Clone(r.labels)
	maps.Copy(t.Labels, r.groupLabels(t.Group))
	t.Annotations = make(map[string]string, len(r.annotations))
	f := facts{labels: t.Labels, value: t.Value, n: t.N}
	for _, a := range r.annotations {
		t.Annotations[a.name] = a.text.render(f)
	}
}

// labelled reads the labels that all alerts of the rule have.
func (d *draft) labelled() {
	d.labels = map[string]string{"alertname": d.Name, "severity": DefaultSeverity}
	e, ok := d.entries["labels"]
	if !ok {
		return
	}
	for _, l := range d.named(e) {
		v, ok := d.text(l)
		switch {
		case !ok:
		case l.key == "alertname" || slices.Contains(d.Labels, l.key):
			d.fault(l.at, "labels", "%s has its value already, from the alert: choose another name", l.key)
		case strings.Contains(v, "{{"):
			d.fault(l.at, "labels", "a label is the same in every alert: put templates under annotations")
		default:
			d.labels[l.key] = v
		}
	}
}

// named lists a mapping whose keys are names of labels or annotations.
func (d *draft) named(e entry) []entry {
	all := d.mapping(e.node, e.key)
	if len(all) > maxNotes {
		d.fault(e.at, e.key, "has %d entries, at most %d are allowed", len(all), maxNotes)
	}
	return slices.DeleteFunc(all, func(l entry) bool {
		if !isName(l.key) {
			d.fault(l.at, e.key, "%q can't be a name: use letters, digits and _", l.key)
		}
		return !isName(l.key)
	})
}

// annotated reads the annotations.
func (d *draft) annotated() {
	labels := append(slices.Collect(maps.Keys(d.labels)), d.Labels...)
	if e, ok := d.entries["annotations"]; ok {
		for _, a := range d.named(e) {
			source, ok := d.text(a)
			if !ok {
				continue
			}
			t, line, err := parseTemplate(source, labels)
			if err != nil {
				at := a.node.GetToken()
				if _, literal := a.node.(*ast.LiteralNode); literal {
					line++ // the text begins below its | or >
				}
				moved, position := *at, *at.Position
				position.Line += line
				if line > 0 {
					position.Column = 1
				}
				moved.Position = &position
				d.fault(&moved, "annotations", "%s: %v", a.key, err)
				continue
			}
			d.annotations = append(d.annotations, annotation{a.key, t})
		}
	}
}

// describe adds a summary where the rule's author wrote none.
func (d *draft) describe() {
	if !slices.ContainsFunc(d.annotations, func(a annotation) bool { return a.name == "summary" }) {
		d.annotations = append(d.annotations, annotation{"summary", d.summary()})
	}
	slices.SortFunc(d.annotations, func(a, b annotation) int { return strings.Compare(a.name, b.name) })
}

// summary says in a sentence what the rule saw: "HighCPU: avg of cpu is 93 over
// 11m (fires above 80)".
func (d *draft) summary() template {
	window := FormatDuration(d.Window)
	if d.Expect {
		return template{{text: d.Name + ": nothing seen for " + window}}
	}
	subject := string(d.Aggregate)
	if d.Aggregate == Quantile {
		subject = "p" + formatRounded(d.Quantile*100)
	}
	if d.aggregate != nil && d.aggregate.alone != nil {
		subject += " of " + d.aggregate.alone.label()
	}
	format := formatRounded
	if d.Aggregate == Ratio {
		format = formatPercent
	}
	if d.Aggregate == LastOf && d.aggregate.kind == truth {
		return template{{text: fmt.Sprintf("%s: %s within %s", d.Name, d.aggregate.source, window)}}
	}
	return template{
		{text: d.Name + ": " + subject + " is "},
		{what: "$value", format: format},
		{text: fmt.Sprintf(" over %s (fires %s %s)", window, d.Fire.words(), format(d.Fire.Value))},
	}
}

// words is the operator in a sentence.
func (c Comparison) words() string {
	switch c.Op {
	case ">":
		return "above"
	case ">=":
		return "from"
	case "<":
		return "below"
	case "<=":
		return "up to"
	case "==":
		return "at"
	}
	return "at anything but"
}
