package engine

import (
	"cmp"
	"slices"

	"github.com/dermai/millrace/schemas"
)

// loss is a place where a partition lacks messages, in ticks. The events in them
// may be visible from first on, and happened by last.
type loss struct {
	First int64 `json:"first"` // arrival tick of the message before
	Last  int64 `json:"last"`  // tick that the message behind arrived in
}

// lose takes the losses of a partial. Each begins above the last tick decided, as
// rows do.
func (d *Decider) lose(lost []schemas.Loss) {
	t := d.schedule.timing
	for _, l := range lost {
		at := loss{t.Arrival(l.From), t.Sec(l.To)}
		if i, there := slices.BinarySearchFunc(d.losses, at, compareLosses); !there {
			d.losses = slices.Insert(d.losses, i, at)
		}
	}
}

func compareLosses(a, b loss) int {
	return cmp.Or(cmp.Compare(a.First, b.First), cmp.Compare(a.Last, b.Last))
}

// counts tells whether events of a loss may have been in a window of the instance
// at a tick from one on.
func (d *Decider) counts(l loss, in *Instance, from int64) bool {
	return l.Last-d.schedule.timing.Lateness >= in.Born && from < paneEnd(l.Last, in.Pane)+in.Window
}

// suspect tells whether a window that the group's change at the tick rests on may
// lack lost events: the one at the tick, and those for which it has been pending or
// cooling.
func (d *Decider) suspect(g *group) bool {
	from := d.tick
	switch g.state {
	case schemas.Pending:
		from -= g.window.in.For
	case schemas.Cooling:
		from -= g.window.in.Keep
	}
	return !g.window.gone && slices.ContainsFunc(d.losses, func(l loss) bool {
		return l.First <= d.tick && d.counts(l, g.window.in, from)
	})
}

// settle forgets the losses that no change after the tick can rest on: of the
// instances in force all windows are past them, and later ones begin behind them.
func (d *Decider) settle() {
	d.losses = slices.DeleteFunc(d.losses, func(l loss) bool {
		if l.Last-d.schedule.timing.Lateness > d.tick {
			return false
		}
		for _, w := range d.windows {
			if d.counts(l, w.in, d.tick+1-max(w.in.For, w.in.Keep)) {
				return false
			}
		}
		return true
	})
}
