package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/fence/fencetest"
	"github.com/dermai/millrace/pipeline"
	"github.com/dermai/millrace/pipeline/pipelinetest"
	"github.com/dermai/millrace/schemas"
	"github.com/google/go-cmp/cmp"
)

func newPublisher(t *testing.T, c *pipeline.Conn, config pipeline.PublisherConfig) *pipeline.Publisher {
	t.Helper()
	p, err := pipeline.NewPublisher(c, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		p.Close(ctx)
	})
	return p
}

func closePublisher(t *testing.T, p *pipeline.Publisher) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := p.Close(ctx); err != nil {
		t.Error(err)
	}
}

func logEvent(message string) schemas.Event {
	return schemas.Event{Kind: schemas.KindLog, Level: "INFO", Message: message}
}

// frame is a stored message, read as strictly as a reader must.
type frame struct {
	schemas.Subject
	schemas.FrameHeader
	Events []schemas.Event
	Wire   int
}

// frames reads everything that a partition holds and checks each lane: counters
// are dense, nothing follows the final frame, and headers tell the truth.
func frames(t *testing.T, l fence.Log, partitions ...schemas.Partition) []frame {
	t.Helper()
	var out []frame
	lanes := map[string]uint64{}
	final := map[string]bool{}
	for _, p := range partitions {
		for next := uint64(1); ; {
			entries, err := l.Read(t.Context(), p.Stream(), next, 100)
			if err != nil {
				t.Fatal(err)
			}
			info, err := l.Info(t.Context(), p.Stream())
			if err != nil {
				t.Fatal(err)
			}
			if next > info.Last {
				break
			}
			for _, e := range entries {
				next = e.Seq + 1
				var f frame
				f.Wire = len(e.Data)
				if f.Subject, err = schemas.ParseSubject(e.Subject); err != nil {
					t.Fatal(err)
				}
				if f.FrameHeader, err = schemas.ParseFrameHeader(e.Header); err != nil {
					t.Fatal(err)
				}
				data, err := schemas.Unpack(nil, e.Data, schemas.FrameDecoded)
				if err != nil {
					t.Fatal(err)
				}
				for _, line := range schemas.Lines(data) {
					event, err := schemas.Decode(line, schemas.Origin{Kind: f.Kind, Service: f.Service})
					if err != nil {
						t.Fatal(err)
					}
					f.Events = append(f.Events, event)
				}
				if !f.Tick && !f.Ingest && (f.Counter != lanes[e.Subject]+1 || f.Acked != lanes[e.Subject] || final[e.Subject]) {
					t.Errorf("%s: frame %d acknowledges %d, after frame %d, final %t", e.Subject, f.Counter, f.Acked, lanes[e.Subject], final[e.Subject])
				}
				if f.FrameHeader.Events != len(f.Events) || f.Wire > schemas.FrameWire {
					t.Errorf("%s: frame %d says %d events and has %d, %d bytes", e.Subject, f.Counter, f.FrameHeader.Events, len(f.Events), f.Wire)
				}
				lanes[e.Subject], final[e.Subject] = f.Counter, f.Final
				out = append(out, f)
			}
		}
	}
	return out
}

var telemetry = []schemas.Partition{0, 1}

// messages lists the log messages of frames, per service.
func messages(fs []frame) map[string][]string {
	out := map[string][]string{}
	for _, f := range fs {
		for _, e := range f.Events {
			out[f.Service] = append(out[f.Service], e.Message)
		}
	}
	return out
}

// metric sums a metric over those of its series that have all the label values.
func metric(t *testing.T, s *pipelinetest.Server, name string, values ...string) (sum float64) {
	t.Helper()
	families, err := s.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			labels := map[string]bool{}
			for _, l := range m.GetLabel() {
				labels[l.GetValue()] = true
			}
			if slices.ContainsFunc(values, func(v string) bool { return !labels[v] }) {
				continue
			}
			sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return sum
}

