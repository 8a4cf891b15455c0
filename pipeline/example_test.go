package pipeline_test

import (
	"context"
	"fmt"
	"os"

	"github.com/dermai/millrace/internal/broker"
	"github.com/dermai/millrace/pipeline"
	"github.com/dermai/millrace/schemas"
)

// A service publishes; when Publish returns nil the events are on disk.
func ExamplePublisher() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "millrace")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	server, err := broker.Start(broker.Config{Dir: dir}) // yours is at NATS_URL
	if err != nil {
		fmt.Println(err)
		return
	}
	defer server.Shutdown()
	conn, err := pipeline.Connect(ctx, pipeline.Config{InProcess: server, Name: "shop"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer conn.Close()
	if _, err := pipeline.Apply(ctx, conn, pipeline.Layout{Partitions: 1, Sync: server.Sync}, false); err != nil {
		fmt.Println(err)
		return
	}

	pub, err := pipeline.NewPublisher(conn, pipeline.PublisherConfig{Service: "shop", Partitions: 1})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer pub.Close(ctx)
	err = pub.Publish(ctx, schemas.Event{Kind: schemas.KindLog, Level: "INFO", Message: "Job finished", Attributes: map[string]any{"job": "backup"}})
	fmt.Println("stored:", err == nil)
	err = pub.Publish(ctx, schemas.Event{Kind: schemas.KindLog, Level: "LOUD", Message: "x"})
	fmt.Println(err)
	// Output:
	// stored: true
	// publish: event 0: level: unknown; use DEBUG, INFO, WARNING, ERROR or CRITICAL
}
