package archiver

import (
	"context"
	"math"

	"github.com/dermai/millrace/archive"
	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/pipeline"
	"github.com/dermai/millrace/schemas"
	"github.com/dermai/millrace/stages"
)

// Log is a log that may be trimmed.
type Log interface {
	fence.Log
	fence.Trimmer
}

// Control is how the control log is archived, and trimmed behind the archive and
// its snapshots.
func Control(log Log, clock stages.Clock) archive.Config {
	superseded := stages.NewSuperseded(stages.SnapshotConfig{Log: log, Trimmer: log, Clock: clock, Keep: pipeline.ReplayWindow})
	return archive.Config{
		Stream: schemas.StreamControl, Now: clock,
		Trim: &archive.Trim{Trimmer: superseded, Covered: superseded.Covered, Replay: pipeline.ReplayWindow},
	}
}

// Alerts is how ALERTS is archived, and trimmed of what is archived and old. The
// last change of each class stays: it is the evaluators' fence.
func Alerts(log Log, clock stages.Clock) archive.Config {
	c := archive.Config{
		Stream: schemas.StreamAlerts, Now: clock,
		Trim: &archive.Trim{
			Trimmer: log, Replay: pipeline.KeepDecided,
			// Whoever reads it is less than that behind.
			Covered: func(context.Context) (uint64, error) { return math.MaxUint64, nil },
		},
	}
	for _, class := range schemas.Classes {
		c.Trim.Subjects = append(c.Trim.Subjects, class.Alerts())
	}
	return c
}
