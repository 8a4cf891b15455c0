package pipeline_test

import (
	"bytes"
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dermai/millrace/internal/traffic"
	"github.com/dermai/millrace/pipeline"
	"github.com/dermai/millrace/pipeline/pipelinetest"
	"github.com/dermai/millrace/schemas"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// benchLines are log events of the generator.
func benchLines() [][]byte {
	g, now := traffic.New(traffic.Config{}), time.Now().UnixNano()
	var lines [][]byte
	for len(lines) < 1000 {
		if line, kind, _ := g.AppendLine(nil, now); kind == schemas.KindLog {
			lines = append(lines, append(line, '\n'))
		}
	}
	return lines
}

// BenchmarkConsume compares Consume, and a durable consumer of nats.go with
// explicit acknowledgements, on the same stored events: one a message, and 1,000
// a frame. The unit is an event.
func BenchmarkConsume(b *testing.B) {
	lines := benchLines()
	frame := schemas.Pack(nil, bytes.Join(lines, nil))
	for _, per := range []int{1, len(lines)} {
		s := pipelinetest.Start(b)
		c := s.Connect(b)
		if _, err := pipeline.Apply(b.Context(), c, pipeline.Layout{Partitions: 1, Sync: s.Sync}, false); err != nil {
			b.Fatal(err)
		}
		messages := 20_000
		if per > 1 {
			messages = 300
		}
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
			body := lines[i%len(lines)]
			if per > 1 {
				body = frame
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
