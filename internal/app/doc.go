// Package app is the four programs from outside: commands, flags, exit codes,
// signals, and how the parts are wired to each other.
//
// The invariant: a command says on standard output what was asked for and
// nothing else, ends with 0 when all is fine, 1 when it found something wrong
// and 2 when it could not do its work, and leaves nothing half done when it is
// told to stop.
package app
