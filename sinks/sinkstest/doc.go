// Package sinkstest is what a receiver of notifications must pass, and what
// tests of receivers need: hostile notifications, and a server that behaves as
// Slack's.
//
// The invariant: a receiver that passes tells the truth about each attempt, so
// that a sender which believes it neither loses a notification nor sends one
// twice without cause, and lets no secret and no command out of its hands.
package sinkstest
