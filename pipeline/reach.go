package pipeline

import (
	"fmt"
	"time"

	"github.com/dermai/millrace/fence"
)

// doubtLimit is how long a replicated stream must look shorter than it was before
// that is believed. A server that lost its network may take its own end for the
// stream's until it hears of the new leader, and a leader that was just elected
// until it has applied what is committed; both took about two seconds in runs of
// integration/chaos. The server gives up leadership without a quorum after ten.
const doubtLimit = 30 * time.Second

// reach is how far a stream went when it was last looked at.
type reach struct {
	created int64
	last    uint64
	short   time.Time // since when it looks shorter; zero: it does not
}

// judge compares an answer with what is known, and with the sequence up to which
// the caller has read. An error says that the answer is short, and not believed
// before it has been so for the limit.
func (r *reach) judge(info fence.Info, read uint64, limit time.Duration, now time.Time) error {
	if r.created != 0 && r.created != info.Created { // another stream of the same name
		*r, read = reach{}, 0
	}
	known := max(r.last, read)
	if r.created = info.Created; info.Last >= known {
		r.last, r.short = info.Last, time.Time{}
		return nil
	}
	if r.short.IsZero() {
		r.short = now
	}
	if now.Sub(r.short) < limit {
		return fmt.Errorf("it ends at %d, but went to %d: a server that has not caught up, unless it still says so in %s", info.Last, known, limit)
	}
	r.last = info.Last
	return nil
}
