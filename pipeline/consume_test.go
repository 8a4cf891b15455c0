package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dermai/millrace/pipeline"
	"github.com/dermai/millrace/pipeline/pipelinetest"
	"github.com/dermai/millrace/schemas"
	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
)

// deploy gives a broker with two partitions, and a connection to it.
func deploy(t *testing.T) (*pipelinetest.Server, *pipeline.Conn) {
	t.Helper()
	s := pipelinetest.Start(t)
	c := s.Connect(t)
	partition(t, s, c, 2)
	return s, c
}

// partition applies a layout with so many partitions.
func partition(t *testing.T, s *pipelinetest.Server, c *pipeline.Conn, partitions int) {
	t.Helper()
	if _, err := pipeline.Apply(t.Context(), c, pipeline.Layout{Partitions: partitions, Sync: s.Sync}, false); err != nil {
		t.Fatal(err)
	}
}

// publish stores log events of a service with these messages.
func publish(t *testing.T, c *pipeline.Conn, service string, messages ...string) {
	t.Helper()
	var events []schemas.Event
	for _, m := range messages {
		events = append(events, schemas.Event{Kind: schemas.KindLog, Service: service, Level: "INFO", Message: m})
	}
	publishEvents(t, c, events...)
}

func publishEvents(t *testing.T, c *pipeline.Conn, events ...schemas.Event) {
	t.Helper()
	p, err := pipeline.NewPublisher(c, pipeline.PublisherConfig{Partitions: 2})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(p.Publish(t.Context(), events...), p.Close(t.Context())); err != nil {
		t.Fatal(err)
	}
}

// numbered gives n messages.
func numbered(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprint(i)
	}
	return out
}

// seen collects what handlers got.
type seen struct {
	mu   sync.Mutex
	list []pipeline.Delivery
}

func (s *seen) add(d ...pipeline.Delivery) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = append(s.list, d...)
}

func (s *seen) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.list)
}

func (s *seen) messages() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for _, d := range s.list {
		out = append(out, d.Event.Message)
	}
	return out
}

func (s *seen) handle(_ context.Context, d pipeline.Delivery) error {
	s.add(d)
	return nil
}

// consuming runs a consumer until the function that it returns is called, or
// the test ends.
func consuming(t *testing.T, sub pipeline.Subscription, h pipeline.Handler) (stop func()) {
	t.Helper()
	return running(t, func(ctx context.Context) error { return pipeline.Consume(ctx, sub, h) })
}

func running(t *testing.T, run func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := run(ctx); err != nil {
			t.Error(err)
		}
	}()
	stop = func() {
		cancel()
		<-ended
	}
	t.Cleanup(stop)
	return stop
}

// all is a subscription to everything that is stored.
func all(c *pipeline.Conn, name string) pipeline.Subscription {
	return pipeline.Subscription{
		Conn: c, Name: name, From: pipeline.Start{All: true},
		Retry: pipeline.Retry{Min: time.Millisecond, Max: 5 * time.Millisecond},
	}
}

func TestConsume(t *testing.T) {
	s, c := deploy(t)
	publish(t, c, "shop", numbered(3000)...)
	if _, err := admin(t, s).Publish(t.Context(), "ingest.log.legacy", []byte(`{"level":"INFO","message":"bare"}`)); err != nil {
		t.Fatal(err)
	}
	var got seen
	stop := consuming(t, all(c, "copy"), got.handle)
	pipelinetest.Within(t, "get all events", func() bool { return got.len() == 3001 })
	s.Settled(t, "copy")
	stop()

	positions := map[pipeline.Position]bool{}
	var order []string
	for _, d := range got.list {
		positions[d.Position] = true
		if d.Attempt != 1 || d.Arrival == 0 || d.Event.Time == 0 {
			t.Fatalf("%+v: want the first attempt and times", d)
		}
		if d.Event.Service == "shop" {
			order = append(order, d.Event.Message)
		} else if d.Event.ID != d.Position.String() {
			t.Errorf("an event without an id has %q, want its position %s", d.Event.ID, d.Position)
		}
	}
	if len(positions) != 3001 {
		t.Errorf("%d positions of 3001 events", len(positions))
	}
	if diff := cmp.Diff(numbered(3000), order); diff != "" {
		t.Errorf("the order of the lane (-want +got):\n%s", diff)
	}

	// The name goes on where it was.
	var more seen
	stop = consuming(t, all(c, "copy"), more.handle)
	publish(t, c, "shop", "new")
	pipelinetest.Within(t, "get the new event", func() bool { return more.len() > 0 })
	s.Settled(t, "copy")
	stop()
	if diff := cmp.Diff([]string{"new"}, more.messages()); diff != "" {
		t.Errorf("after a restart (-want +got):\n%s", diff)
	}
}

