package stages

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/rules"
	"github.com/dermai/millrace/schemas"
)

// SnapshotConfig is what the keeper of the control log needs.
type SnapshotConfig struct {
	Log     fence.Log
	Trimmer fence.Trimmer // nil: the log is never trimmed
	Clock   Clock
	Rules   *rules.Cache // of the process; nil: none
	// Every is the number of entries between snapshots. 0: 10,000.
	Every uint64
	// Keep is how long entries stay. A snapshot that is older lets go of what is
	// before it. 0: 72 h.
	Keep time.Duration
}

// Snapshot keeps the control log short: now and then it appends a snapshot of
// everything before it, and trims what is before an old one. Two of them do no
// harm, since a snapshot is appended only behind the entry that it ends with.
type Snapshot struct {
	*Superseded
	every uint64
}

// NewSnapshot prepares the keeper of the control log.
func NewSnapshot(cfg SnapshotConfig) *Snapshot {
	return &Snapshot{NewSuperseded(cfg), cmp.Or(cfg.Every, 10_000)}
}

// Step implements Machine.
func (m *Snapshot) Step(ctx context.Context) (bool, error) {
	covered, err := m.Covered(ctx)
	if err == nil && covered > 0 {
		err = m.Trim(ctx, schemas.StreamControl, "", covered+1)
	}
	if err != nil || m.control.last-m.last < m.every {
		return false, err
	}
	from, err := m.needed(ctx)
	if err != nil {
		return false, err
	}
	snapshot := m.control.Schedule().Snapshot(from)
	_, err = ProposeControl(ctx, m.cfg.Log, m.control.last, schemas.ControlEntry{Snapshot: &snapshot})
	if refused := (*fence.RefusedError)(nil); errors.As(err, &refused) {
		return false, nil // somebody else appended: again, behind that
	}
	return true, err
}

// needed is the first tick whose rules somebody may still ask for: a reducer
// that goes on at its position, or an evaluator that restarts from the
// checkpoint before its last.
func (m *Snapshot) needed(ctx context.Context) (int64, error) {
	s := m.control.Schedule()
	first, _ := s.First()
	from := s.Limit()
	for _, class := range schemas.Classes {
		for _, p := range s.Partitions(class) {
			head, err := m.cfg.Log.Head(ctx, p.Partials())
			if err != nil {
				return 0, fence.Missing(err, p.Partials())
			}
			if head.Header[schemas.HeaderType] == schemas.TypeGenesis {
				return first, nil
			}
			var part schemas.Partial
			if err := schemas.DecodeInto(head.Data, &part); err != nil {
				return 0, fence.Incident(p.Partials(), "message %d: %v", head.Seq, err)
			}
			from = min(from, s.Timing().Arrival(part.ArrivalTo))
		}
		if len(s.Partitions(class)) == 0 {
			continue
		}
		tick, err := m.checkpointed(ctx, class)
		if err != nil {
			return 0, err
		}
		from = min(from, tick)
	}
	return max(from, first), nil
}

// checkpointed is the tick of the class's last checkpoint but one.
func (m *Snapshot) checkpointed(ctx context.Context, class schemas.Class) (int64, error) {
	head, err := m.cfg.Log.Head(ctx, class.Alerts())
	if err != nil {
		return 0, fence.Missing(err, class.Alerts())
	}
	_, previous, err := parseCheckpoints(head.Header[schemas.HeaderCheckpoint])
	if err != nil {
		return 0, fence.Incident(class.Alerts(), "message %d: %v", head.Seq, err)
	}
	if previous == 0 {
		first, _ := m.control.Schedule().First()
		return first, nil
	}
	entries, err := m.cfg.Log.Read(ctx, schemas.StreamCheckpoint, previous, 1)
	if err != nil {
		return 0, err
	}
	if len(entries) == 0 || entries[0].Seq != previous {
		return 0, fmt.Errorf("%s: checkpoint %d is named and was not delivered", class.Checkpoints(), previous)
	}
	var part schemas.CheckpointPart
	if err := schemas.DecodeInto(entries[0].Data, &part); err != nil {
		return 0, fence.Incident(class.Checkpoints(), "message %d: %v", previous, err)
	}
	return part.Tick, nil
}
