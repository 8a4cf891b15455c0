package processor

import (
	"context"
	"errors"
	"time"

	"github.com/dermai/millrace/pipeline"
	"github.com/dermai/millrace/schemas"
	"github.com/dermai/millrace/stages"
)

// keepDecided is for how long decisions, notifications and deliveries stay.
const keepDecided = 90 * 24 * time.Hour

// keepSilences is for how long silences stay that are over.
const keepSilences = 30 * 24 * time.Hour

// upkeep is a role that keeps the streams short which nobody else does: the
// control log behind its snapshots, what is old of the others, and silences that
// are long over.
func (p *processor) upkeep() role {
	return role{
		name: schemas.SubjectControl,
		make: func(log *pipeline.Log, _ func() bool) (stages.Machine, error) {
			return &upkeep{
				Snapshot: stages.NewSnapshot(stages.SnapshotConfig{
					Log: log, Trimmer: log, Clock: time.Now, Rules: p.rules, Keep: pipeline.ReplayWindow,
				}),
				conn: p.Conn, silences: p.silences,
			}, nil
		},
	}
}

type upkeep struct {
	*stages.Snapshot
	conn     *pipeline.Conn
	silences *pipeline.Silences
	trimmed  time.Time
}

// Step implements stages.Machine.
func (u *upkeep) Step(ctx context.Context) (bool, error) {
	busy, err := u.Snapshot.Step(ctx)
	if err != nil || busy || time.Since(u.trimmed) < time.Hour {
		return busy, err
	}
	u.trimmed = time.Now()
	for _, stream := range []string{schemas.StreamAlerts, schemas.StreamNotify, schemas.StreamDeliveries} {
		err = errors.Join(err, pipeline.TrimBefore(ctx, u.conn, stream, u.trimmed.Add(-keepDecided)))
	}
	return false, errors.Join(err, u.silences.Forget(ctx, u.trimmed.Add(-keepSilences)))
}
