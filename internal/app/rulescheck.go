package app

import (
	"context"
	"fmt"
	"strings"

	"github.com/dermai/millrace/rules"
	"github.com/dermai/millrace/schemas"
)

// against tells what each rule sees of recorded events.
func (c *rulesCheck) against(ctx context.Context, s *session, set *rules.Set) error {
	defaults, err := c.defaults(s)
	if err != nil {
		return err
	}
	refused := 0
	var fault error
	usages := rules.Check(set, func(yield func(*schemas.Event) bool) {
		for e, err := range s.recorded(ctx, c.Against, defaults, &refused) {
			if fault = err; err != nil || !yield(&e) {
				return
			}
		}
	})
	if fault != nil {
		return fault
	}
	if err := s.out.header("ALERT", "EVENTS", "MATCHED", "SAMPLES", "REMARKS"); err != nil {
		return err
	}
	findings := 0
	for _, u := range usages {
		remarks := remarksOn(u)
		findings += len(remarks)
		if err := s.out.print(u, u.Alert, u.Events, u.Matched, u.Samples, strings.Join(remarks, "; ")); err != nil {
			return err
		}
	}
	if findings += refused; findings > 0 {
		return findingsError(plural(findings, "finding"))
	}
	return nil
}

// remarksOn lists what looks like a mistake in a rule.
func remarksOn(u rules.Usage) []string {
	var remarks []string
	for _, f := range u.Fields {
		switch {
		case u.Events == 0:
		case f.Present == 0 && f.DidYouMean != "":
			remarks = append(remarks, fmt.Sprintf("%s never occurs: did you mean %s?", f.Field, f.DidYouMean))
		case f.Present == 0:
			remarks = append(remarks, f.Field+" never occurs")
		case f.Mistyped > 0:
			remarks = append(remarks, fmt.Sprintf("%s has another type in %s", f.Field, plural(int(f.Mistyped), "event")))
		}
	}
	return remarks
}
