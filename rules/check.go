package rules

import (
	"iter"
	"maps"
	"slices"

	"github.com/dermai/millrace/internal/suggest"
	"github.com/dermai/millrace/schemas"
)

// Usage tells what a rule made of some events.
type Usage struct {
	Alert string `json:"alert"`
	File  string `json:"file"`
	Line  int    `json:"line"`

	Events     int64        `json:"events"`     // of the rule's kinds
	Matched    int64        `json:"matched"`    // of these, where held
	Samples    int64        `json:"samples"`    // of these, the aggregate's field was usable
	Mismatched int64        `json:"mismatched"` // something was missing or of another type
	Fields     []FieldUsage `json:"fields,omitempty"`
}

// FieldUsage tells how often the events of a rule's kinds had an entry of
// attributes or details that the rule reads.
type FieldUsage struct {
	Field    string `json:"field"` // as in a rule: attributes.job
	Present  int64  `json:"present"`
	Mistyped int64  `json:"mistyped"` // of these, not of the well-known type
	// DidYouMean is an entry that did occur, where this one never did.
	DidYouMean string `json:"did_you_mean,omitempty"`
}

// maxNames bounds the names that Check remembers, for events whose names never
// repeat.
const maxNames = 10_000

// Check runs events through every rule and tells, in the order of the set, what
// each saw of them: a rule whose fields never occur can't fire. An event may be
// reused by the iterator for the next.
func Check(set *Set, events iter.Seq[*schemas.Event]) []Usage {
	usages := make([]Usage, len(set.Rules))
	fields := make([][]field, len(set.Rules))
	for i, r := range set.Rules {
		usages[i] = Usage{Alert: r.Name, File: r.File, Line: r.Line}
		fields[i] = r.entries()
		for _, f := range fields[i] {
			usages[i].Fields = append(usages[i].Fields, FieldUsage{Field: f.String()})
		}
	}
	names := map[schemas.Kind]map[string]bool{}
	env := NewEnv()
	for e := range events {
		note(names, e)
		env.Set(e)
		for i, r := range set.Rules {
			if slices.Contains(r.Kinds, e.Kind) {
				usages[i].observe(r, env, fields[i])
			}
		}
	}
	for i, r := range set.Rules {
		usages[i].suggest(r, names)
	}
	return usages
}

// entries lists the attributes and details that a rule reads, each once.
func (r *Rule) entries() []field {
	var all []field
	add := func(fields ...field) {
		for _, f := range fields {
			same := func(g field) bool { return g.String() == f.String() }
			if f.own == "" && !slices.ContainsFunc(all, same) {
				all = append(all, f)
			}
		}
	}
	for _, x := range []*expression{r.where, r.aggregate, r.worst} {
		if x != nil {
			add(x.fields...)
		}
	}
	add(r.by...)
	add(r.evidence...)
	return all
}

func (u *Usage) observe(r *Rule, env *Env, fields []field) {
	u.Events++
	if r.where == nil {
		u.Matched++
	} else if holds, _ := r.where.holds(env.event); holds {
		u.Matched++
	}
	_, ok, mismatch := r.Sample(env)
	if ok {
		u.Samples++
	}
	if mismatch {
		u.Mismatched++
	}
	for i, f := range fields {
		untyped := f
		untyped.want = anything
		switch {
		case untyped.read(env.event).kind == missing:
		case f.read(env.event).kind == missing:
			u.Fields[i].Present++
			u.Fields[i].Mistyped++
		default:
			u.Fields[i].Present++
		}
	}
}

// note remembers the names of an event's entries, per kind.
func note(names map[schemas.Kind]map[string]bool, e *schemas.Event) {
	seen := names[e.Kind]
	if seen == nil {
		seen = map[string]bool{}
		names[e.Kind] = seen
	}
	add := func(root string, entries map[string]any) {
		for name := range entries {
			if len(seen) < maxNames {
				seen[field{root: root, keys: []string{name}}.String()] = true
			}
		}
	}
	add("attributes", e.Attributes)
	add("details", e.Details)
}

func (u *Usage) suggest(r *Rule, names map[schemas.Kind]map[string]bool) {
	var candidates []string
	for _, k := range r.Kinds {
		candidates = slices.AppendSeq(candidates, maps.Keys(names[k]))
	}
	for i, f := range u.Fields {
		if f.Present == 0 {
			u.Fields[i].DidYouMean = suggest.Nearest(f.Field, candidates)
		}
	}
}
