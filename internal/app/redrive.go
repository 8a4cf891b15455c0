package app

import (
	"context"
	"errors"
	"fmt"
	"os/user"
	"slices"
	"strings"
	"time"

	"github.com/dermai/millrace/pipeline"
	"github.com/dermai/millrace/schemas"
)

// quarantineRedrive gives items back to where they were refused. Findings: items
// that cannot be.
type quarantineRedrive struct {
	IDs []string `arg:"" optional:"" name:"id" help:"As quarantine ls shows them."`
	All bool     `help:"Everything in the quarantine."`
	refusedBy
	Reason string  `placeholder:"TEXT" help:"Only items whose reason, or detail (quarantine show), has this in it."`
	Where  string  `placeholder:"EXPR" help:"Only events for which this holds, as where of a rule."`
	DryRun bool    `help:"Say what would be given back, and give nothing."`
	Rate   float64 `placeholder:"N" help:"At most so many items a second (default: no limit)."`
	Force  bool    `help:"Also what was given back and refused three times."`
}

func (c *quarantineRedrive) Validate() error {
	if len(c.IDs) == 0 && c.Stage+c.Consumer+c.Reason+c.Where == "" && !c.All {
		return errors.New("say which items: ids, --stage, --consumer, --reason, --where or --all")
	}
	if c.Rate < 0 {
		return errors.New("--rate: below zero")
	}
	return nil
}

func (c *quarantineRedrive) Run(ctx context.Context, s *session) error {
	where, err := parseWhere(c.Where)
	if err != nil {
		return err
	}
	var items []pipeline.QuarantineEntry
	err = s.quarantined(ctx, func(q pipeline.QuarantineEntry) error {
		if c.wants(&q, where) {
			items = append(items, q)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, id := range c.IDs {
		if !slices.ContainsFunc(items, func(q pipeline.QuarantineEntry) bool { return q.ID == id }) {
			return findingsError("there is no " + id + " in the quarantine that is asked for; nothing was given back")
		}
	}
	conn, err := s.connect(ctx, "millrace quarantine redrive", nil, nil)
	if err != nil {
		return err
	}
	defer conn.Close()
	if c.DryRun || len(items) == 0 {
		_, err := c.redrive(ctx, s, conn, items)
		return err
	}
	details := map[string]any{
		"items": float64(len(items)), "ids": strings.Join(c.IDs, " "), "stage": c.Stage, "consumer": c.Consumer,
		"reason": c.Reason, "where": c.Where, "force": c.Force,
	}
	if err := c.audit(ctx, conn, s.config.Partitions, "quarantine.redrive", true, details); err != nil {
		return fmt.Errorf("record the redrive in the audit trail; nothing was given back: %w", err)
	}
	n, err := c.redrive(ctx, s, conn, items)
	details["redriven"], details["already"], details["refused"] = float64(n.again), float64(n.already), float64(n.refused)
	// Also when it was told to stop.
	if auditErr := c.audit(context.WithoutCancel(ctx), conn, s.config.Partitions, "quarantine.redriven", err == nil, details); auditErr != nil {
		err = errors.Join(err, fmt.Errorf("record what was given back in the audit trail: %w", auditErr))
	}
	return err
}

// wants tells whether an item is asked for.
func (c *quarantineRedrive) wants(q *pipeline.QuarantineEntry, where condition) bool {
	if len(c.IDs) > 0 && !slices.Contains(c.IDs, q.ID) || !c.matches(q) {
		return false
	}
	if !strings.Contains(q.Reason, c.Reason) && !strings.Contains(q.Detail, c.Reason) {
		return false
	}
	if c.Where == "" {
		return true
	}
	subject, _ := schemas.ParseSubject(q.Subject) // none: the event says its kind and service
	body, err := schemas.Unpack(nil, q.Data, schemas.FrameDecoded)
	if err != nil {
		return false
	}
	for _, line := range schemas.Lines(body) {
		e, err := schemas.Decode(line, schemas.Origin{Kind: subject.Kind, Service: subject.Service})
		if err == nil && where.holds(&e) {
			return true
		}
	}
	return false
}

// audit records who gives back what: before it is done, and what became of it.
func (c *quarantineRedrive) audit(ctx context.Context, conn *pipeline.Conn, partitions int, action string, success bool, details map[string]any) error {
	who := "unknown"
	if u, err := user.Current(); err == nil {
		who = u.Username
	}
	publisher, err := pipeline.NewPublisher(conn, pipeline.PublisherConfig{Service: "millrace", Partitions: partitions})
	if err != nil {
		return err
	}
	err = publisher.Publish(ctx, schemas.Event{
		Kind: schemas.KindAudit, User: who, Action: action, Resource: "quarantine", Success: &success, Details: details,
	})
	return errors.Join(err, publisher.Close(ctx))
}

// redriven is what became of an item, as JSON.
type redriven struct {
	ID      string `json:"id"`
	Stage   string `json:"stage"`
	Outcome string `json:"outcome"` // redriven, already, refused, would
	Detail  string `json:"detail,omitempty"`
}

// redrivenCounts is what became of the items of a call.
type redrivenCounts struct{ again, already, refused int }

// redrive gives the items back, the oldest first.
func (c *quarantineRedrive) redrive(ctx context.Context, s *session, conn *pipeline.Conn, items []pipeline.QuarantineEntry) (n redrivenCounts, err error) {
	quarantine := pipeline.NewQuarantine(conn)
	began := time.Now()
	for i, q := range items {
		out := redriven{ID: q.ID, Stage: q.Stage, Outcome: "would"}
		if !c.DryRun {
			if err := c.pace(ctx, began, i); err != nil {
				return n, err
			}
			stored, err := quarantine.Redrive(ctx, q, c.Force)
			no, isNo := errors.AsType[*pipeline.NotRedrivenError](err)
			switch {
			case isNo:
				out.Outcome, out.Detail = "refused", no.Reason
				n.refused++
			case err != nil:
				return n, fmt.Errorf("%w; %s given back before; the same command goes on", err, plural(n.again, "item"))
			case stored:
				out.Outcome = "redriven"
				n.again++
			default:
				out.Outcome = "already"
				n.already++
			}
		}
		if err := s.out.print(out, out.Outcome, out.Stage, out.ID, out.Detail); err != nil {
			return n, err
		}
	}
	if !c.DryRun && !s.out.json {
		if err := s.out.print(nil, fmt.Sprintf("%s given back, %d before", plural(n.again, "item"), n.already)); err != nil {
			return n, err
		}
	}
	if n.refused > 0 {
		return n, findingsError(plural(n.refused, "item") + " cannot be given back")
	}
	return n, nil
}

// pace waits until item i is due.
func (c *quarantineRedrive) pace(ctx context.Context, began time.Time, i int) error {
	if c.Rate == 0 {
		return ctx.Err()
	}
	due := began.Add(time.Duration(float64(i) / c.Rate * float64(time.Second)))
	select {
	case <-time.After(time.Until(due)):
		return ctx.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}
