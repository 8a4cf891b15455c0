package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/dermai/millrace/archive"
	"github.com/dermai/millrace/archive/query"
	"github.com/dermai/millrace/internal/app/ops"
	"github.com/dermai/millrace/internal/archiver"
	"github.com/dermai/millrace/internal/proof"
	"github.com/dermai/millrace/pipeline"
	"github.com/dermai/millrace/schemas"
	"github.com/prometheus/client_golang/prometheus"
)

const writers = 4

// deployment is a broker in a child, publishers, and an archive that is not on the
// broker's disk.
type deployment struct {
	c       *trial
	dir     string // of the broker
	listen  string
	process *process
	conn    *pipeline.Conn
	store   *archive.FileStore
	witness *witness  // the archiver's log
	down    time.Time // when the broker was killed last
	back    time.Time // when the streams were there again, perhaps without what they lost

	mu     sync.Mutex
	stored map[string]time.Time // when Publish said of an event that it is on disk
	tried  atomic.Int64
}

// deploy starts a broker on a directory and makes the streams.
func (c *trial) deploy(ctx context.Context, dir string) (*deployment, error) {
	d := &deployment{c: c, dir: dir, listen: "127.0.0.1:0", stored: map[string]time.Time{}, witness: &witness{Writer: c.log}}
	if err := d.start(); err != nil {
		return nil, err
	}
	var err error
	if d.conn, err = pipeline.Connect(ctx, pipeline.Config{URL: "nats://" + d.listen, Logger: zerolog.New(c.log)}); err != nil {
		return nil, err
	}
	d.store, err = archive.OpenFileStore(filepath.Join(c.dir, "archive"))
	return d, err
}

// layout is small, and has every stream.
var layout = pipeline.Layout{
	Partitions: 1, Archived: true,
	EventsBytes: 64 << 20, AuditBytes: 8 << 20, PartialsBytes: 8 << 20, AlertsBytes: 8 << 20, ControlBytes: 8 << 20,
	NotifyBytes: 8 << 20, QuarantineBytes: 8 << 20,
}

// start runs the broker on its directory and port.
func (d *deployment) start() error {
	deadline := time.Now().Add(time.Minute)
	for {
		p, err := start("broker", d.dir, d.c.seed, d.listen)
		if err != nil {
			return err
		}
		if url, ok := <-p.lines; ok {
			d.process, d.listen = p, strings.TrimPrefix(url, "nats://")
			return nil
		}
		p.kill()
		if time.Now().After(deadline) {
			return d.c.fail("the broker does not start: %s", p.stderr.String())
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func (d *deployment) close() {
	d.process.kill()
	d.conn.Close()
	_ = d.store.Close()
}

// apply makes what is missing, and says how much that was. It begins again where the
// client notices only then that the broker it asks is the one that was cut.
func (d *deployment) apply(ctx context.Context) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for made := 0; ; time.Sleep(20 * time.Millisecond) {
		if !d.conn.Connected() && ctx.Err() == nil {
			continue
		}
		changes, err := pipeline.Apply(ctx, d.conn, layout, false)
		made += len(changes)
		if !errors.Is(err, context.Canceled) || ctx.Err() != nil {
			return made, err
		}
	}
}

// publish publishes until ctx ends, each writer's events in their order, and ends
// the lanes.
func (d *deployment) publish(ctx context.Context) error {
	p, err := pipeline.NewPublisher(d.conn, pipeline.PublisherConfig{Partitions: 1})
	if err != nil {
		return err
	}
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			for ctx.Err() == nil {
				name := fmt.Sprintf("%d-%d", w, d.tried.Add(1))
				// Events are settled, whatever becomes of ctx.
				call, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
				err := p.Publish(call, schemas.Event{
					Kind: schemas.KindLog, Service: "power" + strconv.Itoa(w), Level: "INFO", Message: name,
				})
				cancel()
				if err == nil {
					d.mu.Lock()
					d.stored[name] = time.Now()
					d.mu.Unlock()
				}
			}
		})
	}
	all.Wait()
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	return p.Close(end)
}

