package rules

import (
	"math"
	"slices"
	"strings"

	"github.com/dermai/millrace/schemas"
)

// Lengths of what evidence copies from an event, in runes.
const (
	maxEvidenceText = 120
	maxEvidenceID   = 64
)

// Evidence refers to the event, whose place is o, with the fields that the rule
// lists and no others.
func (r *Rule) Evidence(env *Env, o schemas.Order) schemas.Evidence {
	e := env.event
	ev := schemas.Evidence{Order: o, ID: keep(e.ID, maxEvidenceID), Trace: keep(e.TraceID, maxEvidenceID)}
	ev.Rank = r.Rank(env)
	for _, f := range r.evidence {
		if s := keep(f.shown(e), maxEvidenceText); s != "" {
			if ev.Fields == nil {
				ev.Fields = make(map[string]string, len(r.evidence))
			}
			ev.Fields[f.label()] = s
		}
	}
	return ev
}

// Rank is the Rank of the event's Evidence, without making the rest of it: the
// value of the field that says what is worst, 0 if there is none.
func (r *Rule) Rank(env *Env) float64 {
	if r.worst == nil {
		return 0
	}
	if n, ok := r.worst.number(env.event); ok && math.Abs(n) < limit {
		return n
	}
	return 0
}

// keep is cut with a copy, so that evidence does not hold on to the whole text of
// its event.
func keep(s string, runes int) string { return strings.Clone(cut(s, runes)) }

// footprint bounds the bytes that one event adds to a commit through the rule:
// a group escapes a byte by three, a quote or backslash takes two bytes in JSON,
// and any other rune at most four.
func (r *Rule) footprint() int {
	const row = 512 // keys, numbers and punctuation
	return row + 3*schemas.GroupValueBytes*len(r.by) + 4*(2*maxEvidenceID+maxEvidenceText*len(r.evidence))
}

// evidenced reads what evidence of the rule may show.
func (d *draft) evidenced() {
	e, ok := d.entries["evidence"]
	if !ok {
		return
	}
	for _, part := range d.mapping(e.node, "evidence", "worst", "fields") {
		switch part.key {
		case "worst":
			d.worst = d.expression(part.at, part.node, "evidence")
			if d.worst != nil && d.worst.kind != number && d.worst.kind != anything {
				d.fault(part.at, "evidence", "worst must be a number, such as attributes.duration_ms")
			}
		case "fields":
			items := d.list(part)
			if len(items) > maxEvidence {
				d.fault(part.at, "evidence", "has %d fields, at most %d are allowed", len(items), maxEvidence)
			}
			d.evidence = d.fieldList("evidence", items)
			var names []string
			for i, f := range d.evidence {
				if slices.Contains(names, f.label()) {
					d.fault(items[i].GetToken(), "evidence", "two fields would be called %s: remove one", f.label())
				}
				names = append(names, f.label())
			}
		}
	}
}
