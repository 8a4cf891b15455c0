package app

import (
	"context"
	"fmt"

	"github.com/dermai/millrace/internal/app/config"
	"github.com/dermai/millrace/internal/archiver"
	"github.com/dermai/millrace/internal/proof"
)

// verifyCommand proves that nothing was lost, or names what was. Findings: what is
// missing or wrong.
type verifyCommand struct {
	From  moment `placeholder:"TIME" help:"Look at what arrived since then: how long ago (15m), a day (2006-01-02) or a time (RFC 3339). Default: the beginning."`
	To    moment `placeholder:"TIME" help:"Look at what arrived before then. Default: the end."`
	Alone bool   `help:"Look at the archive alone, without a broker."`
}

func (c *verifyCommand) Run(ctx context.Context, s *session) error {
	store, err := s.readArchive()
	if err != nil {
		return err
	}
	defer store.Close()
	cfg := proof.Config{
		Store: store, Expect: expected(s.config.Verify), Since: c.From.nanoseconds(), Until: c.To.nanoseconds(),
	}
	if config.IsTerminal(s.Stderr) {
		cfg.Progress = func(stream string, messages uint64, arrival int64) {
			fmt.Fprintf(s.Stderr, "\r\033[K%s: %d messages, at %s", stream, messages, clock(arrival))
		}
		defer fmt.Fprint(s.Stderr, "\r\033[K")
	}
	report, err := c.verify(ctx, s, cfg)
	if err != nil {
		return err
	}
	if s.out.json {
		err = s.out.print(report)
	} else {
		err = printProof(s.out, report)
	}
	if err == nil && !report.OK() {
		err = findingsError(plural(len(report.Findings)+report.More, "finding"))
	}
	return err
}

func (c *verifyCommand) verify(ctx context.Context, s *session, cfg proof.Config) (*proof.Report, error) {
	if c.Alone {
		return proof.Run(ctx, cfg)
	}
	conn, err := s.connect(ctx, "millrace verify", nil, nil)
	if err != nil {
		return nil, fmt.Errorf("%w; with --alone the archive alone is looked at", err)
	}
	defer conn.Close()
	return archiver.Verify(ctx, conn, cfg)
}

// expected are the publishers that must speak.
func expected(c config.Verify) (out []proof.Expected) {
	for _, p := range c.Expect {
		out = append(out, proof.Expected{Kind: p.Kind, Service: p.Service, Every: p.Every})
	}
	return out
}

func printProof(out *printer, r *proof.Report) error {
	if err := out.header("STREAM", "MESSAGES", "ARCHIVED", "WAITING", "TICKS", "FRAMES", "EVENTS", "QUARANTINED"); err != nil {
		return err
	}
	for _, s := range r.Streams {
		if err := out.print(nil, s.Stream, s.Messages, s.Archived, s.Waiting, s.Ticks, s.Frames, s.Events, s.Quarantined); err != nil {
			return err
		}
	}
	lines := []string{fmt.Sprintf("%d lanes are complete, %d unknown at their end", r.Complete, uint64(len(r.Lanes))+r.Forgotten)}
	for _, l := range r.Lanes {
		lines = append(lines, l.String())
	}
	for _, what := range r.Unchecked {
		lines = append(lines, "not looked at: "+what)
	}
	for _, f := range r.Findings {
		lines = append(lines, f.Kind+": "+f.String())
	}
	if r.More > 0 {
		lines = append(lines, fmt.Sprintf("and %d more", r.More))
	}
	for _, line := range lines {
		if err := out.print(nil, line); err != nil {
			return err
		}
	}
	return nil
}
