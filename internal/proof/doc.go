// Package proof proves that nothing was lost, or names what was.
//
// The invariant: a message counts once, wherever it is, and every number that
// somebody gave out is looked for. Sequences are dense in a stream, counters in a
// lane; a final frame ends a lane; the day's report of then says who spoke. What
// is not there is named by these numbers, and what nobody can know (what a lane
// sent that ended without a word) is called unknown and never complete.
//
//	report, err := proof.Run(ctx, proof.Config{Store: store, Log: log, ...})
//	report.OK()
//
// It reads the archive once, stream by stream, beside it what the broker still
// holds of the same sequences, and behind it what is not archived yet. Its memory
// grows with the lanes that are open at once, the days and the publishers, not
// with the messages. It may run while everything else does.
package proof
