package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/dermai/millrace/archive"
	"github.com/dermai/millrace/archive/retain"
	"github.com/dermai/millrace/internal/app/config"
	"github.com/dermai/millrace/pipeline"
	"github.com/dermai/millrace/schemas"
)

// retention is how each class is kept, by the configuration. conn, which may be nil
// for who only plans, takes the audit events.
func (s *session) retention(conn *pipeline.Conn, by string) map[schemas.Class]retain.Config {
	c := s.config.Archive.Retention
	out := map[schemas.Class]retain.Config{}
	for class, period := range map[schemas.Class]config.Period{schemas.Telemetry: c.Telemetry, schemas.AuditTrail: c.Audit} {
		out[class] = retain.Config{
			Before: period.Before,
			Why:    fmt.Sprintf("%s is kept for %v", class, period),
			By:     by,
			Grace:  c.Grace,
			Announce: func(ctx context.Context, a retain.Announcement) error {
				return s.announce(ctx, conn, a)
			},
		}
	}
	return out
}

// announce publishes what retention is about to do, an event for each segment.
func (s *session) announce(ctx context.Context, conn *pipeline.Conn, a retain.Announcement) error {
	verdict := map[string]retain.Verdict{}
	for _, g := range a.Decision.Condemned {
		verdict[g.Key] = retain.Condemn
	}
	for _, key := range a.Decision.Spared {
		verdict[key] = retain.Spare
	}
	for _, key := range a.Decision.Removed {
		verdict[key] = retain.Remove
	}
	for _, g := range a.Segments {
		err := s.audit(ctx, conn, a.Decision.By, "archive.retention."+string(verdict[g.Key]), g.Key, map[string]any{
			"first": g.First, "last": g.Last, "messages": g.Messages, "rows": g.Rows, "bytes": g.Bytes, "sha256": g.SHA256,
			"why": a.Decision.Why, "commit": a.Version,
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// onHost names this program on this machine.
func onHost(name string) string {
	host, err := os.Hostname()
	if err != nil {
		return name
	}
	return name + " on " + host
}

// archiveRetain deletes by hand. It may run beside archivers.
type archiveRetain struct {
	DryRun bool   `help:"Only list what would go, object by object."`
	Author string `placeholder:"NAME" help:"Who deletes. Default: who is logged in."`
}

func (c *archiveRetain) Run(ctx context.Context, s *session) error {
	store, err := s.readArchive()
	if err != nil {
		return err
	}
	defer store.Close()
	by := cmp.Or(c.Author, loggedIn())
	if by == "" {
		return errors.New("say who deletes: --author NAME")
	}
	if c.DryRun {
		return s.planRetention(ctx, store, by)
	}
	conn, err := s.connect(ctx, "millrace archive retain", nil, nil)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := s.out.header("CLASS", "CONDEMNED", "REMOVED", "SPARED", "HELD", "OBJECTS REMOVED", "BYTES"); err != nil {
		return err
	}
	configs := s.retention(conn, by)
	for _, class := range schemas.Classes {
		w, err := retain.New(archive.NewView(store, class), configs[class])
		if err != nil {
			return err
		}
		r, err := w.Run(ctx)
		if err != nil {
			return err
		}
		if err := s.out.print(retained{class, r}, class, r.Condemned, r.Removed, r.Spared, r.Held, r.Objects, r.Bytes); err != nil {
			return err
		}
	}
	return nil
}

// retained is what was done with a class, as JSON.
type retained struct {
	Class schemas.Class `json:"class"`
	retain.Result
}

// plannedObject is an object that retention decides about, as JSON.
type plannedObject struct {
	Verdict retain.Verdict `json:"verdict"`
	Hold    string         `json:"hold,omitempty"`
	Key     string         `json:"key"`
	Bytes   int64          `json:"bytes"`
	Segment string         `json:"segment"` // with which it goes
	First   uint64         `json:"first"`
	Last    uint64         `json:"last"`
	Rows    uint64         `json:"rows"`
	Arrival int64          `json:"arrival"` // of the last message, Unix ns
}

// planRetention lists what would go.
func (s *session) planRetention(ctx context.Context, store archive.Store, by string) error {
	if err := s.out.header("VERDICT", "HOLD", "ARRIVED UP TO", "BYTES", "OBJECT"); err != nil {
		return err
	}
	configs := s.retention(nil, by)
	for _, class := range schemas.Classes {
		w, err := retain.New(archive.NewView(store, class), configs[class])
		if err != nil {
			return err
		}
		plan, err := w.Plan(ctx)
		if err != nil {
			return err
		}
		for _, p := range plan {
			g := p.Segment
			for _, o := range append([]archive.Object{{Key: g.Key, Size: g.Bytes}}, p.Objects...) {
				row := plannedObject{p.Verdict, p.Hold, o.Key, o.Size, g.Key, g.First, g.Last, g.Rows, g.ArrivalTo}
				if err := s.out.print(row, p.Verdict, cmp.Or(p.Hold, "-"), clock(g.ArrivalTo), o.Size, o.Key); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// deletedRange is what retention deleted, as JSON.
type deletedRange struct {
	Chain   string            `json:"chain"`
	Deleted archive.Tombstone `json:"deleted"`
}

// listDeleted lists what retention deleted of what is chosen.
func (s *session) listDeleted(ctx context.Context, store archive.Store, f archive.Filter) error {
	deleted, err := archive.Deletions(ctx, store, f.Class, f.Stream)
	if err != nil {
		return err
	}
	for _, d := range deleted {
		if f.Since > 0 && d.ArrivalTo < f.Since || f.Until > 0 && d.ArrivalFrom >= f.Until {
			continue
		}
		what := fmt.Sprintf("%s: deleted by retention on %s: %s", d.Chain, clock(d.At), d.Why)
		err := s.out.print(deletedRange{d.Chain.String(), d.Tombstone}, d.First, d.Last, d.Messages, 0, clock(d.ArrivalTo), what)
		if err != nil {
			return err
		}
	}
	return nil
}
