// Package spool keeps frames on the publisher's own disk while the broker is away.
//
// The invariant: a record that Append has taken (it returned nil) is read back
// unchanged, in the order of its lane, until Done says that it is stored
// elsewhere; or its bytes were damaged on the disk, and then the damage is
// skipped, counted and listed, and every record around it is still read. No
// damaged byte is ever handed out.
//
// A spool is a directory of segments, which are only ever appended to. A record
// is a frame that belongs to a lane, with its place in the lane and a checksum
// over everything. What records mean, and what the broker has of them, is the
// caller's business: this package knows files alone.
package spool
