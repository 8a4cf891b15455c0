// Package pipeline is JetStream as Millrace uses it: connect, publish, consume, apply
// the streams, the fenced log, membership and quarantine. It is the only package that
// names NATS. Services need Connect, NewPublisher and Consume; the rest is for
// Millrace's own programs.
//
// The invariant: what this package reports as stored is on the broker's disk,
// and no outcome that it does not know is reported as either.
//
// A service publishes:
//
//	conn, err := pipeline.Connect(ctx, pipeline.Config{URL: os.Getenv("NATS_URL"), Name: "shop"})
//	pub, err := pipeline.NewPublisher(conn, pipeline.PublisherConfig{Service: "shop"})
//	err = pub.Publish(ctx, schemas.Event{Kind: schemas.KindLog, Level: "INFO", Message: "started"})
//
// A team consumes:
//
//	err = pipeline.Consume(ctx, pipeline.Subscription{Conn: conn, Name: "ledger"}, handler)
//
// A stage reads and appends through a Log of its own:
//
//	log := conn.Log()
//	w := fence.NewWriter(log, schemas.Partition(0).Partials(), rand.Text)
package pipeline
