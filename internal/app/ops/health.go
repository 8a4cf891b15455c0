package ops

import (
	"slices"
	"strings"
	"sync"
	"time"
)

// Health gathers the checks of a program. The zero value has none and is ready.
// It is safe for concurrent use.
type Health struct {
	mu       sync.Mutex
	checks   []check
	draining bool
}

type check struct {
	name  string
	state func() State
}

// State is what a part of the program says of itself.
type State struct {
	// Progress is when it last finished something. Zero: never.
	Progress time.Time
	// Reason says why it is not ready, for an operator to read. "": it is ready.
	// It holds no secret, since anybody who reaches the server can ask.
	Reason string
}

// Register adds a part under a name, such as "reduce 3" or "archive AUDIT".
// state is called for each request, by any goroutine, and answers at once.
func (h *Health) Register(name string, state func() State) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.checks = append(h.checks, check{name, state})
}

// Drain makes the program not ready for good, so that nobody sends it more.
func (h *Health) Drain() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.draining = true
}

// Report is the answer to "are you ready".
type Report struct {
	Ready  bool          `json:"ready"`
	Checks []CheckReport `json:"checks"`
}

// CheckReport is the state of one part.
type CheckReport struct {
	Name   string `json:"name"`
	Ready  bool   `json:"ready"`
	Reason string `json:"reason,omitempty"`
	// Age of the last progress in seconds; left out if there was none.
	Age *float64 `json:"progress_age_seconds,omitempty"`
}

// Report asks every part, in the order of their names.
func (h *Health) Report() Report {
	h.mu.Lock()
	checks, draining := slices.Clone(h.checks), h.draining
	h.mu.Unlock()

	report := Report{Ready: true, Checks: []CheckReport{}}
	for _, c := range checks {
		s := c.state()
		r := CheckReport{Name: c.name, Ready: s.Reason == "", Reason: s.Reason}
		if !s.Progress.IsZero() {
			age := time.Since(s.Progress).Seconds()
			r.Age = &age
		}
		report.Checks = append(report.Checks, r)
	}
	if draining {
		report.Checks = append(report.Checks, CheckReport{Name: "process", Reason: "shutting down"})
	}
	slices.SortStableFunc(report.Checks, func(a, b CheckReport) int { return strings.Compare(a.Name, b.Name) })
	for _, c := range report.Checks {
		report.Ready = report.Ready && c.Ready
	}
	return report
}
