package processor_test

import (
	"context"
	"testing"
	"time"

	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/integration/reference"
	"github.com/dermai/millrace/internal/app/ops"
	"github.com/dermai/millrace/internal/processor"
	"github.com/dermai/millrace/notify"
	"github.com/dermai/millrace/pipeline"
	"github.com/dermai/millrace/pipeline/pipelinetest"
	"github.com/dermai/millrace/schemas"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/rs/zerolog"
)

// A processor that cannot join when it starts, since the broker does not answer,
// joins later. Found by integration/chaos, with seed 101.
func TestJoinsLater(t *testing.T) {
	ctx := t.Context()
	s := pipelinetest.Start(t)
	conn := s.Connect(t)
	layout := pipeline.Layout{Partitions: 1, Sync: s.Sync}
	if _, err := pipeline.Apply(ctx, conn, layout, false); err != nil {
		t.Fatal(err)
	}
	raw, err := nats.Connect(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	js, err := jetstream.New(raw)
	if err != nil {
		t.Fatal(err)
	}
	if err := js.DeleteKeyValue(ctx, pipeline.BucketMembers); err != nil {
		t.Fatal(err)
	}
	registry := prometheus.NewRegistry()
	running, stop := context.WithCancel(ctx)
	said := make(lines, 100)
	ended := make(chan error, 1)
	go func() {
		ended <- processor.Run(running, processor.Config{
			Conn: conn, Notify: notify.Config{}, Health: new(ops.Health), Registry: registry, Log: zerolog.New(said),
		})
	}()
	select {
	case <-said:
	case err := <-ended:
		t.Fatalf("it ended: %v", err)
	case <-time.After(10 * time.Second):
		t.Fatal("it said nothing")
	}
	if _, err := pipeline.Apply(ctx, conn, layout, false); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(ctx, schemas.Partition(0).Ticks(), nil); err != nil {
		t.Fatal(err)
	}
	pipelinetest.Within(t, "the partition is reduced", func() bool {
		n, err := testutil.GatherAndCount(registry, "millrace_reduce_frontier_seconds")
		return err == nil && n > 0
	})
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// A message that the broker lost before it was read, and the alert over its place.
func TestSuspect(t *testing.T) {
	ctx := t.Context()
	s := pipelinetest.Start(t)
	conn := s.Connect(t)
	layout := pipeline.Layout{
		Partitions: 1, Sync: s.Sync,
		Deployment: schemas.Deployment{Engine: schemas.Engine, Tick: 100 * time.Millisecond, Lateness: 1, Delay: 1},
		Rules: &schemas.RuleSource{Files: []schemas.RuleFile{{Name: "r.yaml", Text: "groups: [{name: g, rules: [" +
			"{alert: Seen, on: log, by: [service], count: true, window: 2s, fire: '> 0'}]}]"}}},
	}
	if _, err := pipeline.Apply(ctx, conn, layout, false); err != nil {
		t.Fatal(err)
	}
	log := conn.Log()
	defer log.Close()
	publish := func(service string) uint64 {
		t.Helper()
		seq, err := log.Append(ctx, fence.Message{Subject: "ingest.log." + service, Data: []byte(`{"message":"here"}`)}, 0)
		if err != nil {
			t.Fatal(err)
		}
		return seq
	}
	publish("before")
	gone := publish("gone")
	publish("behind")
	if err := log.Trim(ctx, schemas.Partition(0).Stream(), "ingest.log.gone", gone+1); err != nil {
		t.Fatal(err)
	}
	running, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() {
		ended <- processor.Run(running, processor.Config{
			Conn: conn, Notify: notify.Config{}, Health: new(ops.Health), Registry: prometheus.NewRegistry(), Log: zerolog.Nop(),
		})
	}()
	changes := func() (list []schemas.Transition) {
		t.Helper()
		list, _, err := reference.Decided(ctx, log, schemas.Telemetry)
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	pipelinetest.Within(t, "alerts fire and end", func() bool { return len(changes()) >= 4 })
	for _, c := range changes() { // they end when what is lost has left the window too
		if c.Suspect != (c.To == schemas.Firing) {
			t.Errorf("%s to %s is suspect %t", c.Alert, c.To, c.Suspect)
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// lines are what a program logs.
type lines chan string

func (l lines) Write(b []byte) (int, error) {
	l <- string(b)
	return len(b), nil
}
