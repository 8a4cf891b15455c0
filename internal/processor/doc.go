// Package processor runs the machines that turn events into notifications: a
// reducer for every partition, an evaluator for every class, a planner and a
// sender for every receiver.
//
// The invariant: which process runs a machine is a matter of speed, never of
// correctness. Any number of processors may run; they share the machines by
// rendezvous over their heartbeats, and where two of them believe that a machine
// is theirs, the log refuses the appends of one.
package processor
