package engine

import (
	"errors"
	"fmt"
	"time"

	"github.com/dermai/millrace/internal/chaos"
	"github.com/dermai/millrace/schemas"
)

// Timing is the arithmetic of a deployment's ticks. Tick T is the span of time
// that ends at T tick lengths after the Unix epoch, its end included.
type Timing struct{ schemas.Deployment }

// minTick is the shortest tick: the broker's round trips set the floor.
const minTick = 100 * time.Millisecond

// Validate tells what makes the deployment impossible to run with this build.
func (t Timing) Validate() error {
	var errs []error
	if t.Engine > schemas.Engine {
		errs = append(errs, fmt.Errorf("this build has engine %d, the log needs %d: upgrade", schemas.Engine, t.Engine))
	}
	if t.Engine < 1 {
		errs = append(errs, fmt.Errorf("engine %d: want 1 to %d", t.Engine, schemas.Engine))
	}
	if t.Tick < minTick || t.Tick > time.Hour {
		errs = append(errs, fmt.Errorf("tick %v: want %v to 1h", t.Tick, minTick))
	}
	if t.Lateness < 0 || t.Lateness > 1e6 {
		errs = append(errs, fmt.Errorf("lateness %d: want 0 to 1000000 ticks", t.Lateness))
	}
	if t.Delay < 1 || t.Delay > 1e6 {
		errs = append(errs, fmt.Errorf("delay %d: want 1 to 1000000 ticks", t.Delay))
	}
	return errors.Join(errs...)
}

// Sec is the tick that holds the moment ns, in Unix nanoseconds.
func (t Timing) Sec(ns int64) int64 { return ceilDiv(ns, int64(t.Tick)) }

// End is the last moment of a tick, in Unix nanoseconds.
func (t Timing) End(tick int64) int64 { return tick * int64(t.Tick) }

// Ticks is the number of whole ticks that hold d.
func (t Timing) Ticks(d time.Duration) int64 { return t.Sec(int64(d)) }

// Arrival is the arrival tick of a message with the running maximum a, in Unix
// nanoseconds: the tick whose rules its events are folded by.
func (t Timing) Arrival(a int64) int64 { return t.Sec(a) - t.Lateness }

// Decidable is the last tick that a partition whose running maximum is a no
// longer holds back. Its end lies more than the lateness before a, strictly:
// later messages may carry the same arrival.
func (t Timing) Decidable(a int64) int64 {
	if chaos.Bug("frontier not strict") {
		return t.Arrival(a)
	}
	return t.Arrival(a) - 1
}

// paneEnd is the last tick of the pane of width w that holds a tick.
func paneEnd(tick, w int64) int64 { return ceilDiv(tick, w) * w }

func ceilDiv(a, b int64) int64 {
	q := a / b
	if a%b > 0 {
		q++
	}
	return q
}