// deployed is a server with the small layout.
func deployed(t *testing.T) (*pipelinetest.Server, *pipeline.Conn) {
	t.Helper()
	s := pipelinetest.Start(t)
	c := s.Connect(t)
	apply(t, c, small, false)
	return s, c
}

func TestPublish(t *testing.T) {
	_, c := deployed(t)
	p := newPublisher(t, c, pipeline.PublisherConfig{Service: "shop", Instance: "a", Partitions: 2})
	secret := map[string]any{"password": "hunter2", "n": 1, "list": []any{map[string]any{"token": "t"}}}
	yes := true
	events := []schemas.Event{
		{Kind: schemas.KindLog, Level: "INFO", Message: "one", Attributes: secret},
		{Kind: schemas.KindMetric, Service: "db", Instance: "b", Name: "system.cpu", Type: "gauge", Value: 1.5, Time: 1e18},
		{Kind: schemas.KindLog, Level: "INFO", Message: "two"},
		{Kind: schemas.KindAudit, User: "u", Action: "read", Resource: "r", Success: &yes},
	}
	before := time.Now().UnixNano()
	if err := p.Publish(t.Context(), events...); err != nil {
		t.Fatal(err)
	}
	// Stored when it returned: another connection reads it all.
	fs := frames(t, newLog(t, c), 0, 1, schemas.Audit)
	var got []schemas.Event
	for _, f := range fs {
		for _, e := range f.Events {
			if e.Kind == schemas.KindMetric && e.Time != 1e18 || e.Kind != schemas.KindMetric && e.Time < before {
				t.Errorf("time of %s is %d", e.Kind, e.Time)
			}
			e.Time = 0
			got = append(got, e)
		}
	}
	byKind := map[schemas.Kind][]schemas.Event{}
	for _, e := range got {
		byKind[e.Kind] = append(byKind[e.Kind], e)
	}
	want := map[schemas.Kind][]schemas.Event{
		schemas.KindLog: {
			{Kind: schemas.KindLog, Service: "shop", Instance: "a", Level: "INFO", Message: "one", Attributes: map[string]any{
				"password": schemas.Redacted, "n": 1.0, "list": []any{map[string]any{"token": schemas.Redacted}}}},
			{Kind: schemas.KindLog, Service: "shop", Instance: "a", Level: "INFO", Message: "two"},
		},
		schemas.KindMetric: {{Kind: schemas.KindMetric, Service: "db", Instance: "b", Name: "system.cpu", Type: "gauge", Value: 1.5}},
		schemas.KindAudit:  {{Kind: schemas.KindAudit, Service: "shop", Instance: "a", User: "u", Action: "read", Resource: "r", Success: &yes}},
	}
	if diff := cmp.Diff(want, byKind); diff != "" {
		t.Errorf("stored (-want +got):\n%s", diff)
	}
	if secret["password"] != "hunter2" {
		t.Error("the caller's map was changed")
	}
	closePublisher(t, p)
	finals := 0
	for _, f := range frames(t, newLog(t, c), 0, 1, schemas.Audit) {
		if f.Final {
			finals++
		}
	}
	if finals != 3 {
		t.Errorf("%d lanes ended with a final frame, want 3", finals)
	}
	if err := p.Publish(t.Context(), logEvent("late")); !errors.Is(err, pipeline.ErrClosed) {
		t.Errorf("publish after close: %v", err)
	}
	if p.Enqueue(logEvent("late")) {
		t.Error("enqueue after close was taken")
	}
}

