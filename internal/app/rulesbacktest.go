package app

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dermai/millrace/archive"
	"github.com/dermai/millrace/backtest"
	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/internal/app/config"
	"github.com/dermai/millrace/rules"
	"github.com/dermai/millrace/schemas"
)

// rangeFlags choose a range of the archive to be decided again.
type rangeFlags struct {
	From moment `placeholder:"TIME" help:"Begin there: how long ago (15m), a day (2006-01-02) or a time (RFC 3339). Default: where the deployment began."`
	To   moment `placeholder:"TIME" help:"End before then. Default: as far as the archive is complete."`
	Live bool   `help:"Read behind the archive's end what the streams hold now. Publishes a tick, so that their time is known."`
}

// rulesBacktest decides what is archived again. Findings: a difference to ALERTS,
// and a range that the archive does not hold whole.
type rulesBacktest struct {
	rangeFlags
	Rules []string `short:"r" placeholder:"FILE" help:"Decide by these rules, as often as needed. Default: by those that were in force."`
	Check bool     `help:"Compare with what the live system decided, byte for byte."`
}

func (c *rulesBacktest) Run(ctx context.Context, s *session) error {
	run, err := c.open(ctx, s)
	if err != nil {
		return err
	}
	defer run.close()
	run.Check = c.Check
	if len(c.Rules) > 0 {
		if run.Rules, err = s.readRules(c.Rules); err != nil {
			return err
		}
	}
	if err := s.out.header("TIME", "ALERT", "CHANGE", "VALUE", "SUMMARY"); err != nil {
		return err
	}
	run.showProgress()
	sum, err := backtest.Run(ctx, run.Config, func(t schemas.Transition) error {
		if !s.out.json {
			return s.printTransition(t)
		}
		line, err := backtest.Canonical(&t)
		if err != nil {
			return err
		}
		return s.out.line(line, false)
	})
	run.clearProgress()
	if err != nil {
		return run.failed(&sum, err)
	}
	if err := s.out.flush(); err != nil {
		return err
	}
	return run.report(&sum)
}

// backtesting is a range of the archive that is decided once or more.
type backtesting struct {
	backtest.Config
	session *session
	close   func()
}

// open opens the archive, and with it the streams if they are wanted.
func (f *rangeFlags) open(ctx context.Context, s *session) (*backtesting, error) {
	store, err := s.readArchive()
	if err != nil {
		return nil, err
	}
	b := &backtesting{session: s, close: func() { store.Close() }}
	b.From, b.To = f.From.nanoseconds(), f.To.nanoseconds()
	archived := backtest.Archive{Store: store}
	b.Source = &archived
	if !f.Live {
		return b, nil
	}
	conn, err := s.connect(ctx, "millrace rules backtest", nil, nil)
	if err != nil {
		b.close()
		return nil, err
	}
	b.close = func() {
		conn.Close()
		store.Close()
	}
	b.Source = &backtest.Live{Archive: archived, Log: func() (fence.Log, func()) {
		log := conn.Log()
		return log, log.Close
	}}
	log := conn.Log()
	defer log.Close()
	if err := backtest.Ask(ctx, log, conn.StoreTick); err != nil {
		b.close()
		return nil, err
	}
	return b, nil
}

// showProgress says on a terminal how far it is.
func (b *backtesting) showProgress() {
	if !config.IsTerminal(b.session.Stderr) {
		return
	}
	var said time.Time
	b.Progress = func(p backtest.Progress) {
		if time.Since(said) < 200*time.Millisecond {
			return
		}
		said = time.Now()
		done := 100 * max(0, p.At-p.From) / max(1, p.To-p.From)
		fmt.Fprintf(b.session.Stderr, "\r%s: %s, %d %% of the range, %s\x1b[K", p.Class, clock(p.At), done, plural(int(p.Events), "event"))
	}
}

// clearProgress makes room for what is printed.
func (b *backtesting) clearProgress() {
	if b.Progress != nil {
		fmt.Fprint(b.session.Stderr, "\r\x1b[K")
	}
}

// failed says what was missing when it came to an end, and whether that is a finding.
func (b *backtesting) failed(sum *backtest.Summary, err error) error {
	b.missing(sum)
	_, differs := errors.AsType[*backtest.DifferError](err)
	_, corrupt := errors.AsType[*archive.CorruptError](err)
	if differs || corrupt || len(sum.Missing) > 0 || errors.Is(err, archive.ErrNotFound) {
		return findingsError(err.Error())
	}
	return err
}

// missing names what was missing, and counts it.
func (b *backtesting) missing(sum *backtest.Summary) (findings int) {
	for _, m := range sum.Missing {
		fmt.Fprintf(b.session.Stderr, "%s: the sequences %d to %d are missing; archive verify says why\n", m.Stream, m.First, m.Last)
	}
	return len(sum.Missing)
}

// report says what was read, and what of the range was not there.
func (b *backtesting) report(sum *backtest.Summary) error {
	out := b.session.Stderr
	findings := 0
	for _, c := range sum.Classes {
		checked := ""
		if b.Check {
			checked = fmt.Sprintf(", %d of them as the live system decided", c.Checked)
		}
		fmt.Fprintf(out, "%s: %s to %s, %s%s\n", c.Class, clock(c.From), clock(c.To), plural(int(c.Transitions), "transition"), checked)
		if c.HeldBy != "" && b.To > 0 {
			findings++
			fmt.Fprintf(out, "%s: what came after %s is unknown: there %s ends; archive flush archives what it holds, --live reads it\n", c.Class, clock(c.To), c.HeldBy)
		}
	}
	findings += b.missing(sum)
	fmt.Fprintf(out, "%s read\n", plural(int(sum.Events), "event"))
	if findings > 0 {
		return findingsError("the archive does not hold the whole range")
	}
	return nil
}

// readRules reads rule files and checks them.
func (s *session) readRules(names []string) (*schemas.RuleSource, error) {
	files, err := s.ruleFiles(names)
	if err != nil {
		return nil, err
	}
	set, err := rules.Parse(files...)
	if err != nil {
		return nil, err
	}
	source := set.Source()
	return &source, nil
}
