package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// bug is one that internal/chaos can plant, and what finds it: a run with these
// faults, or a test. What finds no bug proves nothing.
type bug struct {
	name   string
	faults string // of a run, as -faults takes them; "": a test finds it
	pkg    string // of the test
	test   string
}

func (b bug) catcher() string {
	if b.test != "" {
		return fmt.Sprintf("`%s` in `%s`", b.test, b.pkg)
	}
	return fmt.Sprintf("a run with faults %s", b.faults)
}

var bugs = []bug{
	{name: "acknowledge before append", faults: "kill,stall"},
	{name: "no fsync", pkg: "integration/chaos", test: "TestPowerCut"},
	{name: "fence off", pkg: "pipeline", test: "TestLogConformance"},
	{name: "zombie's append accepted", pkg: "fence/fencetest", test: "TestMemoryConformance"},
	{name: "claim kept over a load", pkg: "fence/fencetest", test: "TestClaimIsOfItsLoad"},
	{name: "frontier not strict", pkg: "integration/sim", test: "TestRuns"},
	{name: "same-bytes rule broken", pkg: "fence", test: "TestLaneRandom"},
	{name: "position of a whole frame", pkg: "integration/sim", test: "TestRuns"},
	{name: "running maximum lost at takeover", faults: "kill"},
	{name: "idle partition vouched by clock", pkg: "integration/sim", test: "TestRuns"},
	{name: "dead partition excluded", faults: "kill"},
	{name: "rules switched on notice", pkg: "integration/sim", test: "TestRuns"},
	{name: "quiet states not logged", faults: "none"},
	{name: "checkpoint without admissions", pkg: "rules/engine", test: "Test"},
	{name: "missing head taken as zero", pkg: "fence/fencetest", test: "TestMemoryConformance"},
	{name: "delivery recorded before the send", faults: "receiver"},
	{name: "delivery never recorded", faults: "none"},
	{name: "4xx swallowed", pkg: "sinks", test: "TestWebhook"},
	{name: "quarantine not awaited", faults: "cut,kill,stall"},
	{name: "L0 key by last sequence", pkg: "archive", test: "TestModel"},
	{name: "position moved before the put", pkg: "archive", test: "TestModel"},
	{name: "loser of a put not adopted", faults: "none"},
	{name: "late archiver adopts", pkg: "integration/sim", test: "TestRuns"},
	{name: "late archiver's object counts", pkg: "archive/compact", test: "TestLate"},
	{name: "rewind not noticed", pkg: "archive", test: "TestArchiverStopsAtRewind"},
	{name: "adopter drops the rest", pkg: "archive", test: "TestAdopterKeepsTheRest"},
	{name: "lost tail dropped", pkg: "archive", test: "TestLostTailBesideTheStream"},
	{name: "recreation not noticed", pkg: "integration/sim", test: "TestRuns"},
	{name: "another stream read on", pkg: "pipeline", test: "TestReaderNoticesAnotherStream"},
	{name: "epoch not looked at", pkg: "archive", test: "TestArchiverBeginsAnotherEpoch"},
	{name: "position taken for another stream's", pkg: "integration/sim", test: "TestRuns"},
	{name: "lost commit not noticed", pkg: "fence", test: "TestWriterNoticesLoss"},
	{name: "writer takes another stream", pkg: "fence", test: "TestWriterNoticesLoss"},
	{name: "mark not compared", pkg: "notify", test: "TestPlanIncidents"},
	{name: "shed not counted", pkg: "pipeline", test: "TestBackPressure"},
	{name: "redrive without dedup", pkg: "pipeline", test: "TestRedriveToConsumer"},
	{name: "purge ahead of the archive", pkg: "archive", test: "TestTrim"},
}

// mostTries is how many seeds a run is given to find a bug.
const mostTries = 3

// caught tells whether a bug is found, and by what.
func (c *config) caught(ctx context.Context, b bug, out io.Writer) (bool, error) {
	if b.test != "" {
		cmd := exec.CommandContext(ctx, "go", "test", "-count=1", "-tags", "chaos", "-run", b.test, "./"+b.pkg)
		cmd.Env = append(os.Environ(), "MILLRACE_CHAOS_BUG="+b.name)
		said, err := cmd.CombinedOutput()
		if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
			return false, err
		}
		if strings.Contains(string(said), "[build failed]") || strings.Contains(string(said), "no tests to run") {
			return false, fmt.Errorf("%s\n%s", b.catcher(), said)
		}
		return err != nil, nil
	}
	for n := range int64(mostTries) {
		o := c.Options
		o.Seed, o.Servers, o.Bug, o.Faults = 1000+n, 1, b.name, []string{}
		o.Store = cmp.Or(o.Store, storeFiles)
		if b.faults != "none" {
			o.Faults = strings.Split(b.faults, ",")
		}
		v, _, err := c.one(ctx, &o, filepath.Join(c.dir, "bin"), out)
		if err != nil {
			return false, err
		}
		if v.Outcome == outcomeFail {
			return true, os.RemoveAll(filepath.Join(c.dir, fmt.Sprintf("seed-%d", o.Seed)))
		}
	}
	return false, nil
}

// plant plants bugs, all of them or those named, and sees that each is found.
func (c *config) plant(ctx context.Context, names string, out io.Writer) error {
	var missed []string
	for _, b := range bugs {
		if names != "all" && !slices.Contains(strings.Split(names, ","), b.name) {
			continue
		}
		began := time.Now()
		ok, err := c.caught(ctx, b, out)
		if err != nil {
			return fmt.Errorf("bug %q: %w", b.name, err)
		}
		word := "caught"
		if !ok {
			word = "MISSED"
			missed = append(missed, b.name)
		}
		fmt.Fprintf(out, "%s: %s by %s, %.0f s\n", b.name, word, b.catcher(), time.Since(began).Seconds())
	}
	if missed != nil {
		return fmt.Errorf("nothing found %s", strings.Join(missed, "; "))
	}
	return nil
}

// bugTable is the table of the document.
func bugTable() string {
	var b strings.Builder
	b.WriteString("| planted bug | found by |\n|---|---|\n")
	for _, bug := range bugs {
		fmt.Fprintf(&b, "| %s | %s |\n", bug.name, bug.catcher())
	}
	return b.String()
}
