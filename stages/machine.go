package stages

import (
	"context"
	"time"

	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/schemas"
	"github.com/rs/zerolog"
)

// Machine is a stage that is stepped. Step does one bounded piece of work and
// is never called twice at once. busy says that there may be more to do right
// away; otherwise the next step is worth taking when something arrived, or
// after a moment. An incident (fence.IsIncident) ends the machine; after any
// other the machine is as it was, or will load again, and may be stepped on.
type Machine interface {
	Step(ctx context.Context) (busy bool, err error)
}

// Clock tells the time. It decides when to ask for ticks and when to try again,
// never what is decided.
type Clock func() time.Time

// Quarantine takes what cannot be processed. A nil error means that it is
// stored; putting the same ID twice stores it once.
type Quarantine interface {
	Put(ctx context.Context, q schemas.Quarantined) error
}

// Ticker publishes a tick frame into a partition: a message without events,
// whose timestamp by the broker moves the partition's time. Publishing twice
// does no harm, and losing one neither: who still waits asks again.
type Ticker interface {
	Tick(ctx context.Context, p schemas.Partition) error
}

const (
	// idle is how long Drive lets a machine rest when nothing wakes it, and the
	// least it waits after an error.
	idle = 100 * time.Millisecond
	// longest is the most it waits after an error: what is missed, such as a stream's
	// leader, may be there at any time, and a tick waits for all machines in turn.
	longest = 500 * time.Millisecond
	// How long it waits after errors until it logs another one: twice as long each
	// time, so that an outage does not fill the log.
	sayAgain  = 2 * time.Second
	sayRarely = time.Minute
)

// Drive steps a machine until ctx ends (nil) or the machine meets an incident
// (the error). wake, which may be nil, says that something arrived.
func Drive(ctx context.Context, m Machine, wake <-chan struct{}, log zerolog.Logger) error {
	rest := time.NewTimer(idle)
	defer rest.Stop()
	pause := idle
	unsaid, patience := sayAgain, sayAgain // waited since an error was logged, and until the next is
	for ctx.Err() == nil {
		busy, err := m.Step(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case fence.IsIncident(err):
			return err
		case err != nil:
			if unsaid >= patience {
				unsaid, patience = 0, min(2*patience, sayRarely)
				log.Warn().Err(err).Msg("step")
			}
			unsaid += pause
			rest.Reset(pause)
			pause = min(2*pause, longest)
			select {
			case <-ctx.Done():
			case <-rest.C:
			}
			continue
		case busy:
			pause, unsaid, patience = idle, sayAgain, sayAgain
			continue
		}
		pause, unsaid, patience = idle, sayAgain, sayAgain
		rest.Reset(idle)
		select {
		case <-ctx.Done():
		case <-wake:
		case <-rest.C:
		}
	}
	return nil
}

// Flow is told when a machine begins and ends a step: it knows whether work
// flows.
type Flow interface {
	Begin()
	Done()
}

// Watched is a machine whose steps a flow is told of. A step that failed is not
// done.
func Watched(m Machine, flow Flow) Machine { return watched{m, flow} }

type watched struct {
	Machine
	flow Flow
}

func (w watched) Step(ctx context.Context) (bool, error) {
	w.flow.Begin()
	busy, err := w.Machine.Step(ctx)
	if err == nil {
		w.flow.Done()
	}
	return busy, err
}
