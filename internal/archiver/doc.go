// Package archiver runs an archiver for every stream that is kept: the
// partitions, the alerts and the control log.
//
// The invariant: a stream of events forgets only what the archive holds, what
// its reducer will not read again, and what is older than the replay window.
// Any number of archivers may run; the store lets one of them win.
package archiver
