package notify

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/dermai/millrace/schemas"
)

// Planner decides what one receiver is told, and when. It does no I/O and asks
// no clock: the same decisions give the same notifications, however the ticks
// are spread over decisions. It is not safe for concurrent use.
type Planner struct {
	receiver string
	tick     time.Duration
	settings settings
	root     *route
	routes   map[string]*route // those of the receiver, by key
	silences []silence

	seq    uint64 // of ALERTS, fed last
	clocks map[schemas.Class]int64
	groups map[string]*group
	// members finds the groups that hold an alert, by member key.
	members map[string][]*group
}

// settings is what a checkpoint keeps of the configuration, so that what was
// planned by it can be planned again.
type settings struct {
	Route        Route `json:"route"`
	SendResolved bool  `json:"send_resolved"`
	// Silences are those in force that are not over yet, by ID.
	Silences []schemas.Silence `json:"silences,omitempty"`
}

// NewPlanner makes the planner of a receiver. tick is the length of a tick.
func NewPlanner(receiver string, cfg Config, tick time.Duration) (*Planner, error) {
	if !receiverName.MatchString(receiver) {
		return nil, fmt.Errorf("planner: %q is no name of a receiver", receiver)
	}
	if tick <= 0 {
		return nil, fmt.Errorf("planner of %s: tick is %v; take it from the deployment", receiver, tick)
	}
	p := &Planner{
		receiver: receiver, tick: tick,
		clocks: map[schemas.Class]int64{}, groups: map[string]*group{}, members: map[string][]*group{},
	}
	return p, p.use(settingsOf(receiver, cfg))
}

func settingsOf(receiver string, cfg Config) settings {
	s := settings{Route: cfg.Route, SendResolved: true}
	for _, r := range cfg.Receivers {
		if r.Name == receiver && r.SendResolved != nil {
			s.SendResolved = *r.SendResolved
		}
	}
	return s
}

func (p *Planner) use(s settings) error {
	root, err := s.Route.compile(p.tick)
	if err != nil {
		return fmt.Errorf("planner of %s: %w", p.receiver, err)
	}
	silences := make([]silence, len(s.Silences))
	for i := range s.Silences {
		if silences[i], err = compileSilence(s.Silences[i]); err != nil {
			return fmt.Errorf("planner of %s: %w", p.receiver, err)
		}
	}
	p.silences = silences
	p.settings, p.root, p.routes = s, root, map[string]*route{}
	root.walk(func(r *route) {
		if r.receiver == p.receiver {
			p.routes[r.key] = r
		}
	})
	return nil
}

// Seq is the sequence of the last decision that was fed.
func (p *Planner) Seq() uint64 { return p.seq }

// Feed takes the decision with sequence seq of ALERTS and returns what the
// receiver is to be told because of it. Decisions come in the order of ALERTS,
// those of both classes; one without transitions moves the time of its class.
func (p *Planner) Feed(seq uint64, d *schemas.Decision) []schemas.Notification {
	p.seq = seq
	var out []schemas.Notification
	for i := range d.Transitions {
		t := &d.Transitions[i]
		// What is due before the transition was due without it.
		out = p.advance(d.Class, t.Tick-1, out)
		p.apply(d.Class, t)
	}
	upto := d.Tick
	if !d.Done {
		upto-- // more transitions of the tick may follow
	}
	out = p.advance(d.Class, upto, out)
	p.forget(d.Class)
	for i := range out {
		out[i].Covers = seq
	}
	return out
}

// apply notes that an alert began to fire, or ended.
func (p *Planner) apply(class schemas.Class, t *schemas.Transition) {
	if t.Quiet() {
		return
	}
	key := bounded(string(class) + "|" + t.Instance + "|" + t.Group)
	tick := max(t.Tick, p.clocks[class]+1)
	if t.To == schemas.Inactive || t.Shadow { // shadow: its rule went there just now
		for _, g := range slices.Clone(p.members[key]) {
			g.end(key, t, tick)
			if g.Members[key] == nil {
				p.unlink(key, g)
			}
		}
		return
	}
	labels := labelsOf(t)
	for _, r := range p.root.match(labels, nil) {
		if r.receiver != p.receiver {
			continue
		}
		g := p.group(class, r, labels)
		if g.Members[key] == nil {
			p.members[key] = append(p.members[key], g)
		}
		g.fire(key, t, tick, r)
	}
}

// labelsOf is what routes see of an alert.
func labelsOf(t *schemas.Transition) map[string]string {
	labels := make(map[string]string, len(t.Labels)+1)
	maps.Copy(labels, t.Labels)
	labels["alertname"] = t.Rule
	return labels
}

// group finds or makes the group that a route puts labels in.
func (p *Planner) group(class schemas.Class, r *route, labels map[string]string) *group {
	name := groupName(r, labels)
	key := string(class) + "|" + name
	g := p.groups[key]
	if g == nil {
		g = &group{Class: class, Route: r.key, Name: name, Members: map[string]*member{}}
		p.groups[key] = g
	}
	return g
}

func (p *Planner) unlink(key string, g *group) {
	rest := slices.DeleteFunc(p.members[key], func(x *group) bool { return x == g })
	if len(rest) == 0 {
		delete(p.members, key)
		return
	}
	p.members[key] = rest
}

// advance tells what is due up to and including tick upto, tick by tick and in
// the order of the groups' names.
func (p *Planner) advance(class schemas.Class, upto int64, out []schemas.Notification) []schemas.Notification {
	for {
		at, due := p.due(class, upto)
		if len(due) == 0 {
			break
		}
		p.clocks[class] = at
		for _, g := range due {
			n, told := g.flush(at, p.routes[g.Route], p.settings.SendResolved, p.muting(p.routes[g.Route], at))
			for _, key := range g.drop() {
				p.unlink(key, g)
			}
			if told {
				out = append(out, p.complete(n, g, at))
			}
			if !g.believed() {
				g.Thread = ""
			}
		}
	}
	p.clocks[class] = max(p.clocks[class], upto)
	return out
}

// due gives the first tick, not after upto, at which groups of the class are
// due, and those groups.
func (p *Planner) due(class schemas.Class, upto int64) (at int64, groups []*group) {
	at = upto
	next := p.clocks[class] + 1
	for _, g := range p.groups {
		if g.Class != class {
			continue
		}
		due := max(g.due(p.routes[g.Route]), next)
		if due < at {
			at, groups = due, groups[:0]
		}
		if due == at {
			groups = append(groups, g)
		}
	}
	slices.SortFunc(groups, func(a, b *group) int { return cmp.Compare(a.Name, b.Name) })
	return at, groups
}

// complete fills in what a group does not know.
func (p *Planner) complete(n schemas.Notification, g *group, tick int64) schemas.Notification {
	n.Receiver, n.GroupKey, n.Class = p.receiver, g.Name, g.Class
	n.Tick, n.Time = tick, tick*int64(p.tick)
	n.ID = notificationID(n)
	if g.Thread == "" {
		g.Thread = n.ID
	}
	n.Thread = g.Thread
	return n
}

// forget drops the groups that nothing remembers any more. When it is called
// makes no difference to what is told.
func (p *Planner) forget(class schemas.Class) {
	for key, g := range p.groups {
		if g.Class == class && len(g.Members) == 0 && g.rested(p.clocks[class], p.routes[g.Route]) {
			delete(p.groups, key)
		}
	}
}