// keep archives until ctx ends. An incident is what the archiver found.
func (d *deployment) keep(ctx context.Context) error {
	return archiver.Run(ctx, archiver.Config{
		Conn: d.conn, Store: d.store, CutAge: time.Second, Health: &ops.Health{}, Registry: prometheus.NewRegistry(),
		Log: zerolog.New(d.witness),
	})
}

// named is how long after the streams were back it was known that they had lost
// something: by the archiver that ran, or by the verify that ended now. 0: nobody
// says so.
func (d *deployment) named(nothing bool) time.Duration {
	named, ok := d.witness.since(d.back)
	switch {
	case ok:
		d.c.count("named_by_archiver", 1)
	case nothing:
		return 0
	default:
		named = time.Since(d.back)
	}
	d.c.count("named_ms", int(named.Milliseconds()))
	return named
}

// sentAgain tells an event that was on its way when the broker was killed, had come
// into the archive, was lost by the stream, and so was stored again: it is in two
// generations.
func (d *deployment) sentAgain(name string, in []archive.Epoch) bool {
	at, stored := d.stored[name]
	return len(in) == 2 && in[0] != in[1] && (!stored || at.After(d.down))
}

// check compares what the publishers were told with what the archive holds once
// everything is archived, and with what millrace verify says of it. damaged says
// that the streams may have lost something, which then must have been named.
func (d *deployment) check(ctx context.Context, damaged bool) error {
	if err := archiver.Flush(ctx, d.conn, d.store, func(archiver.Flushed) error { return nil }); err != nil {
		return d.c.fail("what is stored cannot be archived: %v", err)
	}
	count := map[string][]archive.Epoch{}
	err := query.Messages(ctx, d.store, archive.Filter{Class: string(schemas.Telemetry)}, func(r *archive.Record) error {
		content, err := schemas.Unpack(nil, r.Payload, schemas.FrameDecoded)
		for _, line := range schemas.Lines(content) {
			e, fault := schemas.Decode(line, schemas.Origin{Stream: r.Stream, Seq: r.Seq})
			err = errors.Join(err, fault)
			count[e.Message] = append(count[e.Message], r.Epoch)
		}
		return err
	})
	if err != nil {
		return d.c.fail("the archive cannot be read: %v", err)
	}
	lost := 0
	for name := range d.stored {
		if len(count[name]) == 0 {
			lost++
		}
	}
	for name, in := range count {
		switch {
		case len(in) < 2:
		case d.sentAgain(name, in):
			d.c.count("sent_again", 1)
		default:
			return d.c.fail("event %s, stored %s, is there %d times: %v", name, d.stored[name], len(in), in)
		}
	}
	began := time.Now()
	report, err := archiver.Verify(ctx, d.conn, proof.Config{Store: d.store})
	if err != nil {
		return err
	}
	d.c.count("durable", len(d.stored))
	d.c.count("lost", lost)
	d.c.count("findings", len(report.Findings))
	d.c.count("unknown_lanes", len(report.Lanes))
	fmt.Fprintf(d.c.log, "verify took %s: %v %v\n", time.Since(began), report.Findings, report.Lanes)
	named := d.named(report.OK())
	switch {
	case named > nameWithin:
		return d.c.fail("what is wrong was named after %s, more than %s", named, nameWithin)
	case lost > 0 && !damaged:
		return d.c.fail("%d of %d events that were stored are gone", lost, len(d.stored))
	case lost > 0 && report.OK():
		return d.c.fail("%d events are gone, and verify finds nothing", lost)
	case !damaged && !report.OK():
		return d.c.fail("nothing was lost, and verify finds %v", report.Findings[0])
	case !damaged && named > 0:
		return d.c.fail("nothing was lost, and the archiver says that something is: see its log")
	}
	return nil
}
