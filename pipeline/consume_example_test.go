package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/message/router/middleware"

	"github.com/dermai/millrace/internal/broker"
	"github.com/dermai/millrace/pipeline"
	transport "github.com/dermai/millrace/pipeline/watermill"
	"github.com/dermai/millrace/schemas"
)

// local runs an example on a broker of its own; yours is at NATS_URL.
func local(example func(ctx context.Context, conn *pipeline.Conn) error) {
	err := func() error {
		ctx := context.Background()
		dir, err := os.MkdirTemp("", "millrace")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		server, err := broker.Start(broker.Config{Dir: dir})
		if err != nil {
			return err
		}
		defer server.Shutdown()
		conn, err := pipeline.Connect(ctx, pipeline.Config{InProcess: server})
		if err != nil {
			return err
		}
		defer conn.Close()
		if _, err := pipeline.Apply(ctx, conn, pipeline.Layout{Partitions: 1, Sync: server.Sync}, false); err != nil {
			return err
		}
		return example(ctx, conn)
	}()
	if err != nil {
		fmt.Println(err)
	}
}

// A consumer gets the events that it wants, each until its handler says nil.
func ExampleConsume() {
	local(func(ctx context.Context, conn *pipeline.Conn) error {
		pub, err := pipeline.NewPublisher(conn, pipeline.PublisherConfig{Service: "shop", Partitions: 1})
		if err != nil {
			return err
		}
		err = pub.Publish(ctx,
			schemas.Event{Kind: schemas.KindLog, Level: "INFO", Message: "started"},
			schemas.Event{Kind: schemas.KindLog, Level: "ERROR", Message: "out of stock"},
		)
		if err := errors.Join(err, pub.Close(ctx)); err != nil {
			return err
		}

		ctx, stop := context.WithCancel(ctx)
		defer stop()
		return pipeline.Consume(ctx, pipeline.Subscription{
			Conn: conn, Name: "errors", Services: []string{"shop"}, From: pipeline.Start{All: true},
			Where: func(e *schemas.Event) bool { return e.Level == "ERROR" },
			Retry: pipeline.Retry{Min: time.Millisecond},
		}, func(_ context.Context, d pipeline.Delivery) error {
			if d.Attempt == 1 {
				return errors.New("the database is away") // given again
			}
			fmt.Println(d.Event.Message, "at attempt", d.Attempt)
			stop()
			return nil
		})
	})
	// Output: out of stock at attempt 2
}

// Watermill's router with its middleware, over JetStream.
func ExamplePublisher_watermill() {
	local(func(ctx context.Context, conn *pipeline.Conn) error {
		t := transport.Transport{Conn: conn, Group: "billing"}
		pub, err := transport.NewPublisher(ctx, t)
		if err != nil {
			return err
		}
		sub, err := transport.NewSubscriber(ctx, t)
		if err != nil {
			return err
		}
		router, err := message.NewRouter(message.RouterConfig{}, watermill.NopLogger{})
		if err != nil {
			return err
		}
		router.AddMiddleware(middleware.Recoverer, middleware.Retry{MaxRetries: 3, ResetContextOnRetry: true}.Middleware)
		attempts := 0
		router.AddConsumerHandler("invoice", "orders", sub, func(m *message.Message) error {
			if attempts++; attempts < 3 {
				return errors.New("not now")
			}
			fmt.Printf("invoice for %s at attempt %d\n", m.Payload, attempts)
			go router.Close()
			return nil
		})
		if err := pub.Publish("orders", message.NewMessage("1", []byte("order 7"))); err != nil {
			return err
		}
		return router.Run(ctx)
	})
	// Output: invoice for order 7 at attempt 3
}
