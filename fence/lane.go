package fence

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/dermai/millrace/internal/chaos"
)

// Appender is the one thing that a lane needs of a Log.
type Appender interface {
	// Append is Log.Append.
	Append(ctx context.Context, m Message, prev uint64) (seq uint64, err error)
}

// ErrGivenUp: the lane's last frame can no longer be settled. Nobody will ever
// know from the lane whether it is stored, and the lane is at its end.
var ErrGivenUp = errors.New("given up: outcome unknown")

// Lane appends frames to a subject that nobody else has ever written to, with
// one frame in flight. It reads nothing: an unknown outcome is settled by sending
// the same bytes again under the same expected sequence. If the first attempt is
// stored, the second is refused, and the refusal names its sequence.
//
// That holds as long as the head of the subject is not removed, so no frame is
// sent again once it is older than the limit, which is half the time for which
// the stream keeps messages at the least.
//
// A lane is not safe for concurrent use. It ends with ErrFenced, ErrGivenUp or
// an incident (IsIncident); go on with a lane of another name. Unless the error
// is ErrGivenUp, its last frame is not stored and may be sent there.
type Lane struct {
	log     Appender
	subject string
	limit   time.Duration

	acked uint64 // frames acknowledged
	rev   uint64 // sequence of the last of them
	end   error

	flight *Message
	since  int64 // when it was first sent, Unix ns
	maybe  bool  // an attempt had an unknown outcome
}

// NewLane starts a lane on a subject that was never used.
func NewLane(log Appender, subject string, limit time.Duration) *Lane {
	return &Lane{log: log, subject: subject, limit: limit}
}

// Subject is where the lane appends.
func (l *Lane) Subject() string { return l.subject }

// Next is the counter of the frame to append: 1, 2, 3, ...; a frame that was
// not stored does not use its counter up.
func (l *Lane) Next() uint64 { return l.acked + 1 }

// Unsettled tells that a frame is in flight: call Settle.
func (l *Lane) Unsettled() bool { return l.flight != nil }

// Append stores the next frame. now is Unix ns and does not step back between
// calls. nil: it is stored. ErrUnknown: it is in flight, call Settle until that
// says something else, and append nothing before. ErrFull and every other error
// that does not end the lane: it is not stored, and the lane goes on as before.
func (l *Lane) Append(ctx context.Context, h Header, data []byte, now int64) error {
	if l.end != nil {
		return fmt.Errorf("lane %s has ended: %w", l.subject, l.end)
	}
	if l.flight != nil {
		return fmt.Errorf("append to %s: an earlier frame is not settled", l.subject)
	}
	l.flight = &Message{Subject: l.subject, Header: maps.Clone(h), Data: data}
	l.since, l.maybe = now, false
	return l.send(ctx)
}

// Settle sends the frame in flight again and says as Append does what became of
// it. ErrUnknown may come together with the reason for which a later attempt
// was not taken, such as ErrFull.
func (l *Lane) Settle(ctx context.Context, now int64) error {
	if l.flight == nil {
		return nil
	}
	if age := time.Duration(now - l.since); age > l.limit {
		if !l.maybe {
			l.flight = nil
			return fmt.Errorf("append to %s: frame %d was not taken in %s", l.subject, l.Next(), l.limit)
		}
		return l.over(fmt.Errorf("append to %s: frame %d was sent %s ago, at most %s: %w", l.subject, l.Next(), age, l.limit, ErrGivenUp))
	}
	if chaos.Bug("same-bytes rule broken") {
		l.rev, l.maybe = l.rev+1, false // a new append, behind the one that may be stored
	}
	return l.send(ctx)
}

// over ends the lane.
func (l *Lane) over(err error) error {
	l.flight, l.end = nil, err
	return err
}

func (l *Lane) send(ctx context.Context) error {
	seq, err := l.log.Append(ctx, *l.flight, l.rev)
	if refused := (*RefusedError)(nil); errors.As(err, &refused) {
		return l.refused(refused)
	}
	switch {
	case err == nil:
		l.stored(seq)
		return nil
	case errors.Is(err, ErrUnknown):
		l.maybe = true
		return err
	case l.maybe: // this attempt is not stored, an earlier one may be
		return fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	l.flight = nil
	return err
}

func (l *Lane) stored(seq uint64) {
	l.rev = seq
	l.acked++
	l.flight = nil
}

// refused reads what a refusal says about the frame in flight.
func (l *Lane) refused(r *RefusedError) error {
	switch {
	case r.Unnamed:
		// Another append of the subject is on its way through a replicated stream,
		// most likely our own; its end shows in the next answer.
		return fmt.Errorf("%w: %w", ErrUnknown, r)
	case r.Last > l.rev && l.maybe:
		l.stored(r.Last)
		return nil
	case r.Last > l.rev:
		return l.over(fmt.Errorf("append to %s: message %d is not ours: %w", l.subject, r.Last, ErrFenced))
	case r.Last < l.rev:
		err := Incident(l.subject, "frame %d was acknowledged as message %d, and the subject now ends at %d: the stream lost it",
			l.acked, l.rev, r.Last)
		if l.maybe {
			err = fmt.Errorf("%w: %w", ErrGivenUp, err)
		}
		return l.over(err)
	}
	return l.over(Incident(l.subject, "the broker refuses the sequence %d that it names itself", r.Last))
}
