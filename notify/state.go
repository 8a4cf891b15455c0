package notify

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/dermai/millrace/schemas"
)

// plannerState is a planner as it is kept. It holds the routes, so that what
// was planned by them can be planned again after they changed.
type plannerState struct {
	Receiver string                  `json:"receiver"`
	Settings settings                `json:"settings"`
	Seq      uint64                  `json:"seq"`
	Clocks   map[schemas.Class]int64 `json:"clocks,omitempty"`
	Groups   []*group                `json:"groups,omitempty"` // by class and name
}

// Checkpoint gives the planner's whole state.
func (p *Planner) Checkpoint() ([]byte, error) {
	groups := slices.SortedFunc(maps.Values(p.groups), func(a, b *group) int {
		return cmp.Or(cmp.Compare(a.Class, b.Class), cmp.Compare(a.Name, b.Name))
	})
	data, err := json.Marshal(plannerState{p.receiver, p.settings, p.seq, p.clocks, groups})
	if err != nil {
		return nil, fmt.Errorf("checkpoint of planner %s: %w", p.receiver, err)
	}
	return data, nil
}

// RestorePlanner makes the planner that Checkpoint was called on, with the
// routes that it had. It goes on after Seq.
func RestorePlanner(data []byte, tick time.Duration) (*Planner, error) {
	var s plannerState
	if err := json.Unmarshal(data, &s); err != nil {
		return nil, fmt.Errorf("restore a planner: %w", err)
	}
	p, err := NewPlanner(s.Receiver, Config{}, tick)
	if err != nil {
		return nil, err
	}
	if err := p.use(s.Settings); err != nil {
		return nil, err
	}
	p.seq = s.Seq
	if s.Clocks != nil {
		p.clocks = s.Clocks
	}
	for _, g := range s.Groups {
		if p.routes[g.Route] == nil {
			return nil, fmt.Errorf("restore the planner of %s: group %s has no route", p.receiver, g.Name)
		}
		if g.Members == nil {
			g.Members = map[string]*member{}
		}
		p.add(g)
	}
	return p, nil
}

// add takes a group with its members.
func (p *Planner) add(g *group) {
	p.groups[string(g.Class)+"|"+g.Name] = g
	for key, m := range g.Members {
		g.count(m, +1)
		p.members[key] = append(p.members[key], g)
	}
}

// Reconfigure changes the routes, and tells whether they did change. Alerts that
// the receiver knows of move to their new groups without a word; those that no
// route brings to it any more are forgotten.
func (p *Planner) Reconfigure(cfg Config) (changed bool, err error) {
	s := settingsOf(p.receiver, cfg)
	s.Silences = p.settings.Silences
	was, err := json.Marshal(p.settings)
	if err != nil {
		return false, fmt.Errorf("routes of %s: %w", p.receiver, err)
	}
	is, err := json.Marshal(s)
	if err != nil {
		return false, fmt.Errorf("routes of %s: %w", p.receiver, err)
	}
	if bytes.Equal(was, is) {
		return false, nil
	}
	old := slices.SortedFunc(maps.Values(p.groups), func(a, b *group) int {
		return cmp.Or(cmp.Compare(a.Class, b.Class), cmp.Compare(a.Name, b.Name))
	})
	if err := p.use(s); err != nil {
		return false, err
	}
	p.groups, p.members = map[string]*group{}, map[string][]*group{}
	for _, g := range old {
		for _, key := range slices.Sorted(maps.Keys(g.Members)) {
			p.move(g, key)
		}
	}
	return true, nil
}

// move puts a member of an old group into its groups by the routes in force.
func (p *Planner) move(from *group, key string) {
	m := from.Members[key]
	labels := labelsOf(&schemas.Transition{Rule: m.Alert.Rule, Labels: m.Alert.Labels})
	for _, r := range p.root.match(labels, nil) {
		if r.receiver != p.receiver {
			continue
		}
		g := p.group(from.Class, r, labels)
		if g.Members[key] == nil {
			moved := *m
			g.Members[key] = &moved
			p.members[key] = append(p.members[key], g)
			g.count(&moved, +1)
		}
		g.Last = max(g.Last, from.Last)
		if m.Told && g.Thread == "" {
			g.Thread = from.Thread
		}
		g.touch(p.clocks[from.Class] + 1)
		if from.Since > 0 && g.Since > 0 {
			g.Since = min(g.Since, from.Since)
		}
	}
}

// Pass moves the planner past a message of ALERTS that is no decision.
func (p *Planner) Pass(seq uint64) { p.seq = seq }
