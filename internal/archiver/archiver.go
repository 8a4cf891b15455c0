package archiver

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/dermai/millrace/archive"
	"github.com/dermai/millrace/archive/compact"
	"github.com/dermai/millrace/archive/retain"
	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/internal/app/ops"
	"github.com/dermai/millrace/internal/chaos"
	"github.com/dermai/millrace/internal/proof"
	"github.com/dermai/millrace/pipeline"
	"github.com/dermai/millrace/schemas"
	"github.com/dermai/millrace/stages"
)

// Config is what an archiver needs.
type Config struct {
	Conn  *pipeline.Conn
	Store archive.Store
	// CutBytes and CutAge are when an object is put. 0: as archive.Config.
	CutBytes int64
	CutAge   time.Duration
	// Compact, if set, is how objects become segments.
	Compact *compact.Config
	// Retention is for how long segments of a class are kept; of a class that is not
	// in it, for ever.
	Retention map[schemas.Class]retain.Config
	// Verify looks at each day when it is over; Expect are publishers that must speak.
	Verify   bool
	Expect   []proof.Expected
	Health   *ops.Health
	Registry prometheus.Registerer
	Log      zerolog.Logger
}

const (
	// stepLimit is how long a step may take, and how long a machine may fail,
	// before the process is not ready. A step puts up to CutBytes.
	stepLimit = time.Minute
	// flushTime is how long the last objects may take when the process ends.
	flushTime = 10 * time.Second
	// lookEvery is how often the control log is read for new partitions.
	lookEvery = time.Second
	// compactEvery is how often it is looked for something to compact.
	compactEvery = time.Minute
	// retainEvery is how often what is past its time is deleted, and retainAgain how
	// soon after a run that failed.
	retainEvery = 24 * time.Hour
	retainAgain = 10 * time.Minute
)

type archiver struct {
	Config
	metrics *archive.Metrics
}

// Run archives until ctx ends (nil, with what is in hand stored) or a stream
// meets an incident (the error). The deployment must have been created
// (pipeline.Apply) before.
func Run(ctx context.Context, c Config) error {
	a := &archiver{c, archive.NewMetrics(c.Registry)}
	streams, ctx := errgroup.WithContext(ctx)
	for _, kept := range []func(Log, stages.Clock) archive.Config{Control, Alerts} {
		streams.Go(func() error {
			log := a.Conn.Log()
			defer log.Close()
			return a.stream(ctx, kept(log, time.Now))
		})
	}
	streams.Go(func() error { return a.partitions(ctx, streams) })
	if a.Compact != nil {
		streams.Go(func() error { return a.compact(ctx) })
	}
	if a.Verify {
		streams.Go(func() error { return a.verify(ctx) })
	}
	if len(a.Retention) > 0 {
		streams.Go(func() error { return a.retain(ctx) })
	}
	return streams.Wait()
}

// partitions begins to archive each partition when the control log opens it.
func (a *archiver) partitions(ctx context.Context, streams *errgroup.Group) error {
	log := a.Conn.Log()
	defer log.Close()
	control := stages.NewControl(log, time.Now, nil)
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	known := map[schemas.Partition]bool{}
	for ctx.Err() == nil {
		switch _, err := control.Read(ctx); {
		case fence.IsIncident(err):
			return err
		case err != nil && ctx.Err() == nil:
			a.Log.Warn().Err(err).Msg("read the control log")
		}
		for _, class := range schemas.Classes {
			for _, p := range control.Schedule().Partitions(class) {
				if !known[p] {
					known[p] = true
					floor := control.Schedule().Floor(p)
					streams.Go(func() error { return a.partition(ctx, p, floor) })
				}
			}
		}
		select {
		case <-ctx.Done():
		case <-look.C:
		}
	}
	return nil
}

func (a *archiver) partition(ctx context.Context, p schemas.Partition, floor int64) error {
	log := a.Conn.Log()
	defer log.Close()
	return a.stream(ctx, archive.Config{
		Stream: p.Stream(),
		Floor:  func(context.Context) (int64, error) { return floor, nil },
		Trim: &archive.Trim{
			Trimmer: log,
			Covered: func(ctx context.Context) (uint64, error) { return Covered(ctx, log, p) },
			Replay:  pipeline.ReplayWindow,
		},
	})
}

// Covered is the last sequence that the partition's reducer has no more use for.
// The frame at its position stays: it may be read in part, and proves that the
// stream was not rewound.
func Covered(ctx context.Context, log fence.Log, p schemas.Partition) (uint64, error) {
	head, err := log.Head(ctx, p.Partials())
	if err != nil {
		return 0, fmt.Errorf("what %s covers: %w", p.Partials(), fence.Missing(err, p.Partials()))
	}
	if head.Header[schemas.HeaderType] == schemas.TypeGenesis {
		return 0, nil
	}
	var partial schemas.Partial
	if err := schemas.DecodeInto(head.Data, &partial); err != nil {
		return 0, fmt.Errorf("what %s covers: message %d: %w", p.Partials(), head.Seq, err)
	}
	info, err := log.Info(ctx, p.Stream())
	if err != nil {
		return 0, fmt.Errorf("what %s covers: %w", p.Partials(), err)
	}
	// Of a stream that was made again, or lost its tail, nobody has reduced anything.
	other := info.Created != partial.Created || info.Last < partial.To.Seq
	if other && !chaos.Bug("position taken for another stream's") {
		return 0, nil
	}
	return max(partial.To.Seq, 1) - 1, nil
}

// compact compacts until ctx ends. What fails is tried again: nothing waits for it.
func (a *archiver) compact(ctx context.Context) error {
	c := *a.Compact
	c.Metrics = compact.NewMetrics(a.Registry)
	c.Committed = func(s archive.Segment) {
		a.Log.Info().Str("segment", s.Key).Uint64("rows", s.Rows).Int64("bytes", s.Bytes).Msg("compacted")
	}
	machine, err := compact.New(a.Store, c)
	if err != nil {
		return err
	}
	look := time.NewTicker(compactEvery)
	defer look.Stop()
	for {
		busy, err := machine.Step(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			a.Log.Warn().Err(err).Msg("what is to be compacted waits")
		}
		if busy && err == nil {
			continue
		}
		select {
		case <-ctx.Done():
			return nil
		case <-look.C:
		}
	}
}

// stream archives one stream until ctx ends, and stores what is in hand then.
func (a *archiver) stream(ctx context.Context, c archive.Config) error {
	log := a.Conn.Log()
	defer log.Close()
	c.CutBytes, c.CutAge, c.Metrics = a.CutBytes, a.CutAge, a.metrics
	c.NextGeneration, c.Segments = true, compact.Segments(a.Store)
	c.Log = a.Log.With().Str("stream", c.Stream).Logger()
	machine, err := archive.NewArchiver(log, a.Store, c)
	if err != nil {
		return err
	}
	flow := ops.NewFlow(stepLimit)
	a.Health.Register("archive "+c.Stream, flow.State)
	err = stages.Drive(ctx, stages.Watched(machine, flow), log.Changed(), c.Log)
	// After an incident too: what the stream lost may be nowhere else.
	flush, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTime)
	defer cancel()
	last := machine.Flush(flush)
	for errors.Is(last, archive.ErrLate) {
		last = machine.Flush(flush)
	}
	if fence.IsIncident(last) {
		err = errors.Join(err, last)
	} else if last != nil {
		c.Log.Warn().Err(last).Msg("what is in hand stays in the stream, and is stored by the next run")
	}
	return err
}
