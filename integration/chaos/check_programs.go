package main

import (
	"slices"
	"strings"
)

// checkPrograms: no program ends by itself, but at its start for want of a broker,
// and all end when they are told to.
func checkPrograms(e *evidence, _ *Counts, fault func(string, ...any)) {
	for _, p := range e.ended {
		if p.Restarted {
			continue
		}
		fault("%s ended by itself or not at all (%s): %s", p.Program, p.Error, p.Last)
	}
}

// What a program may use. The broker's own limits are its own.
const (
	mostRSS        = 256 << 20
	mostFiles      = 256
	mostGoroutines = 1000
)

// checkBounds: memory, files and goroutines stay within bounds at all times.
func checkBounds(e *evidence, _ *Counts, fault func(string, ...any)) {
	for _, u := range e.used {
		if strings.HasPrefix(u.Program, "nats-") {
			continue
		}
		if u.RSS > mostRSS || u.Files > mostFiles || u.Goroutines > mostGoroutines {
			fault("%s used %d MiB, %d files and %d goroutines", u.Program, u.RSS>>20, u.Files, u.Goroutines)
		}
	}
}

// harmless are faults that end no process and touch no way to the broker: the
// counters of every process then are those of the run.
var harmless = []string{"receiver", "reload"}

// checkCounters: what the programs count is what is in the ledgers, where every
// program lived through the whole run.
func checkCounters(e *evidence, c *Counts, fault func(string, ...any)) {
	if slices.ContainsFunc(e.fired, func(f Fired) bool { return !slices.Contains(harmless, f.Fault) }) || e.times.Drained.IsZero() {
		return
	}
	var accepted, told float64
	for _, s := range e.sent {
		if s.Outcome == stored && s.Writer != "library" {
			accepted += float64(s.Count)
		}
	}
	var reduced, attempts, fenced float64
	for name, m := range e.metrics {
		if strings.HasPrefix(name, "processor") {
			reduced += m.sum("millrace_reduce_events_total")
			fenced += m.sum("millrace_fenced_total")
			attempts += m.sum("millrace_notification_attempts_total")
		}
	}
	if n := e.metrics["publisher"].sum("millrace_source_events_total"); n != accepted {
		fault("the publisher counts %v events, and %v were accepted", n, accepted)
	}
	// A commit that a process lost to another may be stored: nobody counts it.
	if events := float64(c.Stored); reduced > events || reduced < events && fenced == 0 {
		fault("the processors count %v events, and %v are stored", reduced, events)
	}
	for _, t := range e.told {
		if t.At.Before(e.times.Drained) { // the counters were read a moment later
			told++
		}
	}
	if all := float64(len(e.told)); attempts < told || attempts > all {
		fault("the processors count %v attempts, and the receivers got %v, and %v in all", attempts, told, all)
	}
}

// checkPatients: what is planted as patient data in every event is nowhere outside
// of the streams and the archive.
func checkPatients(e *evidence, _ *Counts, fault func(string, ...any)) {
	for name, text := range e.outside {
		if i := strings.Index(text, canary(e.options.Seed)); i >= 0 {
			fault("%s holds it: %.200s", name, text[max(0, i-100):])
		}
	}
}
