package stages

import (
	"context"
	"errors"
	"time"

	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/schemas"
)

// Superseded is what snapshots took the place of in the control log. It trims the
// log, which must always begin with a snapshot, for whoever knows what else it is
// kept for. It is not safe for concurrent use.
type Superseded struct {
	cfg     SnapshotConfig
	control *Control
	last    uint64   // sequence of the last snapshot, or of the first entry
	found   []stored // snapshots behind the first entry, ascending
}

// stored is a snapshot in the log.
type stored struct {
	seq  uint64
	time int64
}

// NewSuperseded prepares to look for snapshots. It has no use for Every.
func NewSuperseded(cfg SnapshotConfig) *Superseded {
	if cfg.Keep == 0 {
		cfg.Keep = 72 * time.Hour
	}
	s := &Superseded{cfg: cfg, control: NewControl(cfg.Log, cfg.Clock, cfg.Rules)}
	s.control.seen = s.see
	return s
}

// see notes the snapshots that go by.
func (s *Superseded) see(e fence.Entry, entry *schemas.ControlEntry) {
	switch {
	case s.last == 0:
		s.last = e.Seq
	case entry.Snapshot != nil:
		s.last = e.Seq
		s.found = append(s.found, stored{e.Seq, e.Time})
	}
}

// Covered is the last entry before the newest snapshot that has been there for
// Keep; 0: there is none to forget.
func (s *Superseded) Covered(ctx context.Context) (uint64, error) {
	if _, err := s.control.Read(ctx); err != nil {
		if errors.Is(err, errBehind) {
			s.last, s.found = 0, nil
		}
		return 0, err
	}
	var covered uint64
	old := s.cfg.Clock().Add(-s.cfg.Keep).UnixNano()
	for _, at := range s.found {
		if at.time < old {
			covered = at.seq - 1
		}
	}
	return covered, nil
}

// Trim implements fence.Trimmer, of the control log alone: it removes what is
// before the last snapshot up to seq, as of the last call of Covered.
func (s *Superseded) Trim(ctx context.Context, stream, subject string, seq uint64) error {
	n := 0
	for n < len(s.found) && s.found[n].seq <= seq {
		n++
	}
	if n == 0 {
		return nil
	}
	if s.cfg.Trimmer != nil {
		if err := s.cfg.Trimmer.Trim(ctx, stream, subject, s.found[n-1].seq); err != nil {
			return err
		}
	}
	s.found = s.found[n:]
	return nil
}
