package archiver

import (
	"context"
	"time"

	"github.com/dermai/millrace/archive"
	"github.com/dermai/millrace/archive/retain"
	"github.com/dermai/millrace/schemas"
)

// retain deletes what is past its time, now and every day until ctx ends. What
// fails is tried again: nothing waits for it.
func (a *archiver) retain(ctx context.Context) error {
	metrics := retain.NewMetrics(a.Registry)
	workers := map[schemas.Class]*retain.Worker{}
	for class, c := range a.Retention {
		c.Metrics = metrics
		w, err := retain.New(archive.NewView(a.Store, class), c)
		if err != nil {
			return err
		}
		workers[class] = w
	}
	for {
		wait := retainEvery
		for _, class := range schemas.Classes {
			w := workers[class]
			if w == nil {
				continue
			}
			r, err := w.Run(ctx)
			if ctx.Err() != nil {
				return nil //nolint:nilerr // it was told to end
			}
			if err != nil {
				a.Log.Warn().Err(err).Str("class", string(class)).Msg("what is to be deleted waits")
				wait = retainAgain
			}
			if r != (retain.Result{Held: r.Held}) {
				a.Log.Info().Str("class", string(class)).Int("condemned", r.Condemned).Int("removed", r.Removed).
					Int("spared", r.Spared).Int("held", r.Held).Int("objects", r.Objects).Int64("bytes", r.Bytes).Msg("retention")
			}
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
	}
}
