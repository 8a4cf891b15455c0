package pipeline_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dermai/millrace/pipeline"
	"github.com/dermai/millrace/pipeline/pipelinetest"
	"github.com/dermai/millrace/schemas"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// benchLine is an event of common size.
const benchLine = `{"timestamp":"2026-01-02T03:04:05.678Z","level":"INFO","logger":"api","message":"API request","request_id":"0af7651916cd43dd8448eb211c80319c","attributes":{"method":"GET","path":"/api/v1/patients/1234","status_code":200,"duration_ms":12.5,"client":"10.0.0.7"},"instance":"web-1","trace_id":"4bf92f3577b34da6a3ce929d0e0e4736"}`

// BenchmarkConsume compares Consume, and a durable consumer of nats.go with
// explicit acknowledgements, on the same stored events: one a message, and 1,000
// a frame. The unit is an event.
func BenchmarkConsume(b *testing.B) {
	for _, per := range []int{1, 1000} {
		s := pipelinetest.Start(b)
		c := s.Connect(b)
		if _, err := pipeline.Apply(b.Context(), c, pipeline.Layout{Partitions: 1, Sync: s.Sync}, false); err != nil {
			b.Fatal(err)
		}
		messages := 20_000
		if per > 1 {
			messages = 300
		}
		var line []byte
		for range per {
			line = append(append(line, benchLine...), '\n')
		}
		body := schemas.Pack(nil, line)
		nc, err := nats.Connect(s.URL())
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(nc.Close)
		js, err := jetstream.New(nc)
		if err != nil {
			b.Fatal(err)
		}
		for i := range messages {
			if i%1000 == 0 {
				<-js.PublishAsyncComplete()
			}
			if _, err := js.PublishAsync("ingest.log.shop", body); err != nil {
				b.Fatal(err)
			}
		}
		<-js.PublishAsyncComplete()
		events := int64(messages * per)
		run := func(name string, consume func(ctx context.Context, name string, one func(events int64))) {
			round := 0
			b.Run(fmt.Sprintf("%s/%d", name, per), func(b *testing.B) {
				var spent time.Duration // from the first event to the last
				for range b.N {
					round++
					ctx, cancel := context.WithCancel(b.Context())
					var n atomic.Int64
					var began time.Time
					consume(ctx, fmt.Sprintf("%s-%d-%d", name, per, round), func(more int64) {
						switch n.Add(more) {
						case more:
							began = time.Now()
						case events:
							spent += time.Since(began)
							cancel()
						}
					})
					if n.Load() != events {
						b.Fatalf("%d events, want %d", n.Load(), events)
					}
				}
				b.ReportMetric(float64(events)*float64(b.N)/spent.Seconds(), "events/s")
			})
		}
		run("Consume", func(ctx context.Context, name string, one func(int64)) {
			err := pipeline.Consume(ctx, pipeline.Subscription{Conn: c, Name: name, From: pipeline.Start{All: true}},
				func(context.Context, pipeline.Delivery) error { one(1); return nil })
			if err != nil {
				b.Fatal(err)
			}
		})
		run("Batches", func(ctx context.Context, name string, one func(int64)) {
			err := pipeline.ConsumeBatches(ctx, pipeline.Subscription{Conn: c, Name: name, From: pipeline.Start{All: true}},
				func(_ context.Context, batch []pipeline.Delivery) error { one(int64(len(batch))); return nil })
			if err != nil {
				b.Fatal(err)
			}
		})
		run("plain", func(ctx context.Context, name string, one func(int64)) {
			consumer, err := js.CreateConsumer(b.Context(), "EVENTS_0", jetstream.ConsumerConfig{
				Durable: name, AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: 50_000,
			})
			if err != nil {
				b.Fatal(err)
			}
			running, err := consumer.Consume(func(m jetstream.Msg) {
				_ = m.Ack()
				one(int64(per))
			}, jetstream.PullMaxMessages(1000))
			if err != nil {
				b.Fatal(err)
			}
			<-ctx.Done()
			running.Drain()
			<-running.Closed()
			_ = nc.Flush()
		})
	}
}
