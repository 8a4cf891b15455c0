// Command chaos runs a whole deployment as real processes, makes faults of it, and
// compares what is left with the ledgers of those outside whom no fault reached.
//
// Usage, in the root of the repository:
//
//	go run ./integration/chaos [flags]          runs with new seeds, for five minutes
//	go run ./integration/chaos -seed N [flags]  one run; every choice comes from the seed
//	go run ./integration/chaos -again DIR       the run that left DIR, once more
//	go run ./integration/chaos -check DIR       the checks alone, over what a run left
//	go run ./integration/chaos -bugs all        plants known bugs and sees that each is found
//	go run ./integration/chaos -sum             docs/faults.jsonl into docs/guarantees.md
//
// Each run prints its seed and its options, and keeps its ledgers in a directory
// where it did not pass. A run passes only if each of its faults was made, events
// were sent meanwhile, and it drained; otherwise it is unknown. The exit status is
// 1 if a run failed, or if none passed.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/dermai/millrace/integration/faultlog"
)

// config is what the flags say.
type config struct {
	Options
	faults string
	length time.Duration
	dir    string
	keep   bool
	again  string
	check  string
	record bool
	sum    bool
	bugs   string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := command(ctx, os.Args[1:], os.Stdout)
	stop()
	if errors.Is(err, flag.ErrHelp) {
		os.Exit(2)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		os.Exit(1)
	}
}

func flags(args []string) (*config, error) {
	c := new(config)
	set := flag.NewFlagSet("chaos", flag.ContinueOnError)
	set.Int64Var(&c.Seed, "seed", 0, "makes every choice of one run; 0: runs with seeds of the clock")
	set.IntVar(&c.Servers, "servers", 0, "number of nats-servers, 1 or 3; 0: the seed says")
	set.IntVar(&c.Processors, "processors", 0, "number of processors; 0: the seed says, 2 to 5")
	set.StringVar(&c.Store, "store", "", "where the archive is, files or s3 (versitygw, built in integration/s3); \"\": the seed says")
	set.StringVar(&c.faults, "faults", "", "kinds of faults with commas between them, none or all; \"\": the seed says\n"+faultHelp())
	set.IntVar(&c.Least, "least", 0, "kinds of fault that a seed draws at least")
	set.DurationVar(&c.Storm, "storm", 0, "how long faults are made; 0: 10s")
	set.StringVar(&c.Bug, "bug", "", "a bug to plant, see docs/guarantees.md")
	set.DurationVar(&c.length, "for", 5*time.Minute, "how long runs are begun, without -seed")
	set.StringVar(&c.dir, "dir", "", "where ledgers are kept; \"\": a new directory for temporary files")
	set.BoolVar(&c.keep, "keep", false, "keep the ledgers of runs that passed too")
	set.StringVar(&c.again, "again", "", "directory of a run to make once more")
	set.StringVar(&c.check, "check", "", "directory of a run to check once more")
	set.BoolVar(&c.record, "record", false, "add the runs to "+faultlog.File)
	set.BoolVar(&c.sum, "sum", false, "write what "+faultlog.File+" comes to into "+docFile)
	set.StringVar(&c.bugs, "bugs", "", "plant these bugs, or all, one after another, and see that each is found")
	if err := set.Parse(args); err != nil {
		return nil, err
	}
	if set.NArg() > 0 {
		return nil, fmt.Errorf("%q: no arguments are taken", set.Args())
	}
	switch c.faults {
	case "":
	case "none":
		c.Faults = []string{}
	case "all":
		for _, f := range faults {
			if f.possible(c.Options) == nil {
				c.Faults = append(c.Faults, f.name)
			}
		}
	default:
		c.Faults = strings.Split(c.faults, ",")
	}
	return c, nil
}

func faultHelp() string {
	var b strings.Builder
	for _, f := range faults {
		fmt.Fprintf(&b, "  %-10s %s\n", f.name, f.says)
	}
	return b.String()
}

