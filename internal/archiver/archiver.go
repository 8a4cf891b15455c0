// Package archiver runs one archive.Archiver for each stream that is kept: the
// partitions, the audit trail, the alerts and the control log.
//
// The invariant: any number of archivers may run, here or elsewhere, for as long
// or short as they like. The store settles who writes an object, and the chain
// in it is the only position.
package archiver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/dermai/millrace/archive"
	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/internal/app/ops"
	"github.com/dermai/millrace/pipeline"
	"github.com/dermai/millrace/rules"
	"github.com/dermai/millrace/schemas"
	"github.com/dermai/millrace/stages"
)

// Config is what an archiver needs.
type Config struct {
	Conn     *pipeline.Conn
	Store    archive.Store
	CutBytes int64         // see archive.Config
	CutAge   time.Duration // see archive.Config
	Health   *ops.Health
	Registry prometheus.Registerer
	Log      zerolog.Logger
}

// stepLimit is how long a step may take before the process is not ready.
const stepLimit = 30 * time.Second

// Run archives until ctx ends, and then what is in hand (nil), or until a stream
// is not what was archived of it (the error).
func Run(ctx context.Context, c Config) error {
	log := c.Conn.Log()
	defer log.Close()
	control := stages.NewControl(log, time.Now, new(rules.Cache))
	metrics := archive.NewMetrics(c.Registry)
	g, ctx := errgroup.WithContext(ctx)
	known := map[string]bool{}
	for ctx.Err() == nil {
		if _, err := control.Read(ctx); fence.IsIncident(err) {
			return errors.Join(err, g.Wait())
		} else if err != nil {
			c.Log.Warn().Err(err).Msg("read the control log")
		}
		for _, s := range streams(control) {
			if !known[s.name] {
				known[s.name] = true
				g.Go(func() error { return c.keep(ctx, s, metrics) })
			}
		}
		select {
		case <-ctx.Done():
		case <-log.Changed():
		case <-time.After(time.Second):
		}
	}
	return g.Wait()
}

// Flush archives what is there now, and returns how many objects it stored.
func Flush(ctx context.Context, c Config) (objects int, err error) {
	log := c.Conn.Log()
	defer log.Close()
	control := stages.NewControl(log, time.Now, nil)
	if _, err := control.Read(ctx); err != nil {
		return 0, err
	}
	store := &counting{Store: c.Store}
	for _, s := range streams(control) {
		a, log, err := c.open(s, store, nil)
		if err != nil {
			return store.puts, err
		}
		for busy := true; busy && err == nil && ctx.Err() == nil; {
			busy, err = a.Step(ctx)
		}
		err = errors.Join(err, ctx.Err())
		if err == nil {
			err = a.Flush(ctx)
		}
		log.Close()
		if err != nil {
			return store.puts, err
		}
	}
	return store.puts, nil
}

// stream is one that is archived.
type stream struct {
	name      string
	partition *schemas.Partition // nil: not one of events
	floor     int64
}

// streams are those that the control log knows.
func streams(control *stages.Control) []stream {
	list := []stream{{name: schemas.StreamControl}, {name: schemas.StreamAlerts}}
	s := control.Schedule()
	for _, class := range schemas.Classes {
		for _, p := range s.Partitions(class) {
			list = append(list, stream{p.Stream(), &p, s.Floor(p)})
		}
	}
	return list
}

// open prepares the archiver of a stream. The caller closes the log.
func (c Config) open(s stream, store archive.Store, metrics *archive.Metrics) (*archive.Archiver, *pipeline.Log, error) {
	log := c.Conn.Log()
	cfg := archive.Config{
		Stream: s.name, CutBytes: c.CutBytes, CutAge: c.CutAge, Metrics: metrics,
		Log: c.Log.With().Str("stream", s.name).Logger(),
	}
	if s.partition != nil {
		cfg.Floor = func(context.Context) (int64, error) { return s.floor, nil }
		cfg.Trim = &archive.Trim{Trimmer: log, Covered: covered(log, *s.partition), Replay: pipeline.ReplayWindow}
	}
	a, err := archive.NewArchiver(log, store, cfg)
	if err != nil {
		log.Close()
	}
	return a, log, err
}

// covered tells how far the partition's reducer will not read again. The frame
// of its position stays: it is looked at after a restart.
func covered(log fence.Log, p schemas.Partition) func(context.Context) (uint64, error) {
	return func(ctx context.Context) (uint64, error) {
		head, err := log.Head(ctx, p.Partials())
		if err != nil {
			return 0, fence.Missing(err, p.Partials())
		}
		if head.Header[schemas.HeaderType] == schemas.TypeGenesis {
			return 0, nil
		}
		var part schemas.Partial
		if err := schemas.DecodeInto(head.Data, &part); err != nil {
			return 0, fence.Incident(p.Partials(), "message %d: %v", head.Seq, err)
		}
		return max(part.To.Seq, 1) - 1, nil
	}
}

// keep archives one stream until ctx ends.
func (c Config) keep(ctx context.Context, s stream, metrics *archive.Metrics) error {
	a, log, err := c.open(s, c.Store, metrics)
	if err != nil {
		return err
	}
	defer log.Close()
	flow := ops.NewFlow(stepLimit)
	c.Health.Register("archive "+s.name, flow.State)
	err = stages.Drive(ctx, stages.Watched(a, flow), log.Changed(), c.Log.With().Str("stream", s.name).Logger())
	// What was read is stored even when the process is told to stop.
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), stepLimit)
	defer cancel()
	if err := errors.Join(err, a.Flush(last)); err != nil {
		return fmt.Errorf("archive %s: %w", s.name, err)
	}
	return nil
}

// counting counts the objects that were put.
type counting struct {
	archive.Store
	puts int
}

func (s *counting) Put(ctx context.Context, key string, body io.Reader, size int64) error {
	err := s.Store.Put(ctx, key, body, size)
	if err == nil {
		s.puts++
	}
	return err
}
