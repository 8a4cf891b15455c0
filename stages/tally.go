package stages

import "github.com/dermai/millrace/schemas"

// Tally counts the events that a reducer commits: what it is told of becomes
// true when the log has it, and never when the log refused it. The sum over all
// processes then has each event at most once, and exactly once but for the
// commits of processes that died before they heard that a commit was stored.
//
// A reducer has a Tally of its own and calls it from one goroutine.
type Tally interface {
	// Count notes an event that was folded. It may not keep e.
	Count(e *schemas.Event)
	// Commit says that everything noted since the last Commit or Drop is stored.
	Commit()
	// Drop says that what was noted since then is not, or that somebody else
	// stored it: it will be folded again, here or elsewhere.
	Drop()
}

// Board shows which alerts there are. An evaluator has a Board of its own and
// calls it from one goroutine. Only one that decides shows anything; one that
// stands by shows nothing.
type Board interface {
	// Show begins to show: these alerts are not inactive, as of what is stored.
	// Of each transition Rule, Instance, Group, To, Shadow and Labels are given.
	Show(alerts []schemas.Transition)
	// Change says what a stored decision changed. It is called while it shows only.
	Change(t []schemas.Transition)
	// Hide ends it: somebody else decides, or nobody knows.
	Hide()
}

// noTally counts nothing.
type noTally struct{}

func (noTally) Count(*schemas.Event) {}
func (noTally) Commit()              {}
func (noTally) Drop()                {}

// noBoard shows nothing.
type noBoard struct{}

func (noBoard) Show([]schemas.Transition)   {}
func (noBoard) Change([]schemas.Transition) {}
func (noBoard) Hide()                       {}
