package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"net/http"
	"time"

	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/pipeline"
	"github.com/dermai/millrace/schemas"
)

// Writers are outside: nothing kills them, and their ledger is complete. One batch
// is in flight at a time.
const (
	writerPace    = 40 * time.Millisecond // between two batches
	writerTimeout = 10 * time.Second      // of a batch
)

// writer sends batches of events and notes what became of each.
type writer struct {
	name   string
	seed   int64
	rng    *rand.Rand
	ledger *ledger[Sent]
	// send stores events. It tells what became of them, and why.
	send func(ctx context.Context, events []schemas.Event) (outcome, detail string)
}

// run sends until ctx ends; the batch in flight then is waited for.
func (w *writer) run(ctx context.Context) {
	pace := time.NewTicker(writerPace)
	defer pace.Stop()
	for n := 1; ; {
		select {
		case <-ctx.Done():
			return
		case <-pace.C:
		}
		entry := Sent{Writer: w.name, First: n, Count: 1 + w.rng.Intn(4), At: time.Now(), Outcome: tried}
		var events []schemas.Event
		for range entry.Count {
			events = append(events, makeEvent(w.seed, w.rng, w.name, n, entry.At.UTC()))
			n++
		}
		w.ledger.add(entry)
		finish, cancel := context.WithTimeout(context.WithoutCancel(ctx), writerTimeout)
		entry.Outcome, entry.Detail = w.send(finish, events)
		cancel()
		entry.At = time.Now()
		w.ledger.add(entry)
	}
}

// throughDoor posts batches to a publisher. Now and then one event is bad and
// refuses the whole.
func throughDoor(url string, rng *rand.Rand) func(context.Context, []schemas.Event) (string, string) {
	client := &http.Client{}
	return func(ctx context.Context, events []schemas.Event) (string, string) {
		var body []byte
		for i := range events {
			var err error
			if body, err = schemas.AppendJSON(body, &events[i]); err != nil {
				return refused, err.Error()
			}
			body = append(body, '\n')
		}
		if rng.Intn(50) == 0 {
			body = append(body, `{"timestamp":"yesterday","message":"bad"}`+"\n"...)
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
		if err != nil {
			return refused, err.Error()
		}
		req.Header.Set("Content-Type", "application/x-ndjson")
		resp, err := client.Do(req)
		if err != nil {
			return unknown, err.Error()
		}
		defer resp.Body.Close()
		said, _ := io.ReadAll(io.LimitReader(resp.Body, 200)) // for the eyes only
		switch {
		case resp.StatusCode == http.StatusAccepted:
			return stored, ""
		case resp.StatusCode < 500 && resp.StatusCode != http.StatusTooManyRequests:
			return refused, resp.Status + " " + string(said)
		}
		return unknown, resp.Status + " " + string(said)
	}
}

// throughLibrary publishes as a service does that imports pipeline.
func throughLibrary(p *pipeline.Publisher) func(context.Context, []schemas.Event) (string, string) {
	return func(ctx context.Context, events []schemas.Event) (string, string) {
		err := p.Publish(ctx, events...)
		var bad *pipeline.EventError
		switch {
		case err == nil:
			return stored, ""
		case errors.As(err, &bad):
			return refused, err.Error()
		}
		return unknown, err.Error()
	}
}

// poison stores now and then what is no event, as a client of the broker may that
// knows nothing of Millrace. It belongs in quarantine.
func (r *run) poison(ctx context.Context, conn *pipeline.Conn) {
	rng, log := r.random("poison"), conn.Log()
	defer log.Close()
	for ctx.Err() == nil {
		m := fence.Message{Subject: fmt.Sprintf("ingest.log.poison%d", rng.Int63()), Data: []byte(`{"timestamp":"yesterday"}`)}
		_, _ = log.Append(ctx, m, 0) // whether it is stored, the stream says
		rest(ctx, between(rng, 100*time.Millisecond, 600*time.Millisecond))
	}
}
