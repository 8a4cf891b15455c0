// Package traffic makes up what three services of a clinic would log, measure
// and audit, for the demo and for benchmarks: requests, queries, the state of
// machines and of connection pools, backups, and now and then an incident.
//
// The invariant: the same seed and the same times give the same events, byte for
// byte.
//
//	g := traffic.New(traffic.Config{Seed: 1})
//	line, kind, service := g.AppendLine(nil, time.Now().UnixNano())
//
// Ids are random and the rest repeats as real logs do, so that frames of a
// thousand events compress about 5:1 (zstd, fastest), and one core makes more
// than a million lines a second.
package traffic
