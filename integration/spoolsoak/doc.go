// Package spoolsoak fills the spool of a publisher that has no broker, kills it
// with -9 again and again while it writes and while it sends, flips bits on its
// disk, and then compares what the broker has with the ledger of what Publish
// took: every undamaged event is there once, and the damage is named.
package spoolsoak
