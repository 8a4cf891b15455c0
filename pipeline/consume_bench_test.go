package pipeline_test

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dermai/millrace/internal/traffic"
	"github.com/dermai/millrace/pipeline"
	"github.com/dermai/millrace/pipeline/pipelinetest"
	"github.com/dermai/millrace/schemas"
	"github.com/nats-io/nats.go/jetstream"
)

// BenchmarkConsume compares Consume, and a durable consumer of nats.go with
// explicit acknowledgements, on the same stored events: one a message, and 1,000
// a frame. They take turns, so that each iteration has the machine as it is at the
// time; what is reported are medians, of the rates and of the ratios to plain nats.go
// with one event a message in the same iteration.
func BenchmarkConsume(b *testing.B) {
	lines := benchLines()
	single := startBacklog(b, lines, 20_000)
	frames := startBacklog(b, [][]byte{schemas.Pack(nil, bytes.Join(lines, nil))}, 300)
	frames.per = len(lines)
	ways := []struct {
		name string
		on   *backlog
		run  func(*backlog, context.Context, string, func(int)) error
	}{
		{"plain", single, (*backlog).plain},
		{"Consume", single, (*backlog).consume},
		{"frames", frames, (*backlog).consume},
		{"frames-in-batches", frames, (*backlog).batches},
	}
	rates, ratios := make([][]float64, len(ways)), make([][]float64, len(ways))
	for b.Loop() {
		for i, w := range ways {
			rates[i] = append(rates[i], w.on.measure(b, w.run))
			ratios[i] = append(ratios[i], rates[i][len(rates[i])-1]/rates[0][len(rates[0])-1])
		}
	}
	for i, w := range ways {
		b.ReportMetric(median(rates[i]), w.name+"-events/s")
		if i > 0 {
			b.ReportMetric(median(ratios[i]), w.name+"/plain")
		}
	}
}

func median(of []float64) float64 {
	of = slices.Sorted(slices.Values(of))
	return of[len(of)/2]
}

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

// backlog is a broker with messages to be read.
type backlog struct {
	conn     *pipeline.Conn
	js       jetstream.JetStream
	messages int
	per      int // events in a message
	names    int // of consumers that there were
}

func startBacklog(b *testing.B, bodies [][]byte, messages int) *backlog {
	s := pipelinetest.Start(b)
	c := s.Connect(b)
	if _, err := pipeline.Apply(b.Context(), c, pipeline.Layout{Partitions: 1, Sync: s.Sync}, false); err != nil {
		b.Fatal(err)
	}
	js := dial(b, s.URL())
	for i := range messages {
		if i%1000 == 0 {
			<-js.PublishAsyncComplete()
		}
		if _, err := js.PublishAsync("ingest.log.shop", bodies[i%len(bodies)]); err != nil {
			b.Fatal(err)
		}
	}
	<-js.PublishAsyncComplete()
	return &backlog{conn: c, js: js, messages: messages, per: 1}
}

// measure reads all with a new consumer, and gives the events a second from the
// first event to the last.
func (s *backlog) measure(b *testing.B, run func(*backlog, context.Context, string, func(int)) error) float64 {
	s.names++
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	var n atomic.Int64
	var began, ended time.Time
	all := int64(s.messages * s.per)
	err := run(s, ctx, fmt.Sprintf("bench-%d", s.names), func(events int) {
		switch n.Add(int64(events)) {
		case int64(events):
			began = time.Now()
		case all:
			ended = time.Now()
			cancel()
		}
	})
	if err != nil || n.Load() != all {
		b.Fatalf("%d events, want %d; %v", n.Load(), all, err)
	}
	return float64(all) / ended.Sub(began).Seconds()
}

func (s *backlog) subscription(name string) pipeline.Subscription {
	return pipeline.Subscription{Conn: s.conn, Name: name, From: pipeline.Start{All: true}}
}

func (s *backlog) consume(ctx context.Context, name string, got func(int)) error {
	return pipeline.Consume(ctx, s.subscription(name), func(context.Context, pipeline.Delivery) error {
		got(1)
		return nil
	})
}

func (s *backlog) batches(ctx context.Context, name string, got func(int)) error {
	return pipeline.ConsumeBatches(ctx, s.subscription(name), func(_ context.Context, batch []pipeline.Delivery) error {
		got(len(batch))
		return nil
	})
}

func (s *backlog) plain(ctx context.Context, name string, got func(int)) error {
	consumer, err := s.js.CreateConsumer(ctx, "EVENTS_0", jetstream.ConsumerConfig{
		Durable: name, AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: 50_000,
	})
	if err != nil {
		return err
	}
	running, err := consumer.Consume(func(m jetstream.Msg) {
		_ = m.Ack() // one that is lost is given again, which is counted
		got(s.per)
	}, jetstream.PullMaxMessages(1000))
	if err != nil {
		return err
	}
	<-ctx.Done()
	running.Drain()
	<-running.Closed()
	return s.js.Conn().Flush()
}
