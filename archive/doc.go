// Package archive keeps every message of a stream in an object store, exactly
// once, and proves it.
//
// The invariant: the key of a chain's next object follows from the chain alone.
// A chain (one stream, one epoch) is a sequence of objects, each of which covers
// the sequences after those of the object before it, holds that object's hash,
// and lies under a key made of the day and the first sequence that the object
// before it determined. Objects are put only where none is. So any number of
// archivers may race, cut where they like, crash and wake up late: for each
// position one object wins, and the others read it, compare it with what they
// hold themselves, and go on behind it. There is no other position: it is read
// from the store.
//
// One archiver per stream and process, stepped as every stage is:
//
//	store, err := archive.OpenFileStore(dir)
//	a, err := archive.NewArchiver(log, store, archive.Config{Stream: "EVENTS_0"})
//	err = stages.Drive(ctx, a, wake, logger)
//	err = a.Flush(ctx)
//
// Reading back:
//
//	report, err := archive.Verify(ctx, store, archive.Options{Full: true})
//	err = archive.Cat(ctx, store, archive.Filter{Stream: "AUDIT"}, func(r *archive.Record) error { ... })
//
// What an object looks like is in docs/archive.md; the format is permanent.
package archive
