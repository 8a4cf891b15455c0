package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/dermai/millrace/archive"
	"github.com/dermai/millrace/internal/child"
	"github.com/dermai/millrace/schemas"
)

// deployment is a broker and what runs on it, in a directory of its own.
type deployment struct {
	config
	dir     string
	url     string     // of all servers
	brokers []*process // nats-servers
	running []*process // daemons
	conn    *nats.Conn
	js      jetstream.JetStream
}

// deploy starts a broker and applies the default layout, with these rule files
// or those that are built in.
func deploy(ctx context.Context, c config, name string, rules ...string) (*deployment, error) {
	d := &deployment{config: c, dir: filepath.Join(c.Dir, name)}
	if err := os.MkdirAll(d.dir, 0o700); err != nil {
		return nil, err
	}
	if err := d.configure(rules); err != nil {
		return nil, err
	}
	d.brokers = make([]*process, d.servers())
	for i := range d.brokers {
		if err := d.startServer(i); err != nil {
			return nil, errors.Join(err, d.close())
		}
	}
	if err := d.begin(ctx); err != nil {
		return nil, errors.Join(err, d.close())
	}
	return d, nil
}

func (d *deployment) begin(ctx context.Context) error {
	err := until(ctx, "the broker answers", func() (bool, error) {
		var err error
		d.conn, err = nats.Connect(d.url, nats.MaxReconnects(-1), nats.PingInterval(time.Second))
		return err == nil, nil
	})
	if err != nil {
		return err
	}
	if d.js, err = jetstream.New(d.conn); err != nil {
		return err
	}
	if d.servers() == 1 {
		return d.once(ctx, "apply")
	}
	// Servers take no stream before they have found each other.
	return until(ctx, "the servers take the layout", func() (bool, error) {
		return d.once(ctx, "apply") == nil, ctx.Err()
	})
}

func (d *deployment) launch(program string, args ...string) (*process, error) {
	return launch(d.dir, program, filepath.Join(d.Bin, program), args...)
}

// once runs the operator's command.
func (d *deployment) once(ctx context.Context, args ...string) error {
	p, err := d.launch("millrace", args...)
	if err != nil {
		return err
	}
	return p.wait(ctx)
}

// start starts a daemon and waits until work flows.
func (d *deployment) start(ctx context.Context, name string) (*process, error) {
	addr, err := child.FreeAddr()
	if err != nil {
		return nil, err
	}
	p, err := d.launch(name, "--http-addr", addr)
	if err != nil {
		return nil, err
	}
	p.http = addr
	d.running = append(d.running, p)
	return p, p.ready(ctx)
}

// close ends everything, in whatever state it is, and removes what was stored.
func (d *deployment) close() error {
	for _, p := range d.running {
		p.Kill()
	}
	if d.conn != nil {
		d.conn.Close()
	}
	for _, p := range d.brokers {
		if p != nil {
			p.Kill()
		}
	}
	return os.RemoveAll(d.dir)
}

// metrics sums up the samples of each metric that a daemon shows, over the
// labels that are asked for.
func (p *process) metrics(label func(string) bool) (map[string]float64, error) {
	resp, err := http.Get("http://" + p.http + "/metrics")
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	sums := map[string]float64{}
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		i := strings.LastIndexByte(lines.Text(), ' ')
		if i < 0 || strings.HasPrefix(lines.Text(), "#") {
			continue
		}
		name, labels, _ := strings.Cut(lines.Text()[:i], "{")
		value, err := strconv.ParseFloat(lines.Text()[i+1:], 64)
		if err != nil {
			return nil, fmt.Errorf("metric %s: %w", name, err)
		}
		if label == nil || label(labels) {
			sums[name] += value
		}
	}
	return sums, lines.Err()
}

// ofEvents tells that a sample is of a stream that holds events.
func ofEvents(labels string) bool {
	return strings.Contains(labels, `stream="EVENTS_`) || strings.Contains(labels, `stream="AUDIT"`)
}

// reduced is how many events the processor has committed.
func reduced(processor *process) (int64, error) {
	m, err := processor.metrics(nil)
	return int64(m["millrace_reduce_events_total"]), err
}

// settle waits until the processor has committed so many events. Where no rule
// waits for a class, nothing but the passing of time commits its last second:
// tick frames let it pass.
func (d *deployment) settle(ctx context.Context, processor *process, events int64) (int64, error) {
	var done int64
	var asked time.Time
	err := until(ctx, "all events are reduced", func() (bool, error) {
		var err error
		if done, err = reduced(processor); done >= events || err != nil {
			return true, err
		}
		if time.Since(asked) < time.Second {
			return false, nil
		}
		asked = time.Now()
		for _, p := range partitions() {
			_, err := d.js.Publish(ctx, p.Ticks(), nil)
			if err != nil && !errors.Is(err, jetstream.ErrNoStreamResponse) { // no leader: asked again
				return false, err
			}
		}
		return false, nil
	})
	return done, err
}

// stored is what the streams of events hold.
type stored struct {
	Messages int64 // frames, final frames and ticks
	Bytes    int64 // with subjects and headers
}

func (d *deployment) stored(ctx context.Context) (stored, error) {
	var sum stored
	for _, p := range partitions() {
		s, err := d.js.Stream(ctx, p.Stream())
		if err != nil {
			return sum, err
		}
		state := s.CachedInfo().State
		sum.Messages += int64(state.Msgs)
		sum.Bytes += int64(state.Bytes)
	}
	return sum, nil
}

// partitions of the default layout.
func partitions() []schemas.Partition {
	return []schemas.Partition{0, 1, 2, 3, schemas.Audit}
}

// archived counts the events in the archive, and the bytes of their objects.
func (d *deployment) archived(ctx context.Context) (events, bytes int64, err error) {
	if err := d.once(ctx, "archive", "flush"); err != nil {
		return 0, 0, err
	}
	store, err := archive.OpenFileStore(filepath.Join(d.dir, "archive"))
	if err != nil {
		return 0, 0, err
	}
	defer store.Close()
	for _, p := range partitions() {
		f := archive.Filter{Stream: p.Stream()}
		for o, err := range archive.List(ctx, store, f) {
			if err != nil {
				return 0, 0, err
			}
			bytes += o.Size
		}
		err := archive.Cat(ctx, store, f, func(r *archive.Record) error {
			text, err := schemas.Unpack(nil, r.Payload, schemas.FrameDecoded)
			for range schemas.Lines(text) {
				events++
			}
			return err
		})
		if err != nil {
			return 0, 0, err
		}
	}
	return events, bytes, nil
}
