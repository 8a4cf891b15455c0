package archiver_test

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/dermai/millrace/archive"
	"github.com/dermai/millrace/internal/archiver"
	"github.com/dermai/millrace/pipeline"
	"github.com/dermai/millrace/pipeline/pipelinetest"
)

// TestFlushLostEnd: a stream whose last message was removed has an end that is
// never read. Flush stores what is before it, and ends.
func TestFlushLostEnd(t *testing.T) {
	s := pipelinetest.Start(t)
	c := s.Connect(t)
	if _, err := pipeline.Apply(t.Context(), c, pipeline.Layout{Partitions: 1, Sync: s.Sync}, false); err != nil {
		t.Fatal(err)
	}
	nc, err := nats.Connect(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	var last uint64
	for _, subject := range []string{"ingest.log.shop", "ingest.log.web"} {
		ack, err := js.Publish(t.Context(), subject, []byte(`{"message":"x"}`))
		if err != nil {
			t.Fatal(err)
		}
		last = ack.Sequence
	}
	stream, err := js.Stream(t.Context(), "EVENTS_0")
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Purge(t.Context(), jetstream.WithPurgeSubject("ingest.log.web")); err != nil {
		t.Fatal(err)
	}
	store, err := archive.OpenFileStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	archived := map[string]uint64{}
	err = archiver.Flush(ctx, c, store, func(f archiver.Flushed) error { archived[f.Stream] = f.Archived; return nil })
	if err != nil || archived["EVENTS_0"] != last-1 {
		t.Errorf("archived %v, %v; want EVENTS_0 up to %d", archived, err, last-1)
	}
}
