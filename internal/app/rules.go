package app

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/dermai/millrace/internal/app/config"
	"github.com/dermai/millrace/rules"
	"github.com/dermai/millrace/schemas"
)

// rulesCommand groups what is about rule files.
type rulesCommand struct {
	Check    rulesCheck    `cmd:"" help:"Check rule files and say where each mistake is and how to mend it."`
	Test     rulesTest     `cmd:"" help:"Run tests of rules: events and the states that alerts must have, on a virtual clock."`
	Run      rulesRun      `cmd:"" help:"Decide a recorded file of events: the transitions that the live system would have made."`
	Backtest rulesBacktest `cmd:"" help:"Decide archived events again: by the rules that were in force, or by others."`
	Diff     rulesDiff     `cmd:"" help:"Tell which alerts fire or end otherwise by other rules, over archived events."`
}

// rulesCheck checks rule files. Findings: the faults, and rules that can never
// see anything in the events that they are held against.
type rulesCheck struct {
	eventFlags
	Against []string `placeholder:"EVENTS" help:"Tell what each rule sees of the events in these files, as often as needed."`
	Files   []string `arg:"" optional:"" help:"Rule files. Default: those of the configuration, or else the built-in rules."`
}

func (c *rulesCheck) Run(ctx context.Context, s *session) error {
	files, err := s.ruleFiles(c.Files)
	if err != nil {
		return err
	}
	set, err := rules.Parse(files...)
	faults, err := ruleFaults(err)
	if err != nil {
		return err
	}
	for _, f := range faults {
		if err := s.out.print(ruleFault{f.File, f.Line, f.Column, f.Alert, f.Field, f.Text}, f.Error()); err != nil {
			return err
		}
	}
	if len(faults) > 0 {
		return findingsError(plural(len(faults), "fault"))
	}
	if len(c.Against) > 0 {
		return c.against(ctx, s, set)
	}
	for _, f := range files {
		set, err := rules.Parse(f)
		if err != nil {
			return err
		}
		n := len(set.Rules)
		if err := s.out.print(ruleFileReport{f.Name, n}, f.Name+": "+plural(n, "rule")); err != nil {
			return err
		}
	}
	return nil
}

// ruleFault is a rules.Fault as JSON.
type ruleFault struct {
	File   string `json:"file"`
	Line   int    `json:"line"`
	Column int    `json:"column"`
	Alert  string `json:"alert,omitempty"`
	Field  string `json:"field,omitempty"`
	Text   string `json:"text"`
}

type ruleFileReport struct {
	File  string `json:"file"`
	Rules int    `json:"rules"`
}

// ruleFiles reads rule files: those named, those of the configuration, or what
// is built in.
func (s *session) ruleFiles(names []string) ([]schemas.RuleFile, error) {
	if len(names) == 0 {
		for _, path := range s.config.Rules {
			names = append(names, string(path))
		}
	}
	if len(names) == 0 {
		return []schemas.RuleFile{rules.Default()}, nil
	}
	var files []schemas.RuleFile
	var faults []error
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			faults = append(faults, fmt.Errorf("rules: %w", err))
			continue
		}
		files = append(files, schemas.RuleFile{Name: name, Text: string(text)})
	}
	return files, errors.Join(faults...)
}

// ruleFaults lists the faults that rules.Parse found. It returns any other
// error.
func ruleFaults(err error) ([]*rules.Fault, error) {
	var faults []*rules.Fault
	for _, err := range config.Flatten(err) {
		f, ok := errors.AsType[*rules.Fault](err)
		if !ok {
			return nil, err
		}
		faults = append(faults, f)
	}
	return faults, nil
}

// plural is "1 rule" or "2 rules".
func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
