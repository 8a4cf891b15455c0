// Package schemas is the vocabulary of Millrace: what an event, a frame, a
// partial, a transition and a notification are, how they are written down, and
// what their subjects are called. It imports nothing else of the project, and
// everything else imports it.
//
// The invariant: every format here is permanent. A field may be added; a field
// is never renamed, retyped or given another meaning, and the golden files in
// testdata are only ever added to. A reader ignores fields that it does not
// know in stage messages, and keeps them as attributes in events.
//
// An event comes in as a line of JSON and is read in one strict way at every
// door and in every stage:
//
//	e, err := schemas.Decode(line, schemas.Origin{Kind: kind, Service: service})
//	schemas.Redact(&e)
//	line, err = schemas.AppendJSON(nil, &e) // Decode gives e again
//
// A frame is a message of many of them, Pack makes it small:
//
//	body, err := schemas.Unpack(nil, message, schemas.FrameDecoded)
//	for i, line := range schemas.Lines(body) { ... }
//
// What the stages say to each other goes through Encode and DecodeInto.
//
// Times are int64 nanoseconds since the Unix epoch, UTC. Ticks are int64 counts
// of the deployment's tick length since the Unix epoch.
package schemas
