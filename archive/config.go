package archive

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rs/zerolog"
)

// Config says what an archiver archives, and how.
type Config struct {
	Stream string // EVENTS_<p>, AUDIT, ALERTS or CONTROL

	// An object is cut when it has CutBytes (0: 10,000,000), when what is in it has
	// waited for CutAge (0: 60 s for AUDIT, 5 min for others), and when the UTC day
	// of arrival changes. Ticks alone do not wait.
	CutBytes int64
	CutAge   time.Duration

	// Floor gives the arrival before the stream's first message, Unix ns; nil: 0. It
	// must not change for a stream: for events the control log says it.
	Floor func(ctx context.Context) (int64, error)

	// NextGeneration opens a new generation where the stream was rewound, instead
	// of stopping with an incident.
	NextGeneration bool

	// Segments reads the messages of a segment: where a stream was rewound to before
	// what objects hold, the next generation begins where the two differ. nil: what
	// segments alone hold is taken for different, and archived again.
	Segments func(ctx context.Context, c Chain, s Segment, fn func(*Record) error) error

	// Trim, if set, lets the stream forget what is archived.
	Trim *Trim

	Now     func() time.Time // nil: time.Now
	Metrics *Metrics         // nil: not kept
	Log     zerolog.Logger   // names the stream; the zero Logger says nothing
}

// Validate joins all that is wrong with the configuration.
func (c *Config) Validate() error {
	_, errs := classOf(c.Stream)
	if c.CutBytes < 0 {
		errs = errors.Join(errs, fmt.Errorf("cut bytes %d: want 0 or more", c.CutBytes))
	}
	if c.CutAge < 0 {
		errs = errors.Join(errs, fmt.Errorf("cut age %s: want 0 or more", c.CutAge))
	}
	if c.Trim != nil {
		errs = errors.Join(errs, c.Trim.validate())
	}
	return errs
}
