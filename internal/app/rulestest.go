package app

import (
	"context"
	"fmt"
	"os"

	"github.com/dermai/millrace/rules/ruletest"
)

// rulesTest runs tests of rules. Findings: the tests that failed.
type rulesTest struct {
	Files []string `arg:"" help:"Test files. docs/rules.md says what is in them."`
}

func (c *rulesTest) Run(ctx context.Context, s *session) error {
	failed := 0
	for _, name := range c.Files {
		if err := ctx.Err(); err != nil {
			return err
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return fmt.Errorf("rules test: %w", err)
		}
		results, err := ruletest.Run(name, string(text), os.ReadFile)
		if err != nil {
			return err
		}
		for _, r := range results {
			if len(r.Failures) > 0 {
				failed++
			}
			if !s.out.json {
				continue
			}
			if err := s.out.print(testResult{name, r}); err != nil {
				return err
			}
		}
		if s.out.json {
			continue
		}
		if _, err := ruletest.Write(s.out.w, results); err != nil {
			return err
		}
	}
	if failed > 0 {
		return findingsError(plural(failed, "test") + " failed")
	}
	return nil
}

// testResult is the outcome of a test as JSON.
type testResult struct {
	File string `json:"file"`
	ruletest.Result
}
