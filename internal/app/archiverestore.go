package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/dermai/millrace/internal/app/config"
	"github.com/dermai/millrace/internal/archiver"
	"github.com/dermai/millrace/pipeline"
	"github.com/dermai/millrace/schemas"
)

// archiveRestore makes a stream that was lost as it was.
type archiveRestore struct {
	Stream string `arg:"" help:"EVENTS_0 and so on, or AUDIT."`
	Since  moment `placeholder:"TIME" help:"What arrived since then: how long ago (15m), a day (2006-01-02) or a time (RFC 3339). What its reducer has not read is restored in any case. Default: 72h before the end of the archive, which is what a stream keeps."`
	DryRun bool   `help:"Only say what would be restored."`
	Author string `placeholder:"NAME" help:"Who restores. Default: who is logged in."`
}

func (c *archiveRestore) Run(ctx context.Context, s *session) error {
	by := cmp.Or(c.Author, loggedIn())
	if by == "" {
		return errors.New("say who restores: --author NAME")
	}
	store, err := s.readArchive()
	if err != nil {
		return err
	}
	defer store.Close()
	conn, err := s.connect(ctx, "millrace archive restore", nil, nil)
	if err != nil {
		return err
	}
	defer conn.Close()
	plan, err := archiver.PlanRestore(ctx, conn, store, c.Stream, c.Since.nanoseconds())
	if errors.Is(err, pipeline.ErrRestored) {
		return s.out.print(restoredStream{Stream: c.Stream}, err.Error())
	}
	if err != nil {
		return err
	}
	if !c.DryRun {
		if err := auditable(ctx, conn, c.Stream); err != nil {
			return err
		}
		progress, clear := s.restoreProgress(plan)
		err = plan.Restore(ctx, conn, s.layout(), progress)
		clear()
		if err != nil {
			return err
		}
	}
	lost := ""
	if plan.Lost() > 0 {
		lost = fmt.Sprintf("; %d to %d are lost: they were given, and nobody had archived them", plan.Archived+1, plan.End)
	}
	verb := "restored"
	if c.DryRun {
		verb = "would restore"
	}
	err = s.out.print(restoredStream{plan, c.Stream, !c.DryRun}, fmt.Sprintf("%s %s: %s, %d to %d, %d bytes%s",
		verb, c.Stream, plural(int(plan.Messages), "message"), plan.First, plan.Archived, plan.Bytes, lost))
	if err != nil || c.DryRun {
		return err
	}
	err = s.audit(ctx, conn, by, "archive.restore", "stream "+c.Stream, map[string]any{
		"epoch": plan.Epoch, "first": plan.First, "archived": plan.Archived, "end": plan.End, "messages": plan.Messages, "lost": plan.Lost(),
	})
	if err != nil {
		return errors.Join(fmt.Errorf("%s is restored, but the audit trail does not say so", c.Stream), err)
	}
	return nil
}

// restoredStream is what was done, as JSON.
type restoredStream struct {
	*archiver.RestorePlan
	Stream   string `json:"stream"`
	Restored bool   `json:"restored"` // by this run
}

// restoreProgress says on a terminal how far a restore is. clear removes that.
func (s *session) restoreProgress(plan *archiver.RestorePlan) (progress func(messages uint64), clear func()) {
	if !config.IsTerminal(s.Stderr) {
		return nil, func() {}
	}
	return func(n uint64) {
		if n%1000 == 0 {
			fmt.Fprintf(s.Stderr, "\r\033[K%s: %d of %d messages", plan.Stream, n, plan.Messages)
		}
	}, func() { fmt.Fprint(s.Stderr, "\r\033[K") }
}

// auditable tells whether the audit trail is there to hear of a restore.
func auditable(ctx context.Context, conn *pipeline.Conn, stream string) error {
	if stream == schemas.StreamAudit {
		return nil
	}
	log := conn.Log()
	defer log.Close()
	if _, err := log.Info(ctx, schemas.StreamAudit); err != nil {
		return fmt.Errorf("the audit trail must hear of it; restore %s first: %w", schemas.StreamAudit, err)
	}
	return nil
}
