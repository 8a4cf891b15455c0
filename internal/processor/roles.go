package processor

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/dermai/millrace/internal/app/ops"
	"github.com/dermai/millrace/pipeline"
	"github.com/dermai/millrace/stages"
)

// stepLimit is how long a step may take, and how long a machine may fail, before
// the process is not ready.
const stepLimit = 15 * time.Second

// roles runs machines for as long as they are assigned to this member.
type roles struct {
	conn   *pipeline.Conn
	member *pipeline.Member
	health *ops.Health
	stages *stages.Metrics
	log    zerolog.Logger

	mu      sync.Mutex
	changed chan struct{} // closed when assignments may have changed
}

// role is a machine to be run. make is called each time that the machine starts,
// with a log of its own.
type role struct {
	name string // rendezvous key: the subject that the machine owns
	make func(log *pipeline.Log, active func() bool) (stages.Machine, error)
	// standby machines run all the time, and look at active.
	standby bool
}

// watch tells every role of changes of the membership, until ctx ends.
func (r *roles) watch(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.member.Changed():
			r.mu.Lock()
			close(r.changed)
			r.changed = make(chan struct{})
			r.mu.Unlock()
		}
	}
}

func (r *roles) changes() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.changed
}

// run runs a role until ctx ends (nil) or its machine meets an incident.
func (r *roles) run(ctx context.Context, ro role) error {
	flow := ops.NewFlow(stepLimit)
	r.health.Register(ro.name, flow.State)
	active := func() bool { return r.member.Assigned(ro.name) }
	for ctx.Err() == nil {
		changes := r.changes()
		if !ro.standby && !active() {
			flow.Done() // somebody else's
			select {
			case <-ctx.Done():
			case <-changes:
			}
			continue
		}
		if err := r.hold(ctx, ro, flow, active); err != nil {
			return fmt.Errorf("%s: %w", ro.name, err)
		}
	}
	return nil
}

// hold runs a role's machine until it is no longer this member's.
func (r *roles) hold(ctx context.Context, ro role, flow *ops.Flow, active func() bool) error {
	ctx, cancel := context.WithCancel(ctx)
	var watcher sync.WaitGroup
	defer watcher.Wait()
	defer cancel()
	if !ro.standby {
		watcher.Go(func() {
			defer cancel()
			for {
				changes := r.changes() // before the look: what changes behind it is seen
				if !active() {
					return
				}
				select {
				case <-ctx.Done():
					return
				case <-changes:
				}
			}
		})
	}
	log := r.conn.Log()
	defer log.Close()
	m, err := ro.make(log, active)
	if err != nil {
		return err
	}
	r.log.Debug().Str("role", ro.name).Msg("begins")
	defer r.log.Debug().Str("role", ro.name).Msg("ends")
	return stages.Drive(ctx, stages.Watched(r.stages.Timed(m, ro.name, time.Now), flow), log.Changed(), r.log.With().Str("role", ro.name).Logger())
}