func command(ctx context.Context, args []string, out io.Writer) error {
	c, err := flags(args)
	switch {
	case err != nil:
		return err
	case c.sum:
		return sumUp()
	case c.check != "":
		return checkAgain(c.check, out)
	case c.again != "":
		if err := readJSON(filepath.Join(c.again, fileOptions), &c.Options); err != nil {
			return err
		}
	}
	if c.dir == "" {
		if c.dir, err = os.MkdirTemp("", "millrace-chaos-"); err != nil {
			return err
		}
		defer func() { _ = os.RemoveAll(filepath.Join(c.dir, "bin")) }()
	}
	if c.dir, err = filepath.Abs(c.dir); err != nil {
		return err
	}
	return c.runs(ctx, out)
}

func checkAgain(dir string, out io.Writer) error {
	e, err := readEvidence(dir)
	if err != nil {
		return err
	}
	v := judge(e)
	fmt.Fprintln(out, v)
	if v.Outcome != outcomePass {
		return errors.New(v.Outcome)
	}
	return nil
}

// runs makes one run, or runs until the time is over.
func (c *config) runs(ctx context.Context, out io.Writer) (err error) {
	var hash string
	if c.record {
		if hash, err = faultlog.Commit(ctx); err != nil {
			return err
		}
	}
	bin := filepath.Join(c.dir, "bin")
	if err := build(ctx, bin); err != nil {
		return err
	}
	if c.bugs != "" {
		return c.plant(ctx, c.bugs, out)
	}
	outcomes := map[string]int{}
	end := time.Now().Add(c.length)
	for first := true; first || c.Seed == 0 && time.Now().Before(end) && ctx.Err() == nil; first = false {
		o := c.Options
		if o.Seed == 0 {
			o.Seed = time.Now().UnixNano() % 1e9
		}
		v, took, err := c.one(ctx, &o, bin, out)
		if err != nil {
			return err
		}
		outcomes[v.Outcome]++
		if c.record {
			if err := faultlog.Add(record(hash, &o, v, took)); err != nil {
				return err
			}
		}
	}
	fmt.Fprintf(out, "%d passed, %d failed, %d unknown\n", outcomes[outcomePass], outcomes[outcomeFail], outcomes[outcomeUnknown])
	switch {
	case outcomes[outcomeFail] > 0:
		return errors.New("a promise was broken; the ledgers are in " + c.dir)
	case outcomes[outcomePass] == 0:
		return errors.New("no run proved anything; the ledgers are in " + c.dir)
	}
	return nil
}

// one makes a run and judges it.
func (c *config) one(ctx context.Context, o *Options, bin string, out io.Writer) (*Verdict, time.Duration, error) {
	o.draw()
	if err := o.validate(); err != nil {
		return nil, 0, err
	}
	if o.Store == storeS3 {
		if err := buildGateway(ctx, bin); err != nil {
			return nil, 0, err
		}
	}
	dir := filepath.Join(c.dir, fmt.Sprintf("seed-%d", o.Seed))
	fmt.Fprintf(out, "%s -dir %s\n", o.again(), c.dir)
	began := time.Now()
	err := execute(ctx, o, bin, dir)
	took := time.Since(began)
	if ctx.Err() != nil {
		return nil, took, ctx.Err()
	}
	var v Verdict
	if err != nil { // there is no whole evidence
		v = Verdict{Outcome: outcomeUnknown, Why: []string{err.Error()}}
	} else {
		e, err := readEvidence(dir)
		if err != nil {
			return nil, took, fmt.Errorf("seed %d, in %s: %w", o.Seed, dir, err)
		}
		v = judge(e)
	}
	fmt.Fprintf(out, "%.1f s: %s\n", took.Seconds(), v)
	if v.Outcome == outcomePass && !c.keep {
		return &v, took, os.RemoveAll(dir)
	}
	return &v, took, nil
}
