package app

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/dermai/millrace/rules"
	"github.com/dermai/millrace/rules/engine"
	"github.com/dermai/millrace/schemas"
)

// rulesRun decides recorded events. Findings: lines that are no events.
type rulesRun struct {
	Rules   []string `short:"r" placeholder:"FILE" help:"Rule files, as often as needed. Default: those of the configuration, or else the built-in rules."`
	Kind    string   `enum:"log,metric,audit," default:"" help:"The kind of every event: log, metric or audit. Default: the event says it."`
	Service string   `placeholder:"NAME" help:"The service of every event. Default: the event says it."`
	Zone    string   `placeholder:"ZONE" help:"The time zone of timestamps without one. Default: publisher.zone."`
	Events  []string `arg:"" help:"Files of JSON lines in the order of time, plain or compressed with gzip or zstd; - is standard input."`
}

func (c *rulesRun) Run(ctx context.Context, s *session) error {
	files, err := s.ruleFiles(c.Rules)
	if err != nil {
		return err
	}
	set, err := rules.Parse(files...)
	if err != nil {
		return err
	}
	if c.Zone == "" {
		c.Zone = s.config.Publisher.Zone
	}
	zone, err := time.LoadLocation(c.Zone)
	if err != nil {
		return fmt.Errorf("zone %q: use UTC or a name such as Europe/Vienna", c.Zone)
	}
	refused := 0
	events := c.read(ctx, s, zone, &refused)
	sum, err := engine.Run(set.Source(), s.config.Deployment.Schema(), events, s.printTransition)
	if err != nil {
		return err
	}
	if err := s.out.flush(); err != nil {
		return err
	}
	fmt.Fprintf(s.Stderr, "%s, %s\n", plural(int(sum.Events), "event"), plural(int(sum.Transitions), "transition"))
	for _, name := range slices.Sorted(maps.Keys(sum.TooLate)) {
		fmt.Fprintf(s.Stderr, "%s: %s came after every window that could hold them\n", name, plural(int(sum.TooLate[name]), "event"))
	}
	for _, name := range slices.Sorted(maps.Keys(sum.Mismatched)) {
		fmt.Fprintf(s.Stderr, "%s: for %s a condition was false because an attribute was missing or of another type\n", name, plural(int(sum.Mismatched[name]), "event"))
	}
	if refused > 0 {
		return findingsError(plural(refused, "line") + " refused")
	}
	return nil
}

// read yields the events of every file. It says on standard error which lines
// are none.
func (c *rulesRun) read(ctx context.Context, s *session, zone *time.Location, refused *int) iter.Seq2[schemas.Event, error] {
	return func(yield func(schemas.Event, error) bool) {
		for _, name := range c.Events {
			r, err := s.open(name)
			if err != nil {
				yield(schemas.Event{}, err)
				return
			}
			file := eventFile{
				name:   name,
				origin: schemas.Origin{Kind: schemas.Kind(c.Kind), Service: c.Service, Zone: zone},
				refused: func(line int, err error) {
					*refused++
					fmt.Fprintf(s.Stderr, "%s:%d: %s\n", printable(name), line, printable(err.Error()))
				},
			}
			ok := true
			for e, err := range file.events(r) {
				if err == nil {
					err = ctx.Err()
				}
				if ok = yield(e, err); !ok || err != nil {
					break
				}
			}
			r.Close()
			if !ok {
				return
			}
		}
	}
}

// printTransition prints a change of an alert's state.
func (s *session) printTransition(t schemas.Transition) error {
	value := ""
	if t.Value != nil {
		value = strconv.FormatFloat(*t.Value, 'g', 6, 64)
	}
	why := t.Why
	if why == "" {
		why = t.Annotations["summary"]
	}
	return s.out.print(t, clock(t.Time), t.Alert, string(t.From)+" to "+string(t.To), value, why)
}
