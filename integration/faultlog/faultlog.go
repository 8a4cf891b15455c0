// Package faultlog keeps docs/faults.jsonl: what the runs under faults came to, of
// every program that makes some, one JSON line a run. It is only added to.
//
// A line has at least kind ("" for a run of integration/chaos), commit, seed,
// faults, outcome and seconds.
package faultlog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// File is the ledger, from the project's root.
const File = "docs/faults.jsonl"

// DataPath are the directories whose code an event or an alert passes.
var DataPath = []string{"archive", "cmd", "fence", "internal", "notify", "pipeline", "rules", "schemas", "sinks", "sources", "spool", "stages", "go.mod"}

// Commit names the last commit that changed the data path. Changes that are not
// committed are refused: nobody could make the run again.
func Commit(ctx context.Context) (string, error) {
	status, err := exec.CommandContext(ctx, "git", append([]string{"status", "--porcelain", "--"}, DataPath...)...).Output()
	if err != nil {
		return "", fmt.Errorf("git status: %w", err)
	}
	if len(status) > 0 {
		return "", errors.New("the data path has changes that are not committed; commit them, or run without -record")
	}
	hash, err := exec.CommandContext(ctx, "git", append([]string{"log", "-1", "--format=%h", "--abbrev=12", "--"}, DataPath...)...).Output()
	if err != nil {
		return "", fmt.Errorf("git log: %w", err)
	}
	return strings.TrimSpace(string(hash)), nil
}

// Add adds a run.
func Add(run any) error {
	line, err := json.Marshal(run)
	if err != nil {
		return err
	}
	file, err := os.OpenFile(File, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(append(line, '\n'))
	return errors.Join(err, file.Close())
}
