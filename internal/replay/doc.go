// Package replay appends what was archived to a subject of its own.
//
// The invariant: each message says which archived message it is, the next one
// follows from it and the archive alone, and it is appended by compare-and-swap.
// So a replay that was killed goes on where it was, one that is run twice ends with
// the same content, and two of one name at once do no harm.
package replay
