package rules

import (
	"slices"
	"strings"

	"github.com/dermai/millrace/schemas"
)

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
