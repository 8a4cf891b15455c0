package deploy_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/rs/zerolog"

	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/internal/testenv"
	"github.com/dermai/millrace/pipeline"
	"github.com/dermai/millrace/schemas"
)

// until polls a condition that has no more to say.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	testenv.Eventually(t, what, func() error {
		if !holds() {
			return errors.New("not yet")
		}
		return nil
	})
}

// connect connects with the rights of a role. What the broker denies it is a
// fault of the test.
func (c *cluster) connect(t *testing.T, role string) *pipeline.Conn {
	t.Helper()
	var said bytes.Buffer
	conn, err := pipeline.Connect(t.Context(), pipeline.Config{
		Logger: zerolog.New(zerolog.SyncWriter(&said)),
		URL:    c.url(role), Name: "test of " + role, Inbox: roles[role],
		CA: c.file("ca.pem"), Certificate: c.file("client.pem"), Key: c.file("client-key.pem"),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		conn.Close()
		if strings.Contains(strings.ToLower(said.String()), "permissions violation") || t.Failed() {
			t.Errorf("%s: %s", role, said.String())
		}
	})
	return conn
}

// fraud is a team's handler: it counts what it was given by position, and takes
// no event whose message is "poison" before the cause is mended.
type fraud struct {
	mu     sync.Mutex
	mended bool
	seen   map[pipeline.Position]int
	texts  map[string]int // positions by message
	alerts map[string]int
}

// refusal is an error that no further attempt mends.
type refusal struct{ error }

func (refusal) Permanent() bool { return true }

func (f *fraud) event(_ context.Context, d pipeline.Delivery) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if d.Event.Message == "poison" && !f.mended {
		return refusal{errors.New("not this one")}
	}
	if f.seen[d.Position]++; f.seen[d.Position] == 1 {
		f.texts[d.Event.Message]++
	}
	return nil
}

func (f *fraud) alert(_ context.Context, d pipeline.AlertDelivery) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.alerts[d.Transition.Rule]++
	return nil
}

func (f *fraud) count(text string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.texts[text]
}

// run consumes as the role until the function that it returns is called.
func (f *fraud) run(t *testing.T, c *cluster) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	subscription := pipeline.Subscription{
		Conn: c.connect(t, "consumer-fraud"), Name: "fraud", From: pipeline.Start{All: true},
		Kinds: []schemas.Kind{schemas.KindLog, schemas.KindMetric},
	}
	alerts := pipeline.Subscription{Conn: subscription.Conn, Name: "fraud-alerts", From: pipeline.Start{All: true}}
	var running sync.WaitGroup
	for what, consume := range map[string]func() error{
		"events": func() error { return pipeline.Consume(ctx, subscription, f.event) },
		"alerts": func() error { return pipeline.ConsumeAlerts(ctx, alerts, f.alert) },
	} {
		running.Go(func() {
			for { // until the brokers are there
				err := consume()
				if err == nil {
					return
				}
				t.Logf("consume %s: %v", what, err)
			}
		})
	}
	return func() { cancel(); running.Wait() }
}

// consume lets a team's consumer work with the rights of its role: what it refuses
// for good is quarantined, and comes back to it when the operator says so.
func (c *cluster) consume(t *testing.T, door string) {
	f := &fraud{seen: map[pipeline.Position]int{}, texts: map[string]int{}, alerts: map[string]int{}}
	stop := f.run(t, c)
	defer stop()
	c.post(t, door, `{"service":"shop","level":"INFO","message":"poison"}`+"\n"+`{"service":"shop","level":"INFO","message":"sold"}`+"\n")
	until(t, "the consumer has events and alerts", func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.texts["sold"] == 1 && f.texts["API request"] == 100 && f.alerts["HighErrorRate"] > 0
	})
	until(t, "what it refused is quarantined", func() bool {
		return strings.Contains(c.run(t, "operator", "quarantine", "ls", "--stage", "consume"), "refused by the handler")
	})
	if f.count("poison") > 0 {
		t.Fatal("the consumer took what it is to refuse")
	}
	f.mu.Lock()
	f.mended = true
	f.mu.Unlock()
	c.run(t, "operator", "quarantine", "redrive", "--stage", "consume")
	until(t, "it comes back", func() bool { return f.count("poison") == 1 })
}

