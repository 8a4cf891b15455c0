package app

import (
	"context"
	"errors"
	"fmt"

	"github.com/dermai/millrace/pipeline"
	"github.com/dermai/millrace/sources"
)

// publishCommand publishes a file. Findings: lines that are no events.
type publishCommand struct {
	eventFlags
	Follow bool   `short:"f" help:"Go on as the file grows and is rotated, until interrupted."`
	File   string `arg:"" help:"JSON lines; - is standard input. A file that was published already goes on where the stored events end."`
}

func (c *publishCommand) Run(ctx context.Context, s *session) error {
	if c.Follow && c.File == "-" {
		return errors.New("--follow is for files: standard input is read to its end anyway")
	}
	defaults, err := c.defaults(s)
	if err != nil {
		return err
	}
	conn, err := s.connect(ctx, "millrace publish", nil, nil)
	if err != nil {
		return err
	}
	defer conn.Close()
	publisher, err := pipeline.NewPublisher(conn, pipeline.PublisherConfig{Service: defaults.Service, Partitions: s.config.Partitions})
	if err != nil {
		return err
	}
	var tally sources.Tally
	inlet := sources.Inlet{Publisher: publisher, Defaults: defaults, Tally: &tally,
		Refused: func(_ context.Context, _ []byte, offset int64, reason error) error {
			_, err := fmt.Fprintf(s.Stderr, "%s: byte %d: %s\n", printable(c.File), offset, printable(reason.Error()))
			return err
		},
	}
	if c.File == "-" {
		err = (&sources.Pipe{Inlet: inlet, Reader: s.Stdin}).Run(ctx)
	} else {
		err = (&sources.File{Inlet: inlet, Path: c.File, Follow: c.Follow, Stored: conn.Stored}).Run(ctx)
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), stepLimit)
	defer cancel()
	if err := errors.Join(err, publisher.Close(last)); err != nil {
		return err
	}
	published, refused := tally.Published.Load(), tally.Refused.Load()
	if err := s.out.print(map[string]int64{"published": published, "refused": refused}, plural(int(published), "event")+" stored"); err != nil {
		return err
	}
	if refused > 0 {
		return findingsError(plural(int(refused), "line") + " refused")
	}
	return nil
}
