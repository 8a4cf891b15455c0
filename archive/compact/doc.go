// Package compact turns the objects of an archive into segments.
//
// The invariant: what a segment replaces follows from the chain alone, a segment
// counts once the next commit of its chain's manifest names it, and there is one
// next commit, put where none is. So any number of compactors may race, crash and
// wake up late. What is compacted is what lies before the manifest's end, and
// nothing else: a reader that looks there first sees each object or its segment.
//
//	c, err := compact.New(store, compact.Config{})
//	busy, err := c.Step(ctx)
package compact
