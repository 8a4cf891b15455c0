package pipeline

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/dermai/millrace/schemas"
)

// Subscription says what a consumer wants and how it is to be given. Conn and
// Name are required; the zero value of everything else is useful.
type Subscription struct {
	Conn *Conn
	// Name of the consumer: 1 to 63 letters, digits, _ and -. Every process that
	// consumes under the name gets a share of the events, and a process that
	// starts goes on where the name was. Give each purpose a name of its own.
	Name string
	// Kinds and Services of the events wanted, told apart by the broker. nil: each.
	Kinds    []schemas.Kind
	Services []string
	// Where picks among them, here. nil: every event. It is called by one
	// goroutine at a time and may not keep the event. A panic is one of the handler.
	Where func(*schemas.Event) bool
	// Quiet also gives the changes of alerts that nobody is notified of.
	Quiet bool
	// From is where a name begins that was never used. Later it is not looked at.
	From Start

	// Concurrency is how many calls of the handler run at once. 0: 1.
	Concurrency int
	// Retry is how long an event waits after a failure before it is given again.
	Retry Retry
	// MaxAttempts after which an event is quarantined. 0: no limit, since what
	// is down for an hour is no fault of the event. Panics end after five.
	MaxAttempts int
	// Batch bounds a slice given by ConsumeBatches. 0: 500.
	Batch int
	// AckWait is the time without a sign of life of this process after which the
	// broker gives what is in hand to others; a handler may take longer, since the
	// process says that it works. At least 1 s. 0: 30 s.
	AckWait time.Duration
	// MaxBytes of messages in hand, as they are stored, at least 1 MiB; then no
	// more are asked for, but up to 2 MiB of each stream may be on their way.
	// Beside them each concurrent call may have a frame unpacked, at most 4 MiB;
	// where Concurrency is 1, up to four are read ahead. One more waits for them.
	// Processes share better with less. 0: 16 MiB.
	MaxBytes int
	// Grace is how long a handler may go on after ctx has ended before its own
	// context ends too. 0: 10 s.
	Grace time.Duration
}

// Start is where a consumer begins. The zero Start is the present: what is
// stored from the first use of the name on.
type Start struct {
	All   bool      // with all that is stored
	Since time.Time // with what was stored then and later
}

// Retry is the time between two attempts at one event: it doubles from Min to
// Max, with half of it random. An error with RetryAfter() time.Duration may ask
// for more, up to an hour.
type Retry struct {
	Min time.Duration // 0: 1 s
	Max time.Duration // 0: 1 min
}

// maxServices bounds the filters of a consumer; what asks for more is better
// served by Where.
const maxServices = 100

// Validate joins all faults of the subscription.
func (s Subscription) Validate() error {
	var faults []error
	if s.Conn == nil {
		faults = append(faults, errors.New("connection: missing"))
	}
	if t, err := schemas.Token(s.Name); err != nil || t != s.Name {
		faults = append(faults, fmt.Errorf("name %q: a consumer's name has 1 to %d letters, digits, _ and -", s.Name, schemas.TokenBytes))
	}
	for _, k := range s.Kinds {
		if k.Class() == "" {
			faults = append(faults, fmt.Errorf("kind %q: use log, metric or audit", k))
		}
	}
	for _, name := range s.Services {
		if _, err := schemas.Token(name); err != nil {
			faults = append(faults, fmt.Errorf("service: %w", err))
		}
	}
	if len(s.Services) > maxServices {
		faults = append(faults, fmt.Errorf("services: %d, at most %d; pick them with Where", len(s.Services), maxServices))
	}
	if s.From.All && !s.From.Since.IsZero() {
		faults = append(faults, errors.New("from: both all and since are set; choose one"))
	}
	if s.Concurrency < 0 || s.MaxAttempts < 0 || s.Batch < 0 || s.Retry.Min < 0 || s.Retry.Max < 0 || s.Grace < 0 {
		faults = append(faults, errors.New("concurrency, max attempts, batch, retry and grace: not below zero"))
	}
	if s.AckWait != 0 && s.AckWait < time.Second {
		faults = append(faults, fmt.Errorf("ack wait %s: at least 1s", s.AckWait))
	}
	if s.MaxBytes != 0 && s.MaxBytes < 1<<20 {
		faults = append(faults, fmt.Errorf("max bytes %d: at least %d", s.MaxBytes, 1<<20))
	}
	return errors.Join(faults...)
}

func (s Subscription) withDefaults() Subscription {
	s.Concurrency = cmp.Or(s.Concurrency, 1)
	s.Retry.Min = cmp.Or(s.Retry.Min, time.Second)
	s.Retry.Max = max(cmp.Or(s.Retry.Max, time.Minute), s.Retry.Min)
	s.Batch = cmp.Or(s.Batch, 500)
	s.AckWait = cmp.Or(s.AckWait, 30*time.Second)
	s.MaxBytes = cmp.Or(s.MaxBytes, 16<<20)
	s.Grace = cmp.Or(s.Grace, 10*time.Second)
	return s
}

// wants tells whether a stream may hold events of the wanted kinds.
func (s Subscription) wants(p schemas.Partition) bool {
	return len(s.Kinds) == 0 || slices.ContainsFunc(s.Kinds, func(k schemas.Kind) bool { return k.Class() == p.Class() })
}

// filters are the subjects of a partition that hold what is wanted; nil: all of
// them, which the broker reads faster.
func (s Subscription) filters(p schemas.Partition) []string {
	kinds := []schemas.Kind{schemas.KindLog, schemas.KindMetric}
	if p == schemas.Audit {
		kinds = []schemas.Kind{schemas.KindAudit}
	}
	all := len(kinds)
	if len(s.Kinds) > 0 {
		kinds = slices.DeleteFunc(kinds, func(k schemas.Kind) bool { return !slices.Contains(s.Kinds, k) })
	}
	if len(kinds) == all && len(s.Services) == 0 {
		return nil
	}
	services := []string{"*"}
	if len(s.Services) > 0 {
		services = nil
		for _, name := range s.Services {
			token, _ := schemas.Token(name) // Validate has tried
			services = append(services, token)
		}
		slices.Sort(services)
		services = slices.Compact(services)
	}
	var out []string
	for _, k := range kinds {
		for _, service := range services {
			lanes := "events." + p.String() + "." + string(k) + "." + service + ".*"
			if p == schemas.Audit {
				lanes = "audit." + service + ".*"
			}
			out = append(out, lanes)
			if p <= 0 {
				out = append(out, "ingest."+string(k)+"."+service)
			}
		}
	}
	return out
}
