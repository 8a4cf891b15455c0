package app

import (
	"context"
	"fmt"
	"time"

	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/internal/traffic"
	"github.com/dermai/millrace/pipeline"
	"github.com/dermai/millrace/schemas"
	"golang.org/x/sync/errgroup"
)

// The pace of the demo.
const (
	demoBeat  = 100 * time.Millisecond
	demoBurst = 20 // events a beat
	demoBad   = 3 * time.Second
)

// demo publishes the events of three made-up services until ctx ends, the way
// that services do, and tells on standard output what goes on. One event is
// bad, so that the quarantine has something to show.
func (n *node) demo(ctx context.Context, seed int64) error {
	if seed == 0 {
		seed = time.Now().UnixNano() % 1e6
	}
	publisher, err := pipeline.NewPublisher(n.conn, pipeline.PublisherConfig{Partitions: n.config.Partitions})
	if err != nil {
		return err
	}
	n.say("three services begin to work; seed %d", seed)
	g, working := errgroup.WithContext(ctx)
	g.Go(func() error { return n.work(working, publisher, traffic.New(traffic.Config{Seed: uint64(seed)})) })
	g.Go(func() error { return n.misbehave(working) })
	err = g.Wait()
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), stepLimit)
	defer cancel()
	if closed := publisher.Close(last); err == nil {
		err = closed
	}
	return err
}

// work publishes what the services say.
func (n *node) work(ctx context.Context, publisher *pipeline.Publisher, g *traffic.Generator) error {
	beat := time.NewTicker(demoBeat)
	defer beat.Stop()
	var told traffic.Incident
	for {
		var now time.Time
		select {
		case <-ctx.Done():
			return nil
		case now = <-beat.C:
		}
		events := make([]schemas.Event, demoBurst)
		for i := range events {
			events[i] = g.Next(now.UnixNano())
		}
		if err := publisher.Publish(ctx, events...); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			n.log.Warn().Err(err).Msg("demo: publish")
			continue
		}
		if in := g.Incident(); in != told && now.UnixNano() >= in.Start {
			told = in
			n.say("an incident begins: %s in %s, for %v", in.Trouble, in.Service, time.Duration(in.End-in.Start).Round(time.Second))
		}
	}
}

// misbehave sends a message that is no event, as a foreign client could.
func (n *node) misbehave(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-time.After(demoBad):
	}
	log := n.conn.Log()
	defer log.Close()
	bad := fence.Message{Subject: "ingest.log.legacy", Data: []byte(`{"message":"this line was cut o` + "\n")}
	var before uint64
	if head, err := log.Head(ctx, bad.Subject); err == nil {
		before = head.Seq
	}
	if _, err := log.Append(ctx, bad, before); err != nil {
		n.log.Warn().Err(err).Msg("demo: send a bad event")
		return nil
	}
	n.say("a bad event is sent; it goes to the quarantine")
	return nil
}

// say tells the user of a demo what goes on.
func (n *node) say(format string, args ...any) {
	fmt.Fprintf(n.Stdout, "%s  %s\n", time.Now().Format(time.TimeOnly), fmt.Sprintf(format, args...))
}
