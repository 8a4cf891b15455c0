package app

import (
	"context"
	"fmt"
	"os"
	"os/user"
	"slices"
	"strings"

	"github.com/dermai/millrace/pipeline"
	"github.com/dermai/millrace/rules"
	"github.com/dermai/millrace/schemas"
)

// applyRules puts a rule set in force, if it is another than the last in the
// control log. It returns what it changed, or with dryRun would change; "":
// nothing. fresh says that the control log began with this rule set, or with dryRun
// would begin with it.
func applyRules(ctx context.Context, conn *pipeline.Conn, set *rules.Set, source schemas.RuleSource, dryRun, fresh bool) (string, error) {
	log := conn.Log()
	defer log.Close()
	var was schemas.RuleSource
	if !fresh {
		control, err := readControl(ctx, log)
		if err != nil {
			return "", err
		}
		was = control.Schedule().Source()
	}
	if slices.Equal(was.Files, source.Files) {
		return "", nil
	}
	change := fmt.Sprintf("%s from %s", plural(len(set.Rules), "rule"), fileNames(source.Files))
	if len(was.Files) > 0 {
		change += ", in place of " + fileNames(was.Files)
	}
	if dryRun || fresh {
		return change, nil
	}
	_, err := pipeline.AppendControl(ctx, log, schemas.ControlEntry{Rules: &source})
	return change, err
}

// operator is who runs this process, as user@host, for the control log.
func operator() string {
	name, host := "unknown", "unknown"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	if h, err := os.Hostname(); err == nil {
		host = h
	}
	return name + "@" + host
}

func fileNames(files []schemas.RuleFile) string {
	names := make([]string, len(files))
	for i, f := range files {
		names[i] = f.Name
	}
	return strings.Join(names, ", ")
}
