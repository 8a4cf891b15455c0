// Package ops is what an operator sees of a running program over HTTP: /livez,
// /readyz and /metrics.
//
// The invariant: ready means that work flows. A part of the program is ready
// while none of its work waits for longer than its limit, however long there
// has been nothing to do; a process that merely lives is not ready.
package ops
