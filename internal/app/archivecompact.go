package app

import (
	"context"

	"github.com/dermai/millrace/archive"
	"github.com/dermai/millrace/archive/compact"
)

// compactConfig is the configuration of compactors.
func (s *session) compactConfig() compact.Config {
	c := s.config.Archive.Compact
	return compact.Config{Bytes: int64(c.Bytes), Grace: c.Grace}
}

// archiveCompact compacts by hand. It may run beside archivers.
type archiveCompact struct{}

func (c *archiveCompact) Run(ctx context.Context, s *session) error {
	store, err := s.readArchive()
	if err != nil {
		return err
	}
	defer store.Close()
	if err := s.out.header("FIRST", "LAST", "MESSAGES", "ROWS", "BYTES", "SEGMENT"); err != nil {
		return err
	}
	var failed error // to print
	cfg := s.compactConfig()
	cfg.Committed = func(g archive.Segment) {
		if err := s.out.print(g, g.First, g.Last, g.Messages, g.Rows, g.Bytes, g.Key); failed == nil {
			failed = err
		}
	}
	machine, err := compact.New(store, cfg)
	if err != nil {
		return err
	}
	for busy := true; busy && failed == nil; {
		if busy, err = machine.Step(ctx); err != nil {
			return err
		}
	}
	return failed
}
