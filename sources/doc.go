// Package sources is how events come in: over HTTP, from files that grow and
// rotate, from a pipe.
//
// The invariant: nothing is acknowledged before it is stored, and nothing that
// was refused is stored. A request is answered 202 when the broker has all of
// it on disk; a file's position moves with the frame that holds its lines.
//
// What is stored is never what came in: every line is decoded strictly,
// normalized to an event, stripped of secrets, and encoded anew.
//
//	file := sources.File{
//		Inlet:  sources.Inlet{Publisher: publisher, Defaults: sources.Defaults{Service: "api"}},
//		Path:   "logs/app.log",
//		Follow: true,
//		Stored: stored,
//	}
//	err := file.Run(ctx)
//
// Everything here asks a Publisher to store, and knows of no broker.
package sources
