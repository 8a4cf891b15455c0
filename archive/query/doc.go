// Package query reads events back from an archive, whatever became of the objects
// that they were stored in, and from the streams what is not archived yet.
//
// The invariant: each event is given exactly once, those of a stream in order of
// sequence, however many archivers and compactors are at work meanwhile. A chain
// is read piece by piece (its segments, then the objects behind them), and the
// reader keeps the sequence that comes next. If an object is gone when its turn
// comes, its segment must be in the manifest by now, and is read from that sequence
// on; if it is not, that is an error.
//
//	err := query.Run(ctx, store, query.Options{Where: where, From: from}, func(e *query.Event) error { ... })
//
// Of segments only what may hold a matching event is read: the manifest's bounds
// rule out segments, statistics and Bloom filters row groups, the page index pages,
// and the columns that a condition names rows; of the payloads, which are most of
// the bytes, only pages with such rows are fetched. The rules' own evaluator
// decides on what is left.
//
// Whoever folds a stream as reducers do needs whole messages, ticks too:
//
//	err := query.Messages(ctx, store, archive.Filter{Stream: "EVENTS_0", Since: from, Until: to}, func(r *archive.Record) error { ... })
package query
