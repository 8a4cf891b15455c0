package engine

import (
	"cmp"
	"slices"

	"github.com/dermai/millrace/schemas"
)

// Standing lists the alerts that are not inactive after the last tick decided,
// by instance and group. Of each it gives Alert, Rule, Instance, Group, To,
// Since, Active, Shadow and Labels, as the transition that led there did.
func (d *Decider) Standing() []schemas.Transition {
	var list []schemas.Transition
	for _, w := range d.windows {
		for _, g := range w.groups {
			if g.state == schemas.Inactive {
				continue
			}
			t := schemas.Transition{
				Alert: w.in.Rule.Name + "{" + g.name + "}", Rule: w.in.Rule.Name, Instance: w.in.ID, Group: g.name,
				To: g.state, Since: g.since, Active: g.active, Shadow: w.in.Rule.Shadow,
			}
			w.in.Rule.Describe(&t)
			t.Annotations = nil
			list = append(list, t)
		}
	}
	slices.SortFunc(list, func(a, b schemas.Transition) int {
		return cmp.Or(cmp.Compare(a.Instance, b.Instance), cmp.Compare(a.Group, b.Group))
	})
	return list
}
