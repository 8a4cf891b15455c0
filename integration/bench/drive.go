package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/dermai/millrace/internal/traffic"
	"github.com/dermai/millrace/pipeline"
	"github.com/dermai/millrace/schemas"
)

// driver makes events up and publishes them.
type driver struct {
	url, door string
	rate      int // events a second; 0: as fast as it can
	length    time.Duration
	seed      uint64

	tell   *teller
	publ   *pipeline.Publisher
	client *http.Client

	events, bytes atomic.Int64 // that are stored
}

const (
	step       = 10 * time.Millisecond // between two lots of a steady rate
	lotEvents  = 2000                  // at most, in one lot
	inFlight   = 64                    // lots whose outcome is waited for
	tellEvery  = 200 * time.Millisecond
	publishers = 8 // connections to the door
)

// lot is some events that are published together, as a service would that has
// them at hand.
type lot struct {
	all    []byte // NDJSON
	groups map[group][][]byte
	events int
}

type group struct {
	kind    schemas.Kind
	service string
}

// drive is the process that publishes, by the library or through the door.
func drive(ctx context.Context, args []string, out io.Writer) error {
	var d driver
	flags := flag.NewFlagSet("drive", flag.ContinueOnError)
	flags.StringVar(&d.url, "nats", "", "the broker")
	flags.StringVar(&d.door, "door", "", "the publisher's address (default: use the library)")
	flags.IntVar(&d.rate, "rate", 0, "events a second (default: as fast as it can)")
	flags.DurationVar(&d.length, "for", time.Second, "how long")
	flags.Uint64Var(&d.seed, "seed", 1, "decides the events")
	if err := flags.Parse(args); err != nil {
		return err
	}
	conn, err := pipeline.Connect(ctx, pipeline.Config{URL: d.url, Name: "bench"})
	if err != nil {
		return err
	}
	defer conn.Close()
	if d.publ, err = pipeline.NewPublisher(conn, pipeline.PublisherConfig{}); err != nil {
		return err
	}
	// What is on its way when it is to end is waited for, so that what it tells at
	// its end is what is stored.
	finish := context.WithoutCancel(ctx)
	d.client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: publishers}}
	if d.tell, err = newTeller(out); err != nil {
		return err
	}
	telling, stop := context.WithCancel(ctx)
	var g errgroup.Group
	g.Go(func() error { return d.report(telling) })
	g.Go(func() error {
		defer stop()
		return d.run(ctx, finish)
	})
	if err := g.Wait(); err != nil {
		return err
	}
	done := d.progress()
	done.Done = true
	if err := d.tell.tell(done); err != nil {
		return err
	}
	return d.publ.Close(finish)
}

func (d *driver) progress() progress {
	return progress{Events: d.events.Load(), Bytes: d.bytes.Load()}
}

func (d *driver) report(ctx context.Context) error {
	every := time.NewTicker(tellEvery)
	defer every.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-every.C:
			if err := d.tell.tell(d.progress()); err != nil {
				return err
			}
		}
	}
}

// run publishes lots until the time is over or ctx ends, and waits for the last.
func (d *driver) run(ctx, finish context.Context) error {
	made := traffic.New(traffic.Config{Seed: d.seed})
	var g errgroup.Group
	g.SetLimit(inFlight)
	if d.door != "" {
		g.SetLimit(publishers)
	}
	begun, pace := time.Now(), time.NewTicker(step)
	defer pace.Stop()
	for sent := 0; ; {
		now := time.Now()
		elapsed := min(now.Sub(begun), d.length)
		n := lotEvents
		if d.rate > 0 {
			// By the clock, so that what was held up is made up for.
			n = min(n, int(int64(d.rate)*int64(elapsed)/int64(time.Second))-sent)
		}
		if elapsed == d.length && (d.rate == 0 || n == 0) || ctx.Err() != nil {
			return g.Wait()
		}
		if n == 0 {
			<-pace.C
			continue
		}
		l := newLot(made, n, now.UnixNano())
		sent += n
		g.Go(func() error { return d.publish(finish, l) })
	}
}

func newLot(made *traffic.Generator, events int, now int64) *lot {
	l := &lot{groups: map[group][][]byte{}, events: events}
	for range events {
		from := len(l.all)
		text, kind, service := made.AppendLine(l.all, now)
		g := group{kind, service}
		l.groups[g] = append(l.groups[g], text[from:len(text):len(text)])
		l.all = append(text, '\n')
	}
	return l
}

// publish returns when the lot is stored.
func (d *driver) publish(ctx context.Context, l *lot) error {
	var err error
	if d.door != "" {
		err = d.post(ctx, l)
	} else {
		var g errgroup.Group
		for of, lines := range l.groups {
			g.Go(func() error { return d.publ.PublishEncoded(ctx, of.kind, of.service, lines, "") })
		}
		err = g.Wait()
	}
	if err == nil {
		d.events.Add(int64(l.events))
		d.bytes.Add(int64(len(l.all)))
	}
	return err
}

func (d *driver) post(ctx context.Context, l *lot) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+d.door+"/v1/events", bytes.NewReader(l.all))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-ndjson")
	resp, err := d.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	said, err := io.ReadAll(io.LimitReader(resp.Body, 1000))
	if err == nil && resp.StatusCode != http.StatusAccepted {
		err = fmt.Errorf("the door answers %s: %s", resp.Status, said)
	}
	return err
}
