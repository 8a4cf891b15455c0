package app

import (
	"context"

	"github.com/dermai/millrace/pipeline"
)

// applyCommand makes the broker as the configuration says.
type applyCommand struct {
	DryRun bool `help:"Say what would be changed, and change nothing."`
}

func (c *applyCommand) Run(ctx context.Context, s *session) error {
	conn, err := s.connect(ctx, "millrace apply", nil, nil)
	if err != nil {
		return err
	}
	defer conn.Close()
	changed := false
	err = s.apply(ctx, conn, nil, c.DryRun, func(change pipeline.Change) error {
		changed = true
		return s.out.print(appliedChange(change), change.String())
	})
	if err != nil {
		return err
	}
	if !changed && !s.out.json {
		return s.out.print(nil, "nothing to change")
	}
	return nil
}

// appliedChange is a pipeline.Change as JSON.
type appliedChange struct {
	Name   string `json:"name"`
	Action string `json:"action"`
	Detail string `json:"detail,omitempty"`
}
