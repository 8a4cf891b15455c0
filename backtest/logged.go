package backtest

import (
	"context"
	"fmt"
	"iter"

	"github.com/dermai/millrace/archive"
	"github.com/dermai/millrace/rules/engine"
	"github.com/dermai/millrace/schemas"
)

// logged is what ALERTS says of the time up to a tick, which was decided to its
// end.
type logged struct {
	*engine.Past
	tick int64
}

// past reads what was decided before the range.
func (c *class) past(ctx context.Context) (*logged, error) {
	begin, _ := c.schedule.First()
	past := &logged{engine.NewPast(), begin - 1}
	var parts []schemas.Decision // of a tick that is not decided to its end yet
	for r, err := range c.alerts(ctx) {
		if err != nil {
			return nil, err
		}
		var d schemas.Decision
		if err := schemas.DecodeInto(r.Payload, &d); err != nil {
			return nil, fmt.Errorf("message %d of %s: %w", r.Seq, schemas.StreamAlerts, err)
		}
		if d.Tick >= c.first {
			break
		}
		if parts = append(parts, d); !d.Done {
			continue
		}
		for i := range parts {
			past.Follow(&parts[i])
		}
		past.tick, parts = d.Tick, nil
	}
	return past, nil
}

// alerts are the class's decisions, from the first ever made.
func (c *class) alerts(ctx context.Context) iter.Seq2[*archive.Record, error] {
	return func(yield func(*archive.Record, error) bool) {
		next := uint64(1)
		for r, err := range c.Source.Messages(ctx, schemas.StreamAlerts, 0) {
			if err == nil && r.Seq != next {
				err = fmt.Errorf("%s lacks the messages from %d to %d: begin the range where the deployment begins, or name the rules to be decided by",
					schemas.StreamAlerts, next, r.Seq-1)
			}
			if err != nil {
				yield(nil, err)
				return
			}
			next = r.Seq + 1
			if r.Subject == c.sum.Class.Alerts() && r.Header[schemas.HeaderType] == schemas.TypeDecision && !yield(r, nil) {
				return
			}
		}
	}
}
