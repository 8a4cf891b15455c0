package app

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/dermai/millrace/rules"
	"github.com/dermai/millrace/sources"
)

// configCommand groups what is about the configuration.
type configCommand struct {
	Check configCheck `cmd:"" help:"Check the configuration, the environment, receivers, sinks, and the rule files that it names."`
	Show  configShow  `cmd:"" help:"Show every setting in force, without secrets, and where it comes from."`
}

// configCheck checks what is more than reading: run has read the configuration,
// or ended with its faults. Findings: warnings, what cannot be built, and faults of
// rule files.
type configCheck struct{}

func (*configCheck) Run(_ context.Context, s *session) error {
	files, err := s.ruleFiles(nil)
	if err != nil {
		return err
	}
	_, err = rules.Parse(files...)
	faults, err := ruleFaults(err)
	if err != nil {
		return err
	}
	findings := slices.Concat(s.config.Warnings, s.unbuilt())
	for _, f := range faults {
		findings = append(findings, f.Error())
	}
	for _, f := range findings {
		if err := s.out.print(map[string]string{"finding": f}, f); err != nil {
			return err
		}
	}
	if len(findings) > 0 {
		return findingsError(plural(len(findings), "finding"))
	}
	file := s.config.File
	if file == "" {
		file = "no file, environment and defaults"
	}
	return s.out.print(map[string]string{"file": s.config.File}, file+": fine")
}

// unbuilt says what a daemon could not make of the configuration: receivers, sinks
// and tokens.
func (s *session) unbuilt() (findings []string) {
	_, receivers := s.receivers()
	_, sinks := s.sinks()
	var tokens error
	if path := s.config.HTTP.Tokens; path != "" {
		if _, err := sources.LoadTokens(string(path)); err != nil {
			tokens = fmt.Errorf("http.tokens: %w", err)
		}
	}
	for _, err := range []error{receivers, sinks, tokens} {
		if err != nil {
			findings = append(findings, strings.Split(err.Error(), "\n")...)
		}
	}
	return findings
}

// configShow shows the configuration.
type configShow struct{}

func (*configShow) Run(_ context.Context, s *session) error {
	if !s.out.json {
		text, err := s.config.YAML()
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(s.Stdout, "%s", text)
		return written(err)
	}
	settings, err := s.config.Show()
	if err != nil {
		return err
	}
	for _, setting := range settings {
		if err := s.out.print(setting); err != nil {
			return err
		}
	}
	return nil
}
