package app

import (
	"context"
	"errors"

	"github.com/dermai/millrace/internal/archiver"
)

// archiveFlush archives what is still in the streams alone.
type archiveFlush struct{}

func (c *archiveFlush) Run(ctx context.Context, s *session) error {
	conn, err := s.connect(ctx, "millrace archive flush", nil, nil)
	if err != nil {
		return err
	}
	defer conn.Close()
	store, err := s.openArchive(ctx)
	if err != nil {
		return err
	}
	err = s.out.header("STREAM", "ARCHIVED UP TO")
	if err == nil {
		err = archiver.Flush(ctx, conn, store, func(f archiver.Flushed) error { return s.out.print(f, f.Stream, f.Archived) })
	}
	return errors.Join(err, store.Close())
}
