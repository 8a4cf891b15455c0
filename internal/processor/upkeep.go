package processor

import (
	"context"
	"errors"
	"time"

	"github.com/dermai/millrace/pipeline"
	"github.com/dermai/millrace/rules"
	"github.com/dermai/millrace/schemas"
	"github.com/dermai/millrace/stages"
)

// keepSilences is for how long silences stay that are over.
const keepSilences = 30 * 24 * time.Hour

// upkeep is a role that keeps the streams short which nobody else does.
func (p *processor) upkeep() role {
	return role{
		name: schemas.SubjectControl,
		make: func(log *pipeline.Log, _ func() bool) (stages.Machine, error) {
			return NewUpkeep(p.Conn, log, time.Now, p.rules, p.silences), nil
		},
	}
}

// Upkeep takes snapshots of the control log and trims it behind them, and trims what
// is old of the others, and silences that are long over. What an archiver keeps
// (ALERTS and the control log) it leaves to the archiver, if the deployment has one.
type Upkeep struct {
	*stages.Snapshot
	conn     *pipeline.Conn
	silences *pipeline.Silences
	clock    stages.Clock
	trimmed  time.Time
}

// NewUpkeep prepares it. rules are those of the process; nil: none.
func NewUpkeep(conn *pipeline.Conn, log *pipeline.Log, clock stages.Clock, rules *rules.Cache, silences *pipeline.Silences) *Upkeep {
	return &Upkeep{
		Snapshot: stages.NewSnapshot(stages.SnapshotConfig{
			Log: log, Trimmer: unarchived{conn, log}, Clock: clock, Rules: rules, Keep: pipeline.ReplayWindow,
		}),
		conn: conn, silences: silences, clock: clock,
	}
}

// Step implements stages.Machine.
func (u *Upkeep) Step(ctx context.Context) (bool, error) {
	busy, err := u.Snapshot.Step(ctx)
	now := u.clock()
	if err != nil || busy || now.Sub(u.trimmed) < time.Hour {
		return busy, err
	}
	u.trimmed = now
	streams := []string{schemas.StreamNotify, schemas.StreamDeliveries}
	switch archived, err := u.conn.Archived(ctx); {
	case err != nil:
		return false, err
	case !archived:
		streams = append(streams, schemas.StreamAlerts)
	}
	for _, stream := range streams {
		err = errors.Join(err, pipeline.TrimBefore(ctx, u.conn, stream, now.Add(-pipeline.KeepDecided)))
	}
	return false, errors.Join(err, u.silences.Forget(ctx, now.Add(-keepSilences)))
}

// unarchived trims a stream that no archiver trims.
type unarchived struct {
	conn *pipeline.Conn
	log  *pipeline.Log
}

// Trim implements fence.Trimmer.
func (t unarchived) Trim(ctx context.Context, stream, subject string, seq uint64) error {
	archived, err := t.conn.Archived(ctx)
	if err != nil || archived {
		return err
	}
	return t.log.Trim(ctx, stream, subject, seq)
}
