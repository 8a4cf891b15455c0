package app

import (
	"context"
	"fmt"
	"strings"

	"github.com/dermai/millrace/pipeline"
	"github.com/dermai/millrace/schemas"
)

// quarantineCommand groups what is about things that could not be processed.
type quarantineCommand struct {
	Ls      quarantineLs      `cmd:"" help:"List what could not be processed, oldest first."`
	Show    quarantineShow    `cmd:"" help:"Show one item with its bytes."`
	Redrive quarantineRedrive `cmd:"" help:"Give items back to where they were refused, once."`
}

// refusedBy chooses items by who refused them.
type refusedBy struct {
	Stage    string `placeholder:"STAGE" help:"Only what this stage refused: publish, reduce, send, consume."`
	Consumer string `placeholder:"NAME" help:"Only what this consumer's handler refused."`
}

func (r refusedBy) matches(q *pipeline.QuarantineEntry) bool {
	return (r.Stage == "" || q.Stage == r.Stage) && (r.Consumer == "" || q.Consumer == r.Consumer)
}

// quarantineLs lists the quarantine.
type quarantineLs struct {
	refusedBy
}

func (c *quarantineLs) Run(ctx context.Context, s *session) error {
	if err := s.out.header("TIME", "STAGE", "ID", "BYTES", "REASON"); err != nil {
		return err
	}
	return s.quarantined(ctx, func(q pipeline.QuarantineEntry) error {
		if !c.matches(&q) {
			return nil
		}
		return s.out.print(quarantinedItem{q.Seq, q.Time, q.Quarantined}, clock(q.Time), q.Stage, q.ID, q.Size, q.Reason)
	})
}

// quarantined gives every item to fn.
func (s *session) quarantined(ctx context.Context, fn func(pipeline.QuarantineEntry) error) error {
	conn, err := s.connect(ctx, "millrace quarantine", nil, nil)
	if err != nil {
		return err
	}
	defer conn.Close()
	quarantine := pipeline.NewQuarantine(conn)
	for after := uint64(0); ; {
		items, err := quarantine.List(ctx, after, 256)
		if err != nil || len(items) == 0 {
			return err
		}
		for _, q := range items {
			if err := fn(q); err != nil {
				return err
			}
			after = q.Seq
		}
	}
}

// quarantinedItem is a pipeline.QuarantineEntry as JSON.
type quarantinedItem struct {
	Entry uint64 `json:"entry"` // sequence in QUARANTINE
	Time  int64  `json:"time"`  // when it was put, Unix ns
	schemas.Quarantined
}

// storedAs says where an item's bytes are. What was refused before it was stored is
// in no stream.
func storedAs(q schemas.Quarantined) string {
	switch {
	case q.Stream == "":
		return "nothing: it was refused before"
	case q.Index < 0:
		return fmt.Sprintf("%s/%d, all of it", q.Stream, q.Seq)
	}
	return pipeline.Position{Stream: q.Stream, Seq: q.Seq, Index: q.Index}.String()
}

// quarantineShow shows one item.
type quarantineShow struct {
	ID string `arg:"" help:"As quarantine ls shows it."`
}

func (c *quarantineShow) Run(ctx context.Context, s *session) error {
	found := false
	err := s.quarantined(ctx, func(q pipeline.QuarantineEntry) error {
		if q.ID != c.ID {
			return nil
		}
		found = true
		if s.out.json {
			return s.out.print(quarantinedItem{q.Seq, q.Time, q.Quarantined})
		}
		for _, row := range [][2]string{
			{"id", q.ID}, {"time", clock(q.Time)}, {"stage", q.Stage}, {"reason", q.Reason}, {"detail", q.Detail},
			{"stored as", storedAs(q.Quarantined)},
			{"bytes", fmt.Sprintf("%d of %d", len(q.Data), q.Size)},
		} {
			if err := s.out.print(nil, row[0], row[1]); err != nil {
				return err
			}
		}
		return s.out.print(nil, "data", strings.TrimSuffix(string(q.Data), "\n"))
	})
	if err == nil && !found {
		return findingsError("there is no " + c.ID + " in the quarantine; millrace quarantine ls lists what is there")
	}
	return err
}
