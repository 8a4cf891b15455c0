// Package crash kills the programs of the distributed system with -9, again and
// again, at random moments under traffic, and then compares what is stored with
// the ledgers of those outside: the events that were accepted, the oracle's
// transitions over the run's own streams, the archive, and what the receiver
// got.
package crash
