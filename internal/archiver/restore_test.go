package archiver_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/dermai/millrace/archive"
	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/internal/archiver"
	"github.com/dermai/millrace/internal/proof"
	"github.com/dermai/millrace/pipeline"
	"github.com/dermai/millrace/pipeline/pipelinetest"
	"github.com/dermai/millrace/schemas"
	"github.com/dermai/millrace/stages"
)

// restoring is a deployment of one partition, whose streams are lost and restored.
type restoring struct {
	*testing.T
	conn   *pipeline.Conn
	js     jetstream.JetStream
	store  archive.Store
	layout pipeline.Layout
}

func newRestoring(t *testing.T) *restoring {
	t.Helper()
	s := pipelinetest.Start(t)
	return restoringOn(t, s.Connect(t), s.URL(), pipeline.Layout{Sync: s.Sync})
}

// replicated is one on three servers.
func replicated(t *testing.T) *restoring {
	t.Helper()
	url := pipelinetest.StartCluster(t)
	conn, err := pipeline.Connect(t.Context(), pipeline.Config{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	return restoringOn(t, conn, url, pipeline.Layout{Replicas: 3})
}

func restoringOn(t *testing.T, conn *pipeline.Conn, url string, layout pipeline.Layout) *restoring {
	t.Helper()
	layout.Partitions, layout.Archived = 1, true
	r := &restoring{T: t, conn: conn, layout: layout}
	if _, err := pipeline.Apply(t.Context(), r.conn, r.layout, false); err != nil {
		t.Fatal(err)
	}
	nc, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	if r.js, err = jetstream.New(nc); err != nil {
		t.Fatal(err)
	}
	store, err := archive.OpenFileStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	r.store = store
	return r
}

// publish stores events of every form: packed and plain, with headers, of both
// classes, and one that no reader can read.
func (r *restoring) publish(from, to int) {
	r.Helper()
	p, err := pipeline.NewPublisher(r.conn, pipeline.PublisherConfig{Service: "shop", Partitions: 1})
	if err != nil {
		r.Fatal(err)
	}
	for i := from; i < to; i++ {
		text := strings.Repeat(fmt.Sprint(i, " "), 1+i%3*500)
		success := true
		err := errors.Join(
			p.Publish(r.Context(), schemas.Event{Kind: schemas.KindLog, Service: "shop", Level: "INFO", Message: text}),
			p.Publish(r.Context(), schemas.Event{Kind: schemas.KindAudit, Service: "shop", User: "ann", Action: "READ", Resource: text, Success: &success}),
		)
		if err != nil {
			r.Fatal(err)
		}
		for _, subject := range []string{"ingest.log.web", "ingest.audit.web"} {
			m := &nats.Msg{Subject: subject, Data: fmt.Appendf(nil, `{"message":"%d","user":"bo","action":"READ","resource":"%d","success":true}`, i, i),
				Header: nats.Header{"Own-Header": []string{fmt.Sprintf("a: %d ", i)}}}
			if i%7 == 3 {
				m.Data = []byte{0x28, 0xB5, 0x2F, 0xFD, 1}
			}
			if _, err := r.js.PublishMsg(r.Context(), m); err != nil {
				r.Fatal(err)
			}
		}
	}
	if err := p.Close(r.Context()); err != nil {
		r.Fatal(err)
	}
}

// reduce lets the reducers read all, and gives how many events they have counted
// since the beginning.
func (r *restoring) reduce() map[schemas.Partition]int64 {
	r.Helper()
	for _, p := range []schemas.Partition{0, schemas.Audit} {
		log := r.conn.Log()
		m := stages.NewReduce(stages.ReduceConfig{Partition: p, Log: log, Quarantine: pipeline.NewQuarantine(r.conn), Clock: time.Now, Claims: rand.Text})
		pipelinetest.Within(r, "reduce "+p.Stream(), func() bool {
			if _, err := m.Step(r.Context()); err != nil {
				r.Fatal(err)
			}
			at := r.head(p)
			info, err := log.Info(r.Context(), p.Stream())
			return err == nil && !at.Midway && (at.To.Seq == info.Last || info.First > info.Last || info.Lost(info.Last))
		})
		log.Close()
	}
	return r.counted()
}

// head is the last partial of a partition.
func (r *restoring) head(p schemas.Partition) (at schemas.Partial) {
	r.Helper()
	log := r.conn.Log()
	defer log.Close()
	e, err := log.Head(r.Context(), p.Partials())
	if err != nil {
		r.Fatal(err)
	}
	if e.Header[schemas.HeaderType] != schemas.TypeGenesis {
		if err := schemas.DecodeInto(e.Data, &at); err != nil {
			r.Fatal(err)
		}
	}
	return at
}

func (r *restoring) counted() map[schemas.Partition]int64 {
	r.Helper()
	out := map[schemas.Partition]int64{}
	for _, e := range r.entries(schemas.StreamPartials) {
		var p schemas.Partial
		if e.Header[schemas.HeaderType] == schemas.TypeGenesis {
			continue
		}
		if err := schemas.DecodeInto(e.Data, &p); err != nil {
			r.Fatal(err)
		}
		out[p.Partition] += p.Events
		if p.Lost > 0 {
			r.Errorf("partial %d tells of %d messages that were lost unread", e.Seq, p.Lost)
		}
	}
	return out
}

// events is how many publish stores up to n, without those that no reader can read.
func events(n int64) map[schemas.Partition]int64 {
	n = 2*n - (n+3)/7
	return map[schemas.Partition]int64{0: n, schemas.Audit: n}
}

// entries are the messages of a stream.
func (r *restoring) entries(stream string) (out []fence.Entry) {
	r.Helper()
	log := r.conn.Log()
	defer log.Close()
	info, err := log.Info(r.Context(), stream)
	if err != nil {
		r.Fatal(err)
	}
	for next := info.First; next <= info.Last; {
		part, err := log.Read(r.Context(), stream, next, 100)
		if err != nil {
			r.Fatal(err)
		}
		if len(part) == 0 && info.Lost(info.Last) {
			return out
		}
		for _, e := range part {
			out, next = append(out, e), e.Seq+1
		}
	}
	return out
}

func (r *restoring) flush() {
	r.Helper()
	if err := archiver.Flush(r.Context(), r.conn, r.store, func(archiver.Flushed) error { return nil }); err != nil {
		r.Fatal(err)
	}
}

func (r *restoring) lose(stream string) {
	r.Helper()
	if err := r.js.DeleteStream(r.Context(), stream); err != nil {
		r.Fatal(err)
	}
}

func (r *restoring) restore(stream string) *archiver.RestorePlan {
	r.Helper()
	plan, err := archiver.PlanRestore(r.Context(), r.conn, r.store, stream, 0)
	if err != nil {
		r.Fatal(err)
	}
	if err := plan.Restore(r.Context(), r.conn, r.layout, nil); err != nil {
		r.Fatal(err)
	}
	return plan
}

// interrupt ends a restore in the middle.
func (r *restoring) interrupt(stream string) {
	r.Helper()
	plan, err := archiver.PlanRestore(r.Context(), r.conn, r.store, stream, 0)
	if err != nil {
		r.Fatal(err)
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	if err := plan.Restore(ctx, r.conn, r.layout, func(n uint64) {
		if n == plan.Messages/2 {
			cancel()
		}
	}); !errors.Is(err, context.Canceled) {
		r.Fatalf("an interrupted restore: %v", err)
	}
	if _, err := r.js.Stream(r.Context(), stream); !errors.Is(err, jetstream.ErrStreamNotFound) {
		r.Errorf("what an interrupted restore left: %v", err)
	}
}

// verify gives what the archive's and the whole deployment's verification find.
func (r *restoring) verify() (found []string) {
	r.Helper()
	a, err := archive.Verify(r.Context(), r.store, archive.Options{Full: true})
	if err != nil {
		r.Fatal(err)
	}
	for _, p := range a.Problems {
		found = append(found, p.String())
	}
	report, err := archiver.Verify(r.Context(), r.conn, proof.Config{Store: r.store})
	if err != nil {
		r.Fatal(err)
	}
	for _, f := range report.Findings {
		found = append(found, f.Kind+": "+f.What)
	}
	return found
}

// TestRestore: a stream that was lost comes back as it was, message by message and on
// each server, also right after a restore that was interrupted, and publishing, reducing and archiving go on in it as if nothing had been.
func TestRestore(t *testing.T) {
	for _, c := range []struct {
		name, stream string
		deployment   func(*testing.T) *restoring
	}{
		{"events", "EVENTS_0", newRestoring},
		{"audit", "AUDIT", newRestoring},
		{"events on three servers", "EVENTS_0", replicated},
		{"audit on three servers", "AUDIT", replicated},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, stream := c.deployment(t), c.stream
			r.publish(0, 20)
			counted := r.reduce()
			if want := events(20); !cmp.Equal(counted, want) {
				t.Fatalf("counted %v, want %v", counted, want)
			}
			r.flush()
			before := r.entries(stream)
			r.lose(stream)

			r.interrupt(stream)
			plan := r.restore(stream)
			r.everywhere(stream, plan.Messages)
			if diff := cmp.Diff(before, r.entries(stream)); diff != "" {
				t.Errorf("restored (-before +after):\n%s", diff)
			}
			if plan.Lost() != 0 || plan.Messages != uint64(len(before)) {
				t.Errorf("plan %+v, of %d messages", plan, len(before))
			}
			if got := r.reduce(); !cmp.Equal(got, counted) {
				t.Errorf("counted %v after the restore, %v before", got, counted)
			}
			if changes, err := pipeline.Apply(t.Context(), r.conn, r.layout, false); err != nil || len(changes) > 0 {
				t.Errorf("apply changes %v, %v", changes, err)
			}
			_, err := archiver.PlanRestore(t.Context(), r.conn, r.store, stream, 0)
			if !errors.Is(err, pipeline.ErrRestored) {
				t.Errorf("restored again: %v", err)
			}
			r.publish(20, 30)
			again := r.reduce()
			if want := events(30); !cmp.Equal(again, want) {
				t.Errorf("counted %v, want %v", again, want)
			}
			r.flush()
			if found := r.verify(); len(found) > 0 {
				t.Errorf("verify: %q", found)
			}
			chains, err := archive.Chains(t.Context(), r.store, "", stream)
			if err != nil || len(chains) != 1 {
				t.Errorf("chains %v, %v; want one", chains, err)
			}
		})
	}
}

// everywhere looks whether every copy of a stream has its messages: a consumer is made
// on any server.
func (r *restoring) everywhere(stream string, messages uint64) {
	r.Helper()
	servers := map[string]bool{}
	pipelinetest.Within(r, "each server was asked", func() bool {
		c, err := r.js.CreateConsumer(r.Context(), stream, jetstream.ConsumerConfig{
			AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, Replicas: 1, InactiveThreshold: time.Second,
		})
		if err != nil {
			r.Fatal(err)
		}
		info, server := c.CachedInfo(), ""
		if info.Cluster != nil {
			server = info.Cluster.Leader
		}
		if info.NumPending != messages {
			r.Fatalf("%q has %d messages of %s, want %d", server, info.NumPending, stream, messages)
		}
		servers[server] = true
		return len(servers) == max(1, r.layout.Replicas)
	})
}

// TestRestoreLostEnd: what nobody had archived is gone, and said; the sequences that
// the reducer had read of it are not given again, and nothing is counted twice.
func TestRestoreLostEnd(t *testing.T) {
	r := newRestoring(t)
	r.publish(0, 10)
	r.flush()
	archived := r.entries("EVENTS_0")
	r.publish(10, 15)
	counted := r.reduce()
	end := r.head(0).To.Seq
	r.lose("EVENTS_0")
	plan := r.restore("EVENTS_0")
	if last := archived[len(archived)-1].Seq; plan.Archived != last || plan.End != end || plan.Lost() != end-last || plan.Lost() == 0 {
		t.Errorf("plan %+v; archived up to %d, read up to %d", plan, last, end)
	}
	if diff := cmp.Diff(archived, r.entries("EVENTS_0")); diff != "" {
		t.Errorf("restored (-archived +after):\n%s", diff)
	}
	if got := r.reduce(); !cmp.Equal(got, counted) {
		t.Errorf("counted %v after the restore, %v before", got, counted)
	}
	r.publish(15, 25)
	if e := r.entries("EVENTS_0"); e[len(archived)].Seq != end+1 {
		t.Errorf("the next message has sequence %d, want %d", e[len(archived)].Seq, end+1)
	}
	if got, want := r.reduce(), events(25); !cmp.Equal(got, want) {
		t.Errorf("counted %v, want %v", got, want)
	}
	// What else the lost stream held nobody knows: decisions over it are suspect.
	var losses []schemas.Loss
	for _, e := range r.entries(schemas.StreamPartials) {
		var p schemas.Partial
		if e.Header[schemas.HeaderType] == schemas.TypeGenesis {
			continue
		}
		if err := schemas.DecodeInto(e.Data, &p); err != nil {
			t.Fatal(err)
		}
		if p.Losses != nil && p.Partition == 0 && p.From.Seq == end {
			losses = append(losses, schemas.Loss{From: p.Losses[0].From - p.ArrivalFrom, Messages: p.Losses[0].Messages})
		}
	}
	if want := []schemas.Loss{{}}; !cmp.Equal(want, losses) {
		t.Errorf("losses behind the last frame read: %+v; want one, of no known message", losses)
	}
	r.flush()
	want := fmt.Sprintf("lost: sequences %d to %d are missing: deleted before archived", plan.Archived+1, plan.End)
	if found := r.verify(); len(found) == 0 || found[0] != want {
		t.Errorf("verify: %q; want first %q", found, want)
	}
}

// TestRestoreRefused: nothing is replaced, and nothing is made of which going on
// would be a lie.
func TestRestoreRefused(t *testing.T) {
	r := newRestoring(t)
	refused := func(stream, why string) {
		t.Helper()
		_, err := archiver.PlanRestore(t.Context(), r.conn, r.store, stream, 0)
		if err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: %v; want %q", stream, err, why)
		}
	}
	refused("EVENTS_0", "the archive holds nothing of EVENTS_0")
	r.publish(0, 3)
	r.reduce()
	r.flush()
	refused("EVENTS_0", "is there and has given sequences up to")
	refused("ALERTS", "only EVENTS_<p> and AUDIT can be restored")
	refused("EVENTS_00", "only EVENTS_<p> and AUDIT can be restored")

	// One that was made again and never used is replaced; one that was used is not.
	s, err := r.js.Stream(t.Context(), "EVENTS_0")
	if err != nil {
		t.Fatal(err)
	}
	config := s.CachedInfo().Config
	r.lose("EVENTS_0")
	if _, err := r.js.CreateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	plan, err := archiver.PlanRestore(t.Context(), r.conn, r.store, "EVENTS_0", 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.js.Publish(t.Context(), "ingest.log.web", []byte(`{}`)); err != nil {
		t.Fatal(err)
	}
	if err := plan.Restore(t.Context(), r.conn, r.layout, nil); err == nil {
		t.Error("a stream that was used meanwhile was replaced")
	}
	r.lose("EVENTS_0")
	if _, err := r.js.CreateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	r.restore("EVENTS_0")
	if found := r.verify(); len(found) > 0 {
		t.Errorf("verify: %q", found)
	}
}

// TestRestoreInterrupted: a half-restored stream takes nothing and is read by nobody,
// and the next run begins again. A run that can still do so removes it.
func TestRestoreInterrupted(t *testing.T) {
	r := newRestoring(t)
	r.publish(0, 10)
	counted := r.reduce()
	r.flush()
	before := r.entries("EVENTS_0")
	r.lose("EVENTS_0")
	r.interrupt("EVENTS_0")
	// As a process leaves it that is killed.
	if _, err := r.js.CreateStream(t.Context(), jetstream.StreamConfig{
		Name: "EVENTS_0", Subjects: []string{"restore.EVENTS_0"}, Metadata: map[string]string{"millrace-restoring": "x"},
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.js.Publish(t.Context(), "restore.EVENTS_0", []byte("half")); err != nil {
		t.Fatal(err)
	}
	log := r.conn.Log()
	defer log.Close()
	if _, err := log.Info(t.Context(), "EVENTS_0"); err == nil || fence.IsIncident(err) || !strings.Contains(err.Error(), "being restored") {
		t.Errorf("the extent of a half-restored stream: %v", err)
	}
	if _, err := pipeline.Apply(t.Context(), r.conn, r.layout, false); err == nil || !strings.Contains(err.Error(), "millrace archive restore EVENTS_0") {
		t.Errorf("apply to a half-restored stream: %v", err)
	}
	r.restore("EVENTS_0")
	if diff := cmp.Diff(before, r.entries("EVENTS_0")); diff != "" {
		t.Errorf("restored (-before +after):\n%s", diff)
	}
	if got := r.reduce(); !cmp.Equal(got, counted) {
		t.Errorf("counted %v after the restore, %v before", got, counted)
	}
}
