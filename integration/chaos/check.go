package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dermai/millrace/schemas"
)

// Verdict is what the checks say of a run.
type Verdict struct {
	Outcome  string        `json:"outcome"`
	Why      []string      `json:"why,omitempty"` // it is unknown
	Findings []Finding     `json:"findings,omitempty"`
	Counts   Counts        `json:"counts"`
	Flow     time.Duration `json:"flow"`    // from the last heal to the first event that was stored
	Lag      time.Duration `json:"lag"`     // from the last heal until both classes were decided beyond it
	Slowest  time.Duration `json:"slowest"` // from the end of a tick until a change at it was stored
}

// Outcomes of a run.
const (
	outcomePass    = "pass"
	outcomeFail    = "fail"
	outcomeUnknown = "unknown" // the run proves nothing
)

// Counts say how much a run was about.
type Counts struct {
	Events        int `json:"events"`
	Stored        int `json:"stored"`
	Faults        int `json:"faults"`
	Messages      int `json:"messages"` // archived
	Transitions   int `json:"transitions"`
	Backtested    int `json:"backtested,omitzero"` // transitions that were decided again from the archive
	Notifications int `json:"notifications"`
	Repeats       int `json:"repeats"`

	Lost     int `json:"lost"`
	Invented int `json:"invented"`
	Twice    int `json:"twice"`
	Missed   int `json:"missed"`
	Phantom  int `json:"phantom"`
}

// Finding is a promise that a run broke.
type Finding struct {
	Check string `json:"check"`
	Text  string `json:"text"`
}

// checks are what is compared, each with the evidence alone.
var checks = []struct {
	name string
	run  func(e *evidence, c *Counts, fault func(format string, args ...any))
}{
	{"events", checkEvents},
	{"lanes", checkLanes},
	{"quarantine", checkQuarantine},
	{"partials", checkPartials},
	{"transitions", checkTransitions},
	{"notifications", checkNotifications},
	{"archive", checkArchive},
	{"backtest", checkBacktest},
	{"programs", checkPrograms},
	{"bounds", checkBounds},
	{"counters", checkCounters},
	{"patients", checkPatients},
}

// mostFindings of one check are told.
const mostFindings = 5

// judge runs all checks. A run that broke a promise fails, whatever else it is;
// one that found nothing passes only if it could have found something.
func judge(e *evidence) Verdict {
	v := Verdict{Outcome: outcomePass, Why: doubts(e)}
	for _, check := range checks {
		found := 0
		check.run(e, &v.Counts, func(format string, args ...any) {
			if found++; found <= mostFindings {
				v.Findings = append(v.Findings, Finding{check.name, fmt.Sprintf(format, args...)})
			}
		})
		if found > mostFindings {
			v.Findings = append(v.Findings, Finding{check.name, fmt.Sprintf("and %d more", found-mostFindings)})
		}
	}
	v.Counts.Faults = len(e.fired)
	v.Flow, v.Lag, v.Slowest = e.flow(), e.times.Decides.Sub(e.times.Healed), e.slowest()
	switch {
	case len(v.Findings) > 0:
		v.Outcome = outcomeFail
	case len(v.Why) > 0:
		v.Outcome = outcomeUnknown
	}
	return v
}

// flow is the time from the last heal until an event was sent and stored.
func (e *evidence) flow() time.Duration {
	begun := map[string]time.Time{}
	for _, s := range e.sent {
		key := eventID(s.Writer, s.First)
		if s.Outcome == tried {
			begun[key] = s.At
		} else if s.Outcome == stored && begun[key].After(e.times.Healed) {
			return s.At.Sub(e.times.Healed)
		}
	}
	return 0
}

// slowest is the longest time from the end of a tick until a change at it was
// stored: how long alerts were held up by faults.
func (e *evidence) slowest() time.Duration {
	var most time.Duration
	for _, m := range e.streams[schemas.StreamAlerts] {
		var d schemas.Decision
		if m.Header[schemas.HeaderType] == schemas.TypeDecision && schemas.DecodeInto(m.Data, &d) == nil && len(d.Transitions) > 0 {
			most = max(most, time.Duration(m.Time-d.Transitions[0].Time))
		}
	}
	return most
}

// leastTraffic is how many events must be sent while faults are made.
const leastTraffic = 100

// doubts are the reasons for which a run proves nothing: a fault did not fire, no
// traffic flowed during them, or it did not drain.
func doubts(e *evidence) []string {
	var why []string
	for _, name := range e.options.Faults {
		made := slices.ContainsFunc(e.fired, func(f Fired) bool { return f.Fault == name && f.Error == "" })
		if !made {
			why = append(why, "fault "+name+" did not fire")
		}
	}
	for _, f := range e.fired {
		if f.Error != "" {
			why = append(why, fmt.Sprintf("fault %s on %s: %s", f.Fault, f.Target, f.Error))
		}
	}
	during := 0
	for _, s := range e.sent {
		if s.Outcome == tried && s.At.After(e.times.Storm) && s.At.Before(e.times.Healed) {
			during += s.Count
		}
	}
	if during < leastTraffic {
		why = append(why, fmt.Sprintf("only %d events were sent while faults were made", during))
	}
	if e.times.Drained.IsZero() {
		why = append(why, "it did not drain: "+e.times.Fault)
	}
	return why
}

// String is the verdict for people.
func (v Verdict) String() string {
	var b strings.Builder
	c := v.Counts
	fmt.Fprintf(&b, "%s: %d events sent, %d stored; %d faults; %d transitions (%d again from the archive), %d notifications, %d repeated; %d messages archived; flow back after %s, decided after %s, slowest change %s",
		v.Outcome, c.Events, c.Stored, c.Faults, c.Transitions, c.Backtested, c.Notifications, c.Repeats, c.Messages,
		v.Flow.Round(time.Millisecond), v.Lag.Round(time.Millisecond), v.Slowest.Round(time.Millisecond))
	for _, w := range v.Why {
		fmt.Fprintf(&b, "\n  unknown: %s", w)
	}
	for _, f := range v.Findings {
		fmt.Fprintf(&b, "\n  %s: %s", f.Check, f.Text)
	}
	return b.String()
}
