package app

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/dermai/millrace/pipeline"
	"github.com/dermai/millrace/rules"
	"github.com/dermai/millrace/schemas"
	"github.com/dermai/millrace/stages"
)

// applyRules puts a rule set in force, if it is another than the last in the
// control log. It returns what it changed, or with dryRun would change; "":
// nothing.
func (s *session) applyRules(ctx context.Context, conn *pipeline.Conn, source schemas.RuleSource, dryRun bool) (string, error) {
	log := conn.Log()
	defer log.Close()
	control := stages.NewControl(log, time.Now, nil)
	if _, err := control.Read(ctx); err != nil {
		return "", err
	}
	was := control.Schedule().Source()
	if slices.Equal(was.Files, source.Files) {
		return "", nil
	}
	set, err := rules.Parse(source.Files...)
	if err != nil {
		return "", err
	}
	change := fmt.Sprintf("%s from %s", plural(len(set.Rules), "rule"), fileNames(source.Files))
	if len(was.Files) > 0 {
		change += ", in place of " + fileNames(was.Files)
	}
	if dryRun {
		return change, nil
	}
	_, err = pipeline.AppendControl(ctx, log, schemas.ControlEntry{Rules: &source})
	return change, err
}

func fileNames(files []schemas.RuleFile) string {
	var text string
	for i, f := range files {
		if i > 0 {
			text += ", "
		}
		text += f.Name
	}
	return text
}
