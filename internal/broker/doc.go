// Package broker runs nats-server inside the process.
//
// The invariant: what the server acknowledged is on disk. Every write is
// followed by fsync before its answer, and one data directory has one server at
// a time, held by a lock on the directory.
//
//	s, err := broker.Start(broker.Config{Dir: "data", Logger: log})
//	defer s.Shutdown()
//	conn, err := pipeline.Connect(ctx, pipeline.Config{InProcess: s})
package broker
