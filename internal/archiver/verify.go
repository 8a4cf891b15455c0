package archiver

import (
	"context"
	"time"

	"github.com/dermai/millrace/internal/proof"
	"github.com/dermai/millrace/pipeline"
	"github.com/dermai/millrace/schemas"
	"github.com/dermai/millrace/stages"
)

// verifyEvery is how often it is looked whether a day is over.
const verifyEvery = 10 * time.Minute

// Verify compares the archive with what the broker has: c without the broker's
// side.
func Verify(ctx context.Context, conn *pipeline.Conn, c proof.Config) (*proof.Report, error) {
	log := conn.Log()
	defer log.Close()
	control := stages.NewControl(log, time.Now, nil)
	if _, err := control.Read(ctx); err != nil {
		return nil, err
	}
	for _, class := range schemas.Classes {
		c.Partitions = append(c.Partitions, control.Schedule().Partitions(class)...)
	}
	c.Log = log
	c.Covered = func(ctx context.Context, p schemas.Partition) (uint64, error) { return Covered(ctx, log, p) }
	c.Quarantined = func(ctx context.Context, fn func(schemas.Quarantined) error) error {
		quarantine := pipeline.NewQuarantine(conn)
		for after := uint64(0); ; {
			items, err := quarantine.List(ctx, after, 256)
			if err != nil || len(items) == 0 {
				return err
			}
			for _, item := range items {
				if err := fn(item.Quarantined); err != nil {
					return err
				}
				after = item.Seq
			}
		}
	}
	return proof.Run(ctx, c)
}

// verify looks at each day when it is over. What fails is tried again: nothing
// waits for it, but an alert tells when it is late.
func (a *archiver) verify(ctx context.Context) error {
	daily := proof.NewDaily(a.Store, a.Registry, time.Now, func(ctx context.Context, since, until int64) (*proof.Report, error) {
		return Verify(ctx, a.Conn, proof.Config{Store: a.Store, Expect: a.Expect, Since: since, Until: until})
	})
	look := time.NewTicker(verifyEvery)
	defer look.Stop()
	for {
		report, err := daily.Step(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			a.Log.Warn().Err(err).Msg("a day waits to be verified")
		case report == nil:
		case report.OK():
			a.Log.Info().Time("day", time.Unix(0, report.Since).UTC()).Msg("verified: nothing is missing")
			continue
		default:
			a.Log.Error().Time("day", time.Unix(0, report.Since).UTC()).Int("findings", len(report.Findings)+report.More).
				Str("first", report.Findings[0].String()).Msg("verified: something is missing or wrong; see millrace verify")
			continue
		}
		select {
		case <-ctx.Done():
			return nil
		case <-look.C:
		}
	}
}
