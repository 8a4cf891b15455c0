package archiver

import (
	"context"
	"fmt"
	"time"

	"github.com/dermai/millrace/archive"
	"github.com/dermai/millrace/archive/compact"
	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/pipeline"
	"github.com/dermai/millrace/schemas"
	"github.com/dermai/millrace/stages"
)

// Flushed is what Flush did for a stream.
type Flushed struct {
	Stream string `json:"stream"`
	// Archived is the last sequence that is archived, 0 for none.
	Archived uint64 `json:"archived"`
}

// Flush archives everything that the streams hold now, whatever its age. It may
// run beside archivers: they adopt what it stores, and it what they store. Tick
// frames alone are not stored.
func Flush(ctx context.Context, conn *pipeline.Conn, store archive.Store, each func(Flushed) error) error {
	log := conn.Log()
	defer log.Close()
	control := stages.NewControl(log, time.Now, nil)
	if _, err := control.Read(ctx); err != nil {
		return err
	}
	configs := []archive.Config{{Stream: schemas.StreamControl}, {Stream: schemas.StreamAlerts}}
	for _, class := range schemas.Classes {
		for _, p := range control.Schedule().Partitions(class) {
			floor := control.Schedule().Floor(p)
			configs = append(configs, archive.Config{
				Stream: p.Stream(),
				Floor:  func(context.Context) (int64, error) { return floor, nil },
			})
		}
	}
	for _, c := range configs {
		tip, err := flush(ctx, log, store, c)
		if err != nil {
			return err
		}
		if err := each(Flushed{c.Stream, tip.First - 1}); err != nil {
			return err
		}
	}
	return nil
}

// flush archives one stream up to where it ends now.
func flush(ctx context.Context, log fence.Log, store archive.Store, c archive.Config) (archive.Tip, error) {
	c.NextGeneration, c.Segments = true, compact.Segments(store)
	a, err := archive.NewArchiver(log, store, c)
	if err != nil {
		return archive.Tip{}, err
	}
	info, err := log.Info(ctx, c.Stream)
	if err != nil {
		return archive.Tip{}, fmt.Errorf("archive %s: %w", c.Stream, err)
	}
	for idle := 0; ctx.Err() == nil; {
		next := a.Next()
		busy, err := a.Step(ctx)
		if err != nil {
			return a.Tip(), err
		}
		if idle++; busy || a.Next() != next {
			idle = 0
		}
		// The stream may have lost its last messages: then its end is never read.
		if !busy && a.Next() > info.Last || idle == 3 {
			err := a.Flush(ctx)
			return a.Tip(), err
		}
	}
	return a.Tip(), ctx.Err()
}
