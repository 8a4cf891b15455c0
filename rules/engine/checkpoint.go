package engine

import (
	"cmp"
	"container/heap"
	"fmt"
	"io"
	"slices"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/dermai/millrace/schemas"
)

// checkpoint is the whole state of a decider at a tick, as JSON: a permanent
// format, which a Snapshot writes. Two deciders with the same state have the same bytes.
type checkpoint struct {
	Class  schemas.Class `json:"class"`
	Tick   int64         `json:"tick"`
	Groups []groupState  `json:"groups"` // ascending by instance, then group
	Rows   []schemas.Row `json:"rows"`   // not visible yet; ascending by tick, then key
	Losses []loss        `json:"losses,omitempty"`
}

// groupState is a group as its window holds it; it is written and read as a savedGroup.
type groupState struct {
	instance, name string
	standing
	active int64
	mark   *int64 // see savedGroup
	panes  []pane
	shows  exhibits
}

// savedGroup is made for one group after the other: all of them take far more memory
// than what they are made from.
type savedGroup struct {
	Instance string        `json:"in"`
	Group    string        `json:"g,omitzero"`
	State    schemas.State `json:"state"`
	Since    int64         `json:"since,omitzero"`
	Active   int64         `json:"active,omitzero"`
	Mark     *int64        `json:"mark,omitzero"` // tick of its admission under the rule's cap
	Panes    []savedPane   `json:"panes,omitempty"`
}

type savedPane struct {
	End  int64        `json:"e"`
	Fold schemas.Fold `json:"f"`
}

func (s *groupState) saved() savedGroup {
	saved := savedGroup{Instance: s.instance, Group: s.name, State: s.state, Since: s.since, Active: s.active, Mark: s.mark}
	for _, p := range s.panes {
		f := p.fold.unpack(nil)
		f.Evidence = s.shows.of(p.end)
		saved.Panes = append(saved.Panes, savedPane{p.end, f})
	}
	return saved
}

// UnmarshalJSONFrom implements json.UnmarshalerFrom.
func (s *groupState) UnmarshalJSONFrom(from *jsontext.Decoder) error {
	var saved savedGroup
	if err := json.UnmarshalDecode(from, &saved); err != nil {
		return err
	}
	*s = groupState{instance: saved.Instance, name: saved.Group, standing: standing{saved.State, saved.Since}, active: saved.Active, mark: saved.Mark}
	for i := range saved.Panes {
		p := &saved.Panes[i]
		if !slices.IsSortedFunc(p.Fold.Buckets, func(a, b schemas.Bucket) int { return cmp.Compare(a.Index, b.Index) }) {
			return fmt.Errorf("buckets of %s, group %q, are out of order: the checkpoint is damaged", saved.Instance, saved.Group)
		}
		s.panes = append(s.panes, pane{p.End, pack(&p.Fold)})
		s.shows.enter(p.End, p.Fold.Evidence)
	}
	return nil
}

// Restore takes over the state of a checkpoint. The schedule must have settled
// its tick. From there on the decider does what the one that wrote it did; after
// an error it is as it was.
func (d *Decider) Restore(r io.Reader) error {
	if err := d.restore(r); err != nil {
		return fmt.Errorf("restore the checkpoint of %s: %w", d.class, err)
	}
	return nil
}

func (d *Decider) restore(r io.Reader) error {
	var c checkpoint
	if err := json.UnmarshalRead(r, &c); err != nil {
		return err
	}
	if c.Class != d.class {
		return fmt.Errorf("it is one of %s", c.Class)
	}
	if c.Tick >= d.schedule.Limit() {
		return fmt.Errorf("tick %d is not settled below %d: read the control log further first", c.Tick, d.schedule.Limit())
	}
	fresh := &Decider{PartBytes: d.PartBytes, schedule: d.schedule, class: d.class, tick: c.Tick, windows: map[string]*window{}}
	for _, in := range d.schedule.At(c.Tick) {
		if in.Rule.Class == d.class {
			fresh.windows[in.ID] = newWindow(in)
		}
	}
	for _, s := range c.Groups {
		w := fresh.windows[s.instance]
		if w == nil {
			return fmt.Errorf("rule instance %s is not in force at tick %d: the control log is another one", s.instance, c.Tick)
		}
		switch s.state {
		case schemas.Inactive, schemas.Pending, schemas.Firing, schemas.Cooling:
		default:
			return fmt.Errorf("state %q of %s, group %q, is not known: the checkpoint is damaged, or a newer build's", s.state, s.instance, s.name)
		}
		g := w.groups[s.name]
		if g == nil {
			g = w.add(s.name)
		}
		g.standing, g.active = s.standing, s.active
		if s.mark != nil {
			g.marked, g.mark = true, *s.mark
			w.marked++
		}
		g.panes, g.shows = s.panes, s.shows
	}
	for _, w := range fresh.windows {
		for _, g := range w.groups {
			if _, now := fresh.read(g); g.sleep(c.Tick, now) {
				heap.Push(&fresh.wakes, g)
			}
		}
	}
	if err := fresh.Add(c.Rows, nil); err != nil {
		return err
	}
	fresh.losses = c.Losses
	*d = *fresh
	return nil
}
