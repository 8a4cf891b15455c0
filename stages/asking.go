package stages

import (
	"context"
	"time"

	"github.com/dermai/millrace/schemas"
)

// asking knows when to publish a tick frame: just after the tick that is waited
// for has turned on the broker's clock, whose offset from ours it learns from
// what its own tick frames were stamped with.
type asking struct {
	open   map[schemas.Partition]asked // not answered yet
	offset time.Duration               // the broker's clock minus ours, as far as is known
}

// asked is a question for a partition's time.
type asked struct {
	first, last time.Time // published, by our clock
	target      int64     // the arrival to be passed, Unix ns
}

// askPause is the least time between two tick frames into one partition.
const askPause = 100 * time.Millisecond

func (a *asking) reset() { a.open = map[schemas.Partition]asked{} }

// arrived learns from an arrival that answers. One that is later than the tick
// frame's own makes the offset too large, and the next question too early; so a
// smaller offset is believed at once and a larger one by and by.
func (a *asking) arrived(p schemas.Partition, arrival int64) {
	q, ok := a.open[p]
	if !ok || arrival <= q.target {
		return
	}
	delete(a.open, p)
	if seen := time.Unix(0, arrival).Sub(q.first); seen < a.offset {
		a.offset = seen
	} else {
		a.offset += (seen - a.offset) / 8
	}
}

// ask publishes tick frames into the partitions whose time keeps the tick that
// something waits for from being decided, and settles the control log beyond
// it. While nothing waits it writes nothing.
func (m *Evaluate) ask(ctx context.Context) error {
	s := m.control.Schedule()
	t := s.Timing()
	due, waits := m.waits()
	now := m.cfg.Clock()
	target := (due + t.Lateness) * int64(t.Tick)
	late := now.Add(m.asking.offset).Sub(time.Unix(0, target))
	if !waits {
		late = 0
	}
	m.metrics.lag.WithLabelValues(string(m.cfg.Class)).Set(max(late, 0).Seconds())
	if !waits {
		return nil
	}
	// The control log is asked early, so that reducers are not held back, but not
	// before its answer can settle the tick: what waits may wait for a day.
	soon := t.Sec(now.Add(m.asking.offset).UnixNano()) + t.Delay
	if s.Limit() <= due+2 && due+2 < soon {
		if err := m.control.tick(ctx); err != nil {
			return err
		}
	}
	if late <= 0 {
		return nil
	}
	for _, p := range s.Partitions(m.cfg.Class) {
		if opened, _ := s.Opened(p); opened > due {
			continue
		}
		if c, ok := m.chains[p]; ok && c.Arrival > target {
			continue
		}
		q, open := m.asking.open[p]
		if open && now.Sub(q.last) < askPause {
			continue
		}
		if !open {
			q = asked{first: now, target: target}
		}
		q.last = now
		m.asking.open[p] = q
		if err := m.cfg.Ticker.Tick(ctx, p); err != nil {
			return err
		}
		m.metrics.asked.WithLabelValues(string(m.cfg.Class)).Inc()
	}
	return nil
}
