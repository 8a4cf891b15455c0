package rules

import "github.com/dermai/millrace/schemas"

// group names the group that the event belongs to.
func (r *Rule) group(env *Env) string {
	if len(r.by) == 0 {
		return ""
	}
	env.labels = env.labels[:0]
	for _, f := range r.by {
		env.labels = append(env.labels, f.shown(env.event))
	}
	return schemas.GroupOf(r.Labels, env.labels)
}

// groupLabels gives the labels that a group stands for, as they are shown. What
// the cap did not admit has Overflow in all of them.
func (r *Rule) groupLabels(group string) map[string]string {
	labels := make(map[string]string, len(r.Labels))
	for _, name := range r.Labels {
		labels[name] = ""
		if group == Overflow {
			labels[name] = Overflow
		}
	}
	for _, l := range schemas.ParseGroup(group) {
		labels[l.Name] = cut(l.Value, schemas.GroupValueBytes+9)
	}
	return labels
}
