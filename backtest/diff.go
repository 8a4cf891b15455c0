package backtest

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/dermai/millrace/schemas"
)

// Change is a difference between what two rule sets decide: an alert fires or
// ends under one of them alone, or under both at different times.
type Change struct {
	Kind  string        `json:"change"` // gained, lost, moved
	Time  int64         `json:"time"`   // Unix ns; under the new rules, if it is there
	Alert string        `json:"alert"`
	Rule  string        `json:"rule"`
	To    schemas.State `json:"to"` // firing, inactive
	// By is how much later it is under the new rules; moved only.
	By time.Duration `json:"by_ns,omitzero"`
}

// The kinds of a change.
const (
	Gained = "gained"
	Lost   = "lost"
	Moved  = "moved"
)

// RuleSum is what became of a rule.
type RuleSum struct {
	Rule   string `json:"rule"`
	Old    int    `json:"old"` // times that an alert began to fire or ended
	New    int    `json:"new"`
	Gained int    `json:"gained"`
	Lost   int    `json:"lost"`
	Moved  int    `json:"moved"`
	// OldTold and NewTold are how many of them somebody is told of a day, if each is
	// told by itself; 0 in shadow.
	OldTold float64 `json:"old_told_a_day"`
	NewTold float64 `json:"new_told_a_day"`
}

// Difference is between two rule sets over one range.
type Difference struct {
	Changes  []Change  // by time
	Rules    []RuleSum // by name
	Old, New Summary
}

// Diff decides a range by two rule sets, nil for those that were in force. An
// alert that fires, or ends, at most within apart has moved.
func Diff(ctx context.Context, cfg Config, before, after *schemas.RuleSource, within time.Duration) (*Difference, error) {
	d := &Difference{}
	var runs [2][]schemas.Transition
	for i, rules := range []*schemas.RuleSource{before, after} {
		cfg.Rules = rules
		sum, err := Run(ctx, cfg, func(t schemas.Transition) error {
			if turns(&t) {
				t.Annotations, t.Evidence = nil, nil
				runs[i] = append(runs[i], t)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		if i == 0 {
			d.Old = sum
			cfg.To = cmp.Or(cfg.To, sum.end()+1) // by now the streams may hold more
		} else {
			d.New = sum
		}
	}
	d.compare(runs[0], runs[1], int64(within))
	return d, nil
}

// turns tells that an alert begins to fire, or ends.
func turns(t *schemas.Transition) bool {
	loud := *t
	loud.Shadow = false
	return t.From != t.To && !loud.Quiet()
}

// turn is one alert's firing or ending.
type turn struct {
	rule, alert string
	to          schemas.State
}

func (d *Difference) compare(before, after []schemas.Transition, within int64) {
	sums := map[string]*RuleSum{}
	times := map[turn]*[2][]int64{}
	for i, list := range [][]schemas.Transition{before, after} {
		for _, t := range list {
			s := sums[t.Rule]
			if s == nil {
				s = &RuleSum{Rule: t.Rule}
				sums[t.Rule] = s
			}
			told := 0.0
			if !t.Quiet() {
				told = 1
			}
			if i == 0 {
				s.Old++
				s.OldTold += told
			} else {
				s.New++
				s.NewTold += told
			}
			k := turn{t.Rule, t.Alert, t.To}
			if times[k] == nil {
				times[k] = new([2][]int64)
			}
			times[k][i] = append(times[k][i], t.Time)
		}
	}
	for k, v := range times {
		for _, c := range k.changes(v[0], v[1], within) {
			d.Changes = append(d.Changes, c)
			switch s := sums[k.rule]; c.Kind {
			case Gained:
				s.Gained++
			case Lost:
				s.Lost++
			default:
				s.Moved++
			}
		}
	}
	slices.SortFunc(d.Changes, func(a, b Change) int {
		return cmp.Or(cmp.Compare(a.Time, b.Time), cmp.Compare(a.Alert, b.Alert), cmp.Compare(a.To, b.To), cmp.Compare(a.Kind, b.Kind))
	})
	days := max(d.Old.span(), d.New.span()).Hours() / 24
	for _, s := range sums {
		if days > 0 {
			s.OldTold, s.NewTold = s.OldTold/days, s.NewTold/days
		}
		d.Rules = append(d.Rules, *s)
	}
	slices.SortFunc(d.Rules, func(a, b RuleSum) int { return cmp.Compare(a.Rule, b.Rule) })
}

// changes pairs the times of a turn, which ascend: those that are equal, then
// each with the next that is within reach.
func (k turn) changes(before, after []int64, within int64) (list []Change) {
	change := func(kind string, at, by int64) {
		list = append(list, Change{kind, at, k.alert, k.rule, k.to, time.Duration(by)})
	}
	same := func(in []int64) func(int64) bool {
		return func(t int64) bool { _, ok := slices.BinarySearch(in, t); return ok }
	}
	o, n := slices.DeleteFunc(slices.Clone(before), same(after)), slices.DeleteFunc(slices.Clone(after), same(before))
	for len(o)+len(n) > 0 {
		switch {
		case len(n) == 0 || len(o) > 0 && o[0] < n[0]-within:
			change(Lost, o[0], 0)
			o = o[1:]
		case len(o) == 0 || n[0] < o[0]-within:
			change(Gained, n[0], 0)
			n = n[1:]
		default:
			change(Moved, n[0], n[0]-o[0])
			o, n = o[1:], n[1:]
		}
	}
	return list
}

// end is that of the last tick that was decided, Unix ns.
func (s *Summary) end() (ns int64) {
	for _, c := range s.Classes {
		ns = max(ns, c.To)
	}
	return ns
}

// span is the time that was decided.
func (s *Summary) span() (d time.Duration) {
	for _, c := range s.Classes {
		d = max(d, time.Duration(c.To-c.From))
	}
	return d
}
