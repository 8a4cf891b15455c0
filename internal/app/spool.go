package app

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/dermai/millrace/internal/app/config"
	"github.com/dermai/millrace/spool"
)

// spoolCommand groups what is about the publisher's spool on this machine.
type spoolCommand struct {
	Ls    spoolLs    `cmd:"" help:"List what waits in the spool, lane by lane."`
	Check spoolCheck `cmd:"" help:"Read every byte of the spool and name what is damaged."`
}

// spoolDir is where the spool is.
func spoolDir(cfg *config.Config) string {
	if cfg.Publisher.Spool.Dir != "" {
		return string(cfg.Publisher.Spool.Dir)
	}
	return filepath.Join(string(cfg.Data), "spool")
}

// readSpool reads the spool, and makes none where there is none.
func (s *session) readSpool() (spool.Report, error) {
	dir := spoolDir(&s.config.Config)
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return spool.Report{}, fmt.Errorf("spool: there is none in %s: name its directory with --data or publisher.spool.dir", dir)
	}
	return spool.Check(dir)
}

// spoolLs lists lanes.
type spoolLs struct{}

func (spoolLs) Run(s *session) error {
	report, err := s.readSpool()
	if err != nil {
		return err
	}
	if err := s.out.header("LANE", "RECORDS", "EVENTS", "BYTES", "FIRST", "LAST", "OLDEST"); err != nil {
		return err
	}
	for _, l := range report.Lanes {
		if err := s.out.print(l, l.Lane, l.Records, l.Events, l.Bytes, l.First, l.Last, clock(l.Oldest)); err != nil {
			return err
		}
	}
	return nil
}

// spoolCheck names damage. Findings: damage.
type spoolCheck struct{}

func (spoolCheck) Run(s *session) error {
	report, err := s.readSpool()
	if err != nil {
		return err
	}
	for _, d := range report.Damaged {
		if err := s.out.print(d, d.String()); err != nil {
			return err
		}
	}
	if n := len(report.Damaged); n > 0 {
		return findingsError(plural(n, "damaged place") + " in the spool")
	}
	records := 0
	for _, l := range report.Lanes {
		records += l.Records
	}
	if !s.out.json {
		return s.out.print(nil, fmt.Sprintf("%s in %d bytes, none damaged", plural(records, "record"), report.Bytes))
	}
	return nil
}
