// Powerloss cuts the power of real disks and damages the files of a real broker,
// and compares what was said to be stored with what is there.
//
//	go run ./integration/powerloss -for 4m            with new seeds
//	go run ./integration/powerloss -case flip -seed 7 one trial again
//	go run ./integration/powerloss -for 4m -record    into docs/faults.jsonl
//
// A disk is an ext4 file system in a file; its power is cut by the file system's
// own ioctl, which drops what was not synced. It needs root and loop devices.
// Whoever writes to it is stopped before and killed after, as by the same cut.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/dermai/millrace/integration/faultlog"
)

// kind tells what a trial does.
type kind struct {
	kind string // power, corruption
	run  func(context.Context, *trial) error
}

var kinds = map[string]kind{
	"store":     {"power", fileStore},
	"spool":     {"power", publishersSpool},
	"provision": {"power", provisioning},
	"publish":   {"power", publishing},
	"rewind":    {"corruption", corruption(rewind)},
	"flip":      {"corruption", corruption(flip)},
	"truncate":  {"corruption", corruption(truncate)},
	"zero":      {"corruption", corruption(zero)},
	"forget":    {"corruption", corruption(forget)},
	"middle":    {"corruption", corruption(middle)},
}

// trial is one run of a kind with a seed.
type trial struct {
	seed   uint64
	random *rand.Rand
	dir    string
	disk   *disk // nil for corruption
	log    io.Writer
	counts map[string]int
}

func (c *trial) count(what string, n int) { c.counts[what] += n }

// failure is a promise that did not hold.
type failure struct{ error }

func (c *trial) fail(format string, args ...any) error { return failure{fmt.Errorf(format, args...)} }

// Record is a line of docs/faults.jsonl.
type Record struct {
	Kind    string         `json:"kind"`
	Commit  string         `json:"commit"`
	Seed    uint64         `json:"seed"`
	Faults  []string       `json:"faults"`
	Outcome string         `json:"outcome"` // held, failed; unknown: the trial itself went wrong
	Seconds float64        `json:"seconds"`
	Counts  map[string]int `json:"counts"`
	Why     []string       `json:"why,omitempty"`
}

// try runs one trial in a directory of its own, which stays if it did not hold.
func try(ctx context.Context, name string, seed uint64, commit string) Record {
	began := time.Now()
	c := &trial{seed: seed, random: rand.New(rand.NewPCG(seed, sum(name))), counts: map[string]int{}}
	r := Record{Kind: kinds[name].kind, Commit: commit, Seed: seed, Faults: []string{name}, Counts: c.counts, Outcome: "held"}
	err := c.run(ctx, name)
	var failed failure
	switch {
	case errors.As(err, &failed):
		r.Outcome, r.Why = "failed", []string{err.Error()}
	case err != nil:
		r.Outcome, r.Why = "unknown", []string{err.Error()}
	}
	r.Seconds = float64(time.Since(began).Round(100*time.Millisecond)) / 1e9
	return r
}

func (c *trial) run(ctx context.Context, name string) (err error) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	if c.dir, err = os.MkdirTemp("", "powerloss-"+name+"-"); err != nil {
		return err
	}
	log, err := os.Create(filepath.Join(c.dir, "log"))
	if err != nil {
		return err
	}
	defer log.Close()
	c.log = log
	if kinds[name].kind == "power" {
		if c.disk, err = newDisk(c.dir); err != nil {
			return err
		}
	}
	err = kinds[name].run(ctx, c)
	if c.disk != nil {
		err = errors.Join(err, c.disk.unmount())
	}
	if err == nil {
		err = os.RemoveAll(c.dir)
	}
	return err
}

func main() {
	if os.Getenv(childRole) != "" {
		if err := child(); err != nil {
			fmt.Fprintln(os.Stderr, "child:", err)
			os.Exit(1)
		}
		return
	}
	length := flag.Duration("for", 0, "begin trials for this long; 0: one of each")
	only := flag.String("case", "", "only these kinds, comma-separated: "+strings.Join(slices.Sorted(maps.Keys(kinds)), ", "))
	seed := flag.Uint64("seed", uint64(time.Now().Unix()), "of the first trial; each next has one more")
	keep := flag.Bool("record", false, "append to "+faultlog.File)
	flag.Parse()
	if err := run(*length, *only, *seed, *keep); err != nil {
		fmt.Fprintln(os.Stderr, "powerloss:", err)
		os.Exit(1)
	}
}

func run(length time.Duration, only string, seed uint64, keep bool) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	names := slices.Sorted(maps.Keys(kinds))
	if only != "" {
		names = strings.Split(only, ",")
	}
	commit, err := faultlog.Commit(ctx)
	if err != nil {
		return err
	}
	bad, began := 0, time.Now()
	for i := 0; ctx.Err() == nil && (i < len(names) || time.Since(began) < length); i++ {
		name := names[i%len(names)]
		if kinds[name].run == nil {
			return fmt.Errorf("no case %q", name)
		}
		r := try(ctx, name, seed+uint64(i), commit)
		if ctx.Err() != nil {
			break
		}
		if err := json.NewEncoder(os.Stdout).Encode(r); err != nil {
			return err
		}
		if r.Outcome != "held" {
			bad++
		}
		if keep {
			if err := faultlog.Add(r); err != nil {
				return err
			}
		}
	}
	if bad > 0 {
		return fmt.Errorf("%d trials did not hold; their directories are in %s", bad, os.TempDir())
	}
	return nil
}
