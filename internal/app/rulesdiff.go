package app

import (
	"context"
	"fmt"
	"time"

	"github.com/dermai/millrace/backtest"
	"github.com/dermai/millrace/schemas"
)

// rulesDiff tells what other rules would have made of the archive. Findings: more
// changes than the budget, and a range that the archive does not hold whole.
type rulesDiff struct {
	rangeFlags
	Budget int           `placeholder:"N" help:"How many alerts may fire or end otherwise. Default: none."`
	Within time.Duration `default:"5m" help:"What fires or ends at most so much earlier or later has moved."`
	Old    string        `arg:"" help:"A rule file; - for the rules that were in force."`
	New    string        `arg:"" help:"The rule file to compare it with."`
}

func (c *rulesDiff) Run(ctx context.Context, s *session) error {
	var sources [2]*schemas.RuleSource
	for i, name := range []string{c.Old, c.New} {
		if name == "-" {
			continue
		}
		var err error
		if sources[i], err = s.readRules([]string{name}); err != nil {
			return err
		}
	}
	run, err := c.open(ctx, s)
	if err != nil {
		return err
	}
	defer run.close()
	run.showProgress()
	d, err := backtest.Diff(ctx, run.Config, sources[0], sources[1], c.Within)
	run.clearProgress()
	if err != nil {
		return err
	}
	if err := s.printDifference(d); err != nil {
		return err
	}
	if err := run.report(&d.New); err != nil {
		return err
	}
	if n := len(d.Changes); n > c.Budget {
		return findingsError(fmt.Sprintf("%s, the budget is %d", plural(n, "change"), c.Budget))
	}
	return nil
}

// printDifference prints the changes, and then the sums of each rule.
func (s *session) printDifference(d *backtest.Difference) error {
	if len(d.Changes) > 0 {
		if err := s.out.header("CHANGE", "TIME", "ALERT", "TO", "BY"); err != nil {
			return err
		}
	}
	for _, c := range d.Changes {
		by := ""
		if c.Kind == backtest.Moved {
			by = fmt.Sprintf("%+.0fs", c.By.Seconds())
		}
		if err := s.out.print(c, c.Kind, clock(c.Time), c.Alert, c.To, by); err != nil {
			return err
		}
	}
	if err := s.out.flush(); err != nil { // the columns of the sums are others
		return err
	}
	if err := s.out.header("RULE", "OLD", "NEW", "GAINED", "LOST", "MOVED", "TOLD A DAY"); err != nil {
		return err
	}
	for _, r := range d.Rules {
		told := fmt.Sprintf("%.1f to %.1f", r.OldTold, r.NewTold)
		if err := s.out.print(r, r.Rule, r.Old, r.New, r.Gained, r.Lost, r.Moved, told); err != nil {
			return err
		}
	}
	return s.out.flush()
}
