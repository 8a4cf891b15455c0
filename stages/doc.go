// Package stages holds the step machines that run rules over a log: Reduce
// turns the frames of one partition into partials, Evaluate turns the partials
// of one class into decisions. Control, which both use, follows the control
// log.
//
// The invariant: a machine holds nothing that its output does not say. Its
// position, its frontier and its claim are in the last message that it
// appended; what it has in memory beyond that is read again after a crash, and
// gives the same. So a machine may be stopped anywhere, run twice, or paused for
// an hour: the log refuses every append but the one that continues it.
//
// A machine is single-threaded and does one bounded piece of work a Step. It
// has no goroutine, no timer and no socket of its own, so that the same code
// runs live (Drive), in a simulation that steps it under faults, and in tests.
package stages
