package stages_test

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/stages"
	"github.com/rs/zerolog"
)

type step func() error

func (s step) Step(context.Context) (bool, error) { return false, s() }

// A machine that fails is stepped again soon, however long it has failed, says so now
// and then, and goes on.
func TestDriveGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var said bytes.Buffer
		began, steps := time.Now(), 0
		const outage = time.Minute
		err := stages.Drive(t.Context(), step(func() error {
			steps++
			if time.Since(began) < outage {
				return errors.New("no leader")
			}
			return fence.Incident("subject", "it is over")
		}), nil, zerolog.New(&said))
		if late := time.Since(began) - outage; !fence.IsIncident(err) || late > 500*time.Millisecond {
			t.Errorf("it ended %s after the outage: %v", late, err)
		}
		if lines := bytes.Count(said.Bytes(), []byte("no leader")); steps > 130 || lines < 3 || lines > 8 {
			t.Errorf("%d steps in a minute, and it said so %d times", steps, lines)
		}
	})
}