// silence keeps quiet of one service, not of the other.
func (c *cluster) silence(t *testing.T, door string) {
	log := c.connect(t, "operator").Log()
	defer log.Close()
	before, err := log.Info(t.Context(), schemas.StreamNotify)
	if err != nil {
		t.Fatal(err)
	}
	c.run(t, "operator", "silence", "add", "service=hushed", "--for", "1h", "--author", "desk", "--comment", "a move")
	until(t, "a checkpoint of the planner puts the silence in force", func() bool {
		entries, err := log.Read(t.Context(), schemas.StreamNotify, before.Last+1, 1000)
		return err == nil && slices.ContainsFunc(entries, func(e fence.Entry) bool {
			return e.Header[schemas.HeaderType] == schemas.TypeCheckpoint
		})
	})
	c.post(t, door, failures("hushed")+failures("loud"))
	told := func(service string) bool {
		files, err := filepath.Glob(c.file("data/outbox/outbox/*/slack.json"))
		for _, name := range files {
			text, readErr := os.ReadFile(name)
			err = errors.Join(err, readErr)
			if strings.Contains(string(text), service) {
				return true
			}
		}
		if err != nil {
			t.Error(err)
		}
		return false
	}
	until(t, "the other service's alert is told", func() bool { return told("loud") })
	if out := c.run(t, "reader", "alerts", "ls"); !strings.Contains(out, "hushed") {
		t.Errorf("no alert that could be silenced fires: %s", out)
	}
	if told("hushed") {
		t.Error("told in spite of the silence")
	}
}

// redrive gives an event back to the rules and a notification to its sender. Both
// are put into the quarantine as the processor does.
func (c *cluster) redrive(t *testing.T) {
	back := pipeline.NewQuarantine(c.connect(t, "processor"))
	event := []byte(`{"service":"clinic","level":"INFO","message":"redriven"}`)
	message, err := json.Marshal(schemas.Notification{ID: "0123456789abcdef0123456789abcdef", Receiver: "outbox", GroupKey: "g", Class: schemas.Telemetry, Status: "firing", Reason: "new"})
	if err != nil {
		t.Fatal(err)
	}
	for _, item := range []schemas.Quarantined{
		{ID: "event-1", Stage: schemas.StageReduce, Reason: "tried", Subject: "events.0.log.clinic.lane", Data: event},
		{ID: "notification-1", Stage: schemas.StageSend, Reason: "tried", Index: -1, Data: message},
	} {
		if err := back.Put(t.Context(), item); err != nil {
			t.Fatal(err)
		}
	}
	if out := c.run(t, "operator", "quarantine", "redrive", "--reason", "tried"); !strings.Contains(out, "2 items given back, 0 before") {
		t.Errorf("said %s", out)
	}
	if out := c.run(t, "operator", "quarantine", "redrive", "--reason", "tried"); !strings.Contains(out, "0 items given back, 2 before") {
		t.Errorf("said again %s", out)
	}
	until(t, "the sender sends what came back", func() bool {
		_, err := os.Stat(c.file("data/outbox/outbox/0123456789abcdef0123456789abcdef"))
		return err == nil
	})
	until(t, "the event is among the others once", func() bool {
		return strings.Count(c.run(t, "reader", "tail", "--kind", "log", "--since", "1h", "--no-follow"), "redriven") == 1
	})
}

// outage takes the brokers away. What the door takes meanwhile comes out of the
// publisher's spool once.
func (c *cluster) outage(t *testing.T, door string) {
	c.stop()
	const posts, each = 5, 20
	for i := range posts {
		var body strings.Builder
		for j := range each {
			fmt.Fprintf(&body, `{"service":"clinic","level":"INFO","message":"spooled %d/%d"}`+"\n", i, j)
		}
		c.post(t, door, body.String())
	}
	c.begin(t)
	f := &fraud{seen: map[pipeline.Position]int{}, texts: map[string]int{}, alerts: map[string]int{}}
	stop := f.run(t, c)
	defer stop()
	until(t, "what was spooled is stored", func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		n := 0
		for text := range f.texts {
			if strings.HasPrefix(text, "spooled ") {
				n++
			}
		}
		return n == posts*each
	})
	f.mu.Lock()
	defer f.mu.Unlock()
	for text, n := range f.texts {
		if strings.HasPrefix(text, "spooled ") && n != 1 {
			t.Errorf("%q is stored at %d places", text, n)
		}
	}
}
