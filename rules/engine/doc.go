// Package engine turns the samples of rules into panes, windows, states and
// transitions. It does no I/O, starts no goroutine and asks no clock.
//
// The invariant: the transitions of a class are a function of the stored
// messages of its partitions (sequence, broker's timestamp, events) and of the
// control log. How the events were split into commits, how often a process was
// restarted, and when anything was read decides nothing.
//
// Three machines, each owned by one goroutine:
//
//   - Schedule is the control log folded: which rules are in force at which
//     tick, and how far that is settled.
//   - Reducer folds the events of one partition into rows. A row is what the
//     events of one rule instance, group, pane and visible-from tick add up to.
//   - Decider enters the rows of all partitions of a class into windows and
//     moves the state of every alert, one tick after another.
//
// Between them stand only schemas.Partial and schemas.Row, so they may live in
// different processes:
//
//	r := engine.NewReducer(schedule, 0) // after a restart: r.Resume, r.Settled
//	if r.Arrive(seq, timestamp, header) { // false: read the control log first
//		for i := range events {
//			r.Fold(i, &events[i])
//		}
//	}
//	partial := r.Cut()                 // goes to partials.0
//
//	d := engine.NewDecider(schedule, schemas.Telemetry)
//	err := d.Add(partial.Rows)
//	d.SkipTo(settled)                  // ticks that change nothing
//	if d.Tick() < settled {
//		parts := d.Decide()        // goes to alerts.telemetry
//	}
//
// Run does all of it over a recorded file. Package oracle computes the same
// transitions in the most naive way, for tests.
package engine
