package main

import (
	"slices"
	"strings"
	"unicode"
)

// smallest is the least number of choices that minimise hushes at once, and
// mostRuns how many runs it makes.
const (
	smallest = 8
	mostRuns = 600
)

// minimise hushes as many choices of a failing run as it can while the run still
// fails in the same way. It tries halves first, then quarters, and so on, as
// delta debugging does (Zeller and Hildebrandt, Simplifying and Isolating
// Failure-Inducing Input, 2002).
func minimise(o Options, choices int, failure error) (Options, error) {
	runs := 0
	for size := choices / 2; size >= smallest; size /= 2 {
		for from := 0; from < choices && runs < mostRuns; from += size {
			s := span{from, min(from+size, choices)}
			if covered(o.Hush, s) {
				continue
			}
			runs++
			quieter := o
			quieter.Hush = join(o.Hush, s)
			if _, err := Run(quieter); err != nil && kind(err) == kind(failure) {
				o, failure = quieter, err
			}
		}
	}
	return o, failure
}

// kind is what an error says before it becomes particular.
func kind(err error) string {
	text, _, _ := strings.Cut(err.Error(), "\n")
	_, text, _ = strings.Cut(text, ": ") // the seed
	if i := strings.IndexFunc(text, unicode.IsDigit); i >= 0 {
		text = text[:i]
	}
	return text
}

func covered(list []span, s span) bool {
	return slices.ContainsFunc(list, func(o span) bool { return o.From <= s.From && s.To <= o.To })
}

// join adds a span to a list that is in order and without overlaps.
func join(list []span, s span) []span {
	var out []span
	for _, o := range list {
		if o.To < s.From || s.To < o.From {
			out = append(out, o)
			continue
		}
		s = span{min(s.From, o.From), max(s.To, o.To)}
	}
	out = append(out, s)
	slices.SortFunc(out, func(a, b span) int { return a.From - b.From })
	return out
}