func TestConsumePicks(t *testing.T) {
	s, c := deploy(t)
	no := false
	publishEvents(t, c,
		schemas.Event{Kind: schemas.KindLog, Service: "shop", Level: "INFO", Message: "a"},
		schemas.Event{Kind: schemas.KindLog, Service: "shop", Level: "ERROR", Message: "b"},
		schemas.Event{Kind: schemas.KindLog, Service: "the shop.eu", Level: "ERROR", Message: "c"},
		schemas.Event{Kind: schemas.KindMetric, Service: "shop", Name: "m", Value: 1},
		schemas.Event{Kind: schemas.KindAudit, Service: "shop", User: "u", Action: "x", Resource: "r", Success: &no},
	)
	text := func(e schemas.Event) string { return e.Message + e.Name + e.Action }
	for name, c := range map[string]struct {
		change func(*pipeline.Subscription)
		want   string
	}{
		"all":         {func(*pipeline.Subscription) {}, "a b c m x"},
		"logs":        {func(s *pipeline.Subscription) { s.Kinds = []schemas.Kind{schemas.KindLog} }, "a b c"},
		"metrics":     {func(s *pipeline.Subscription) { s.Kinds = []schemas.Kind{schemas.KindMetric, schemas.KindAudit} }, "m x"},
		"audit":       {func(s *pipeline.Subscription) { s.Kinds = []schemas.Kind{schemas.KindAudit} }, "x"},
		"service":     {func(s *pipeline.Subscription) { s.Services = []string{"the shop.eu"} }, "c"},
		"services":    {func(s *pipeline.Subscription) { s.Services = []string{"shop", "none"} }, "a b m x"},
		"where":       {func(s *pipeline.Subscription) { s.Where = func(e *schemas.Event) bool { return e.Level == "ERROR" } }, "b c"},
		"since later": {func(s *pipeline.Subscription) { s.From = pipeline.Start{Since: time.Now().Add(time.Hour)} }, ""},
		"from now":    {func(s *pipeline.Subscription) { s.From = pipeline.Start{} }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			name := strings.ReplaceAll(name, " ", "-")
			sub := all(s.Connect(t), name)
			c.change(&sub)
			var got seen
			stop := consuming(t, sub, got.handle)
			want := strings.Fields(c.want)
			pipelinetest.Within(t, "get what is wanted", func() bool { return got.len() >= len(want) })
			s.Settled(t, name)
			stop()
			var texts []string
			for _, d := range got.list {
				texts = append(texts, text(d.Event))
			}
			slices.Sort(texts)
			if diff := cmp.Diff(want, texts); diff != "" && len(want)+len(texts) > 0 {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// refused is an error that no later attempt mends.
type refused struct{}

func (refused) Error() string   { return "not this one" }
func (refused) Permanent() bool { return true }

func TestConsumeFailures(t *testing.T) {
	s, c := deploy(t)
	publish(t, c, "shop", "good", "flaky", "hopeless", "forbidden", "panics", "asks", "last")
	if _, err := admin(t, s).PublishMsg(t.Context(), &nats.Msg{Subject: "ingest.log.legacy", Data: []byte("{\"level\":\"INFO\"}\nno event\n")}); err != nil {
		t.Fatal(err)
	}
	var got seen
	sub := all(c, "picky")
	sub.MaxAttempts = 7
	sub.Where = func(e *schemas.Event) bool {
		if e.Message == "asks" {
			panic("no")
		}
		return true
	}
	stop := consuming(t, sub, func(_ context.Context, d pipeline.Delivery) error {
		got.add(d)
		switch m := d.Event.Message; {
		case m == "flaky" && d.Attempt < 4, m == "hopeless":
			return errors.New("not now")
		case m == "forbidden":
			return fmt.Errorf("handle: %w", refused{})
		case m == "panics":
			panic("event text")
		}
		return nil
	})
	s.Settled(t, "picky")
	stop()

	attempts := map[string]int{}
	var last int
	for i, d := range got.list {
		attempts[d.Event.Message]++
		if d.Event.Message == "last" {
			last = i
		}
	}
	want := map[string]int{"good": 1, "flaky": 4, "hopeless": 7, "forbidden": 1, "panics": 5, "last": 1, "": 1}
	if diff := cmp.Diff(want, attempts); diff != "" {
		t.Errorf("attempts (-want +got):\n%s", diff)
	}
	if last > 7 {
		t.Errorf("the last event came as number %d: it waited for those that failed", last)
	}
	items, err := pipeline.NewQuarantine(c).List(t.Context(), 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	said := map[string]string{}
	for _, q := range items {
		if q.Stage != "consume" || q.Consumer != "picky" || !strings.HasPrefix(q.ID, "picky/"+q.Stream) || q.Subject == "" || q.Arrival == 0 {
			t.Errorf("item %+v", q)
		}
		detail, _, _ := strings.Cut(q.Detail, " at ") // where it panicked
		said[strings.TrimSuffix(q.Reason+": "+detail, ": ")] = string(q.Data)
	}
	for reason, text := range map[string]string{
		"refused by the handler: handle: not this one":                  "forbidden",
		"not handled in 7 attempts: not now":                            "hopeless",
		"not handled in 5 attempts: the handler panicked with a string": "panics",
		"not handled in 5 attempts: where panicked with a string":       "asks",
		"not valid JSON at byte 1":                                      "no event",
	} {
		if !strings.Contains(said[reason], text) {
			t.Errorf("%q is not in the quarantine as %q: %q", text, reason, slices.Collect(maps.Keys(said)))
		}
	}
	if len(said) != 5 {
		t.Errorf("quarantined: %q", said)
	}
}

// TestConsumeTogether shares a name between two processes, ends one in the
// middle, and adds a partition meanwhile: every event is handled.
func TestConsumeTogether(t *testing.T) {
	s, c := deploy(t)
	publish(t, c, "shop", numbered(500)...)
	var got seen
	stop := consuming(t, all(s.Connect(t), "shared"), got.handle)
	consuming(t, all(s.Connect(t), "shared"), got.handle)
	pipelinetest.Within(t, "get some events", func() bool { return got.len() > 100 })
	stop()
	partition(t, s, c, 3)
	if _, err := admin(t, s).Publish(t.Context(), "events.2.log.shop.lane", []byte(`{"level":"INFO","message":"new partition"}`)); err != nil {
		t.Fatal(err)
	}
	pipelinetest.Within(t, "get all events, those of the new partition too", func() bool {
		have := map[string]bool{}
		for _, m := range got.messages() {
			have[m] = true
		}
		return len(have) == 501
	})
}

// TestConsumeSlowly holds an event for longer than AckWait: the broker hears that
// it is worked on, and gives it to nobody else.
func TestConsumeSlowly(t *testing.T) {
	s, c := deploy(t)
	nc, err := nats.Connect(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	signs, err := nc.SubscribeSync("$JS.ACK.>")
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	publish(t, c, "shop", "slow")
	var got seen
	sub := all(c, "slow")
	sub.AckWait = time.Second
	stop := consuming(t, sub, func(ctx context.Context, d pipeline.Delivery) error {
		for n := 0; n < 5; { // one comes every third of AckWait
			m, err := signs.NextMsgWithContext(ctx)
			if err != nil {
				return err
			}
			if string(m.Data) == "+WPI" {
				n++
			}
		}
		return got.handle(ctx, d)
	})
	s.Settled(t, "slow")
	stop()
	if got.len() != 1 {
		t.Errorf("given %d times, want once", got.len())
	}
}

// TestConsumeBatches isolates the event that is at fault.
func TestConsumeBatches(t *testing.T) {
	s, c := deploy(t)
	publish(t, c, "shop", numbered(100)...)
	var got seen
	most := 0
	sub := all(c, "sink")
	sub.Batch = 30
	running(t, func(ctx context.Context) error {
		return pipeline.ConsumeBatches(ctx, sub, func(_ context.Context, batch []pipeline.Delivery) error {
			most = max(most, len(batch))
			if slices.ContainsFunc(batch, func(d pipeline.Delivery) bool { return d.Event.Message == "42" }) {
				return refused{}
			}
			got.add(batch...)
			return nil
		})
	})
	s.Settled(t, "sink")
	if got.len() != 99 || most < 2 || most > 30 {
		t.Errorf("%d events were taken, want 99, in batches of up to %d, want 2 to 30", got.len(), most)
	}
	if items := quarantined(t, c); len(items) != 1 || !strings.Contains(string(items[0].Data), `"42"`) {
		t.Errorf("quarantined %+v, want the one event", items)
	}
}

func TestConsumeAlerts(t *testing.T) {
	s, c := deploy(t)
	data, err := schemas.Encode(schemas.Decision{Class: schemas.Telemetry, Tick: 1, Transitions: []schemas.Transition{
		{Alert: "Slow{}", From: schemas.Inactive, To: schemas.Pending},
		{Alert: "Slow{}", From: schemas.Pending, To: schemas.Firing},
	}})
	if err != nil {
		t.Fatal(err)
	}
	m := &nats.Msg{Subject: "alerts.telemetry", Data: data, Header: nats.Header{schemas.HeaderType: {schemas.TypeDecision}}}
	if _, err := admin(t, s).PublishMsg(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	for quiet, want := range map[bool][]string{
		false: {"Slow{} pending firing 1"},
		true:  {"Slow{} inactive pending 0", "Slow{} pending firing 1"},
	} {
		sub := all(c, fmt.Sprint("alerts-", quiet))
		sub.Quiet = quiet
		var got []string
		ctx, stop := context.WithCancel(t.Context())
		err := pipeline.ConsumeAlerts(ctx, sub, func(_ context.Context, d pipeline.AlertDelivery) error {
			tr := d.Transition
			if got = append(got, fmt.Sprint(tr.Alert, " ", tr.From, " ", tr.To, " ", d.Position.Index)); len(got) == len(want) {
				stop()
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("quiet %v (-want +got):\n%s", quiet, diff)
		}
	}
}
