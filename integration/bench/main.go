// Command bench measures Millrace beside plain NATS, on this machine, in the
// shipped setting: a real nats-server with sync_interval always and file
// storage over loopback TCP, and every daemon a process of its own.
//
// Usage:
//
//	go run ./integration/bench [flags]
//
// It has nine parts, each on a deployment of its own:
//
//	publish   the library stores events as fast as it can; then a processor and
//	          an archiver catch up; then plain nats.go moves the same frames
//	main      the main job: events at --rate for --for while a processor with
//	          the default rules and an archiver keep up
//	door      the same through the publisher's HTTP door
//	latency   from the return of Publish to the stored decision that an alert
//	          fires, idle and beside the main job's traffic
//	handover  from the stop or the kill of a processor until another has its
//	          partitions
//	outage    from the return of a broker that was away, paused or killed, until
//	          events are stored and decided, and until nothing is behind
//	nodes     the same from the loss of one of three servers, paused or killed, and how
//	          much of it they take to elect leaders
//	groups    what processes need of memory where a rule has as many groups as its
//	          cap, one of nearly all events, and far more than its cap
//	evaluator how many groups that change each second one evaluator carries
//
// It prints Markdown tables, or one JSON object with --json. It exits with 1
// when an event was lost or invented; how fast it is never decides that.
//
// CPU seconds and memory are read from /proc, so it runs on Linux only. What it
// stores is removed at the end.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/dermai/millrace/internal/child"
)

// config is what the flags say.
type config struct {
	Parts   []string
	For     time.Duration // of the main job, and of the traffic beside probes
	Short   time.Duration // of each part that goes as fast as it can
	Rate    int           // events a second
	Samples int           // of latency
	// Handovers is how often a processor is stopped, and how often one is killed.
	Handovers int
	Outage    time.Duration // how long the broker is away
	Outages   int           // how often it is paused, and how often it is killed
	Nodes     int           // how often one of three servers is killed, and how often one is paused
	Servers   int           // of a deployment; 0: one
	// Keys is how many groups there are at most; the rule's cap is a hundredth.
	Keys int
	// Groups that change each second at the evaluator's first step, and how many
	// steps there are at most.
	Groups int
	Steps  int
	Dir    string
	Bin    string
}

var parts = []string{"publish", "main", "door", "latency", "handover", "outage", "nodes", "groups", "evaluator"}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	if len(args) > 0 {
		// The processes whose CPU is measured apart from ours.
		switch args[0] {
		case "drive":
			return drive(ctx, args[1:], out)
		case "raw":
			return raw(ctx, args[1:], out)
		}
	}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	var c config
	list := flags.String("parts", strings.Join(parts, ","), "which `parts` to run")
	flags.DurationVar(&c.For, "for", time.Minute, "how long the main job runs, and each step of the evaluator")
	flags.DurationVar(&c.Short, "short", 10*time.Second, "how long each part runs that goes as fast as it can")
	flags.IntVar(&c.Rate, "rate", 100_000, "events a second of the main job")
	flags.IntVar(&c.Samples, "samples", 120, "alerts whose latency is measured")
	flags.IntVar(&c.Handovers, "handovers", 10, "how often a processor is stopped, and how often one is killed")
	flags.DurationVar(&c.Outage, "outage", time.Minute, "how long the broker is away")
	flags.IntVar(&c.Outages, "outages", 2, "how often the broker is paused, and how often it is killed")
	flags.IntVar(&c.Nodes, "nodes", 6, "how often one of three servers is killed, and how often one is paused")
	flags.IntVar(&c.Keys, "keys", 1_000_000, "groups of a rule whose cap is a hundredth of it")
	flags.IntVar(&c.Groups, "groups", 4000, "groups that change each second at the evaluator's first step")
	flags.IntVar(&c.Steps, "steps", 6, "steps of the evaluator at most")
	flags.StringVar(&c.Dir, "dir", "", "a `directory` on the disk to be measured (default: the system's for temporary files)")
	flags.StringVar(&c.Bin, "bin", "", "a `directory` that has the programs (default: build them)")
	asJSON := flags.Bool("json", false, "print one JSON object")
	if err := flags.Parse(args); err != nil {
		return err
	}
	c.Parts = strings.Split(*list, ",")
	if err := c.validate(); err != nil {
		return err
	}
	var err error
	if c.Dir, err = os.MkdirTemp(c.Dir, "millrace-bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(c.Dir)
	if c.Bin == "" {
		c.Bin = filepath.Join(c.Dir, "bin")
		if err := child.Build(ctx, c.Bin, child.Programs, child.NATSServer); err != nil {
			return err
		}
	}
	report, err := measure(ctx, c)
	if err != nil {
		return err
	}
	if *asJSON {
		err = json.NewEncoder(out).Encode(report)
	} else {
		err = report.print(out)
	}
	return errors.Join(err, report.lost())
}

func (c config) validate() error {
	var faults []error
	for _, p := range c.Parts {
		if !slices.Contains(parts, p) {
			faults = append(faults, fmt.Errorf("part %q: there are %s", p, strings.Join(parts, ", ")))
		}
	}
	if c.For <= 0 || c.Short <= 0 || c.Rate <= 0 || c.Samples <= 0 || c.Handovers <= 0 || c.Outage <= 0 || c.Outages <= 0 || c.Nodes <= 0 || c.Keys <= 0 || c.Groups <= 0 || c.Steps <= 0 {
		faults = append(faults, errors.New("times, rate, samples, handovers, outages, nodes, keys, groups and steps: more than 0"))
	}
	if c.Outage >= patience {
		faults = append(faults, fmt.Errorf("an outage of %s: less than %s, the longest that anything is waited for", c.Outage, patience))
	}
	return errors.Join(faults...)
}

// measure runs the parts one after the other.
func measure(ctx context.Context, c config) (*report, error) {
	r := &report{Machine: machine(), Rate: c.Rate}
	var err error
	for _, part := range c.Parts {
		switch part {
		case "publish":
			r.Publish, err = measurePublish(ctx, c)
		case "main":
			r.Main, err = measureMain(ctx, c, "library")
		case "door":
			r.Door, err = measureMain(ctx, c, "door")
		case "latency":
			r.Latency, err = measureLatency(ctx, c)
		case "handover":
			r.Handover, err = measureHandover(ctx, c)
		case "outage":
			r.Outage, err = measureOutage(ctx, c)
		case "nodes":
			r.Nodes, err = measureNodes(ctx, c)
		case "groups":
			r.Groups, err = measureGroups(ctx, c)
		case "evaluator":
			r.Evaluator, err = measureEvaluator(ctx, c)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", part, err)
		}
	}
	return r, nil
}
