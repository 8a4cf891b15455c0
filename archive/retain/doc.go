// Package retain deletes what an archive is not to keep any longer.
//
// The invariant: nothing goes but by two commits of its chain's manifest, the
// second a grace behind the first, each announced before it is made; and nothing
// goes that a legal hold names. So a crash at any step leaves an archive that
// verifies, and the next run goes on. Any number of workers may run at once.
//
//	w, err := retain.New(archive.NewView(store, schemas.Telemetry), retain.Config{Before: before, Announce: announce})
//	plan, err := w.Plan(ctx)
//	result, err := w.Run(ctx)
package retain