// One bad event refuses all, with its number and the reason.
func TestPublishRefusesAll(t *testing.T) {
	_, c := deployed(t)
	p := newPublisher(t, c, pipeline.PublisherConfig{Service: "shop", Partitions: 2})
	good := logEvent("good")
	for name, tt := range map[string]struct {
		bad  schemas.Event
		want string
	}{
		"kind":    {schemas.Event{Kind: "trace"}, "kind"},
		"service": {schemas.Event{Kind: schemas.KindLog, Level: "INFO", Service: strings.Repeat("x", 64)}, "service"},
		"utf-8":   {schemas.Event{Kind: schemas.KindLog, Level: "INFO", Message: "\xff"}, "message"},
		"size":    {schemas.Event{Kind: schemas.KindLog, Level: "INFO", Message: strings.Repeat("x", schemas.LineBytes)}, "bytes"},
		"type":    {schemas.Event{Kind: schemas.KindLog, Level: "INFO", Attributes: map[string]any{"f": func() {}}}, "attributes.f"},
		"seconds": {schemas.Event{Kind: schemas.KindLog, Level: "INFO", Time: 1_795_000_000}, "Unix nanoseconds"},
	} {
		err := p.Publish(t.Context(), good, tt.bad, good)
		var event *pipeline.EventError
		if !errors.As(err, &event) || event.Index != 1 || !event.Permanent() || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want the fault of event 1 in %s", name, err, tt.want)
		}
	}
	for name, err := range map[string]error{
		"kind":    p.PublishEncoded(t.Context(), "trace", "s", [][]byte{[]byte("{}")}, ""),
		"service": p.PublishEncoded(t.Context(), "log", "", [][]byte{[]byte("{}")}, ""),
		"newline": p.PublishEncoded(t.Context(), "log", "s", [][]byte{[]byte("{}\n{}")}, ""),
		"empty":   p.PublishEncoded(t.Context(), "log", "s", [][]byte{[]byte("{}"), nil}, ""),
		"source":  p.PublishEncoded(t.Context(), "log", "s", [][]byte{[]byte("{}")}, strings.Repeat("x", schemas.SourceBytes+1)),
	} {
		if err == nil {
			t.Errorf("encoded lines with a bad %s were taken", name)
		}
	}
	if got := frames(t, newLog(t, c), 0, 1, schemas.Audit); len(got) != 0 {
		t.Errorf("%d frames were stored", len(got))
	}
	if err := p.Publish(t.Context()); err != nil {
		t.Errorf("nothing: %v", err)
	}
}

// However connections break around appends, what Publish reports as stored is
// there once, in its order, and nothing is there that was not published.
func TestPublishExactlyOnce(t *testing.T) {
	s, c := deployed(t)
	proxy := pipelinetest.StartProxy(t, s.Address())
	p := newPublisher(t, s.ConnectURL(t, proxy.URL()), pipeline.PublisherConfig{Partitions: 2})
	const writers = 4
	published := make([]int, writers)
	stop := make(chan struct{})
	var chaos, work sync.WaitGroup
	chaos.Go(func() {
		rnd := rand.New(rand.NewPCG(1, 1))
		tick := time.NewTicker(300 * time.Millisecond) // a connection comes back in 200 to 300 ms
		defer tick.Stop()
		for range 12 {
			<-tick.C
			proxy.Arm([]fencetest.Fault{fencetest.LoseAppend, fencetest.LoseAnswer}[rnd.IntN(2)])
		}
		proxy.Arm(fencetest.None)
		close(stop)
	})
	for w := range writers {
		work.Go(func() {
			for ; ; published[w]++ {
				select {
				case <-stop:
					return
				default:
				}
				e := logEvent(fmt.Sprint(published[w]))
				e.Service = fmt.Sprint("s", w)
				if err := p.Publish(t.Context(), e); err != nil {
					t.Errorf("writer %d, event %d: %v", w, published[w], err)
					return
				}
			}
		})
	}
	work.Wait()
	chaos.Wait()
	closePublisher(t, p)
	want := map[string][]string{}
	for w := range writers {
		for i := range published[w] {
			want[fmt.Sprint("s", w)] = append(want[fmt.Sprint("s", w)], fmt.Sprint(i))
		}
	}
	if diff := cmp.Diff(want, messages(frames(t, newLog(t, c), telemetry...))); diff != "" {
		t.Errorf("stored (-published +there):\n%s", diff)
	}
	if cuts := metric(t, s, "millrace_broker_disconnects_total"); cuts < 5 {
		t.Errorf("only %v connections broke", cuts)
	}
}
