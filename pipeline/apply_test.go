package pipeline_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/fence/fencetest"
	"github.com/dermai/millrace/pipeline"
	"github.com/dermai/millrace/pipeline/pipelinetest"
	"github.com/dermai/millrace/rules"
	"github.com/dermai/millrace/schemas"
	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"
)

// small is a layout that tests make quickly.
var small = pipeline.Layout{Partitions: 2, Archived: true, Receivers: []string{"slack"}}

func apply(t *testing.T, c *pipeline.Conn, l pipeline.Layout, dryRun bool) []string {
	t.Helper()
	changes, err := pipeline.Apply(t.Context(), c, l, dryRun)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, c := range changes {
		out = append(out, c.Action+" "+c.Name)
	}
	return out
}

var everything = []string{
	"create EVENTS_0", "create EVENTS_1", "create AUDIT", "create PARTIALS", "create ALERTS", "create CHECKPOINTS", "create CONTROL",
	"create NOTIFY", "create DELIVERIES", "create QUARANTINE", "create REDRIVE",
	"create members", "create silences", "create acks",
	"genesis partials.0", "genesis partials.1", "genesis partials.audit", "genesis alerts.telemetry", "genesis checkpoints.telemetry",
	"genesis alerts.audit", "genesis checkpoints.audit", "genesis notify.slack", "genesis deliveries.slack", "genesis control",
	"open control",
}

func TestApply(t *testing.T) {
	s := pipelinetest.Start(t)
	c := s.Connect(t)
	if diff := cmp.Diff(everything, apply(t, c, small, true)); diff != "" {
		t.Errorf("dry run (-want +got):\n%s", diff)
	}
	l := newLog(t, c)
	if _, err := l.Info(t.Context(), "CONTROL"); !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Fatalf("after a dry run: %v, want no stream", err)
	}
	synced := 0
	layout := small
	layout.Sync = func() error { synced++; return s.Sync() }
	layout.Rules = &schemas.RuleSource{Files: []schemas.RuleFile{rules.Default()}}
	if diff := cmp.Diff(everything, apply(t, c, layout, false)); diff != "" {
		t.Errorf("first apply (-want +got):\n%s", diff)
	}
	if synced != 1 {
		t.Errorf("synced %d times after streams were created, want once", synced)
	}
	for range 2 {
		if got := apply(t, c, layout, false); len(got) != 0 || synced != 1 {
			t.Errorf("apply once more: %q, synced %d times", got, synced)
		}
	}

	entries, err := l.Read(t.Context(), "CONTROL", 1, 10)
	if err != nil {
		t.Fatal(err)
	}
	var got []schemas.ControlEntry
	for _, e := range entries {
		var entry schemas.ControlEntry
		if err := schemas.DecodeInto(e.Data, &entry); err != nil {
			t.Fatal(err)
		}
		got = append(got, entry)
	}
	want := []schemas.ControlEntry{
		{Deployment: &schemas.DefaultDeployment},
		{Open: []schemas.Partition{0, 1, schemas.Audit}, Rules: layout.Rules}, // one entry: in force from the first event on
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("control log (-want +got):\n%s", diff)
	}
	// Every fenced subject can be claimed.
	for _, subject := range []string{"partials.0", "partials.audit", "alerts.telemetry", "notify.slack", "deliveries.slack"} {
		head, err := fence.NewWriter(l, subject, func() string { return "a" }).Load(t.Context())
		if err != nil || head.Header[schemas.HeaderType] != schemas.TypeGenesis {
			t.Errorf("head of %s: %v, %v", subject, head.Header, err)
		}
	}
}

// What grows later is added; what is there stays.
func TestApplyGrows(t *testing.T) {
	s := pipelinetest.Start(t)
	c := s.Connect(t)
	apply(t, c, small, false)
	l := newLog(t, c)
	w := fence.NewWriter(l, "partials.0", func() string { return "a" })
	if _, err := w.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := w.Append(t.Context(), nil, nil); err != nil {
		t.Fatal(err)
	}

	bigger := small
	bigger.Partitions, bigger.Receivers, bigger.EventsBytes = 3, []string{"slack", "mail"}, 2<<30
	bigger.Rules = &schemas.RuleSource{Files: []schemas.RuleFile{rules.Default()}} // too late for them
	want := []string{
		"edit EVENTS_0", "edit EVENTS_1", "create EVENTS_2",
		"genesis partials.2", "genesis notify.mail", "genesis deliveries.mail", "open control",
	}
	if diff := cmp.Diff(want, apply(t, c, bigger, false)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := apply(t, c, bigger, false); len(got) != 0 {
		t.Errorf("apply once more: %q", got)
	}
	head, err := l.Head(t.Context(), schemas.SubjectControl)
	if err != nil {
		t.Fatal(err)
	}
	var entry schemas.ControlEntry
	if err := schemas.DecodeInto(head.Data, &entry); err != nil || entry.Rules != nil || len(entry.Open) != 1 {
		t.Errorf("opened by %s (%v), want one partition and no rules", head.Data, err)
	}
	if _, err := pipeline.Apply(t.Context(), c, small, false); err == nil || !strings.Contains(err.Error(), "never removed") {
		t.Errorf("fewer partitions: %v", err)
	}
	other := bigger
	other.Deployment = schemas.DefaultDeployment
	other.Deployment.Tick = time.Minute
	if _, err := pipeline.Apply(t.Context(), c, other, false); err == nil || !strings.Contains(err.Error(), "it is fixed") {
		t.Errorf("another deployment: %v", err)
	}
	// With and without an archiver.
	bigger.Archived = false
	want = []string{"edit EVENTS_0", "edit EVENTS_1", "edit EVENTS_2"}
	if diff := cmp.Diff(want, apply(t, c, bigger, false)); diff != "" {
		t.Errorf("without an archiver (-want +got):\n%s", diff)
	}
	bigger.Archived = true
	if diff := cmp.Diff(want, apply(t, c, bigger, false)); diff != "" {
		t.Errorf("with an archiver again (-want +got):\n%s", diff)
	}
}

// Several processes may apply at once.
func TestApplyTogether(t *testing.T) {
	s := pipelinetest.Start(t)
	errs := make(chan error)
	for range 4 {
		c := s.Connect(t)
		go func() {
			_, err := pipeline.Apply(t.Context(), c, small, false)
			errs <- err
		}()
	}
	for range 4 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if got := apply(t, s.Connect(t), small, false); len(got) != 0 {
		t.Errorf("apply once more: %q", got)
	}
}

func TestApplyRefusesBrokenPromises(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*jetstream.StreamConfig)
		want   []string
	}{
		{"retention", func(c *jetstream.StreamConfig) { c.Retention = jetstream.WorkQueuePolicy }, []string{"retention is WorkQueue, want Limits", "must not remove"}},
		{"storage", func(c *jetstream.StreamConfig) { c.Storage = jetstream.MemoryStorage }, []string{"storage is Memory, want File", "restart"}},
		{"discard", func(c *jetstream.StreamConfig) { c.Discard = jetstream.DiscardOld }, []string{"discard is DiscardOld, want DiscardNew", "--discard=new"}},
		{"max age", func(c *jetstream.StreamConfig) { c.MaxAge = time.Hour }, []string{"max age is 1h0m0s, want 0s", "--max-age=0"}},
		{"per subject", func(c *jetstream.StreamConfig) { c.MaxMsgsPerSubject = 1 }, []string{"max messages per subject is 1, want -1"}},
		{"rollup", func(c *jetstream.StreamConfig) { c.AllowRollup = true }, []string{"allow rollup is true", "by a header"}},
		{"ttl", func(c *jetstream.StreamConfig) { c.AllowMsgTTL = true }, []string{"allow message TTL is true", "expire"}},
		{"async", func(c *jetstream.StreamConfig) { c.PersistMode = jetstream.AsyncPersistMode }, []string{"persist mode is", "on disk"}},
		{"no ack", func(c *jetstream.StreamConfig) { c.NoAck = true }, []string{"no ack is true"}},
		{"purge", func(c *jetstream.StreamConfig) { c.DenyPurge = true }, []string{"deny purge is true", "delete the stream"}},
		{"two", func(c *jetstream.StreamConfig) { c.NoAck, c.MaxMsgs = true, 5 }, []string{"no ack is true", "max messages is 5"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := pipelinetest.Start(t)
			js := admin(t, s)
			config := jetstream.StreamConfig{Name: "PARTIALS", Subjects: []string{"partials.*"}, Discard: jetstream.DiscardNew, MaxBytes: 4 << 20}
			tt.change(&config)
			if _, err := js.CreateStream(t.Context(), config); err != nil {
				t.Fatal(err)
			}
			_, err := pipeline.Apply(t.Context(), s.Connect(t), small, false)
			if err == nil {
				t.Fatal("the stream was accepted")
			}
			for _, want := range append(tt.want, "stream PARTIALS: ") {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q, want %q in it", err, want)
				}
			}
			if _, err := js.Stream(t.Context(), "EVENTS_0"); !errors.Is(err, jetstream.ErrStreamNotFound) {
				t.Errorf("something was created before the refusal: %v", err)
			}
		})
	}
}

// A stream that is harmlessly different is put right.
func TestApplyMends(t *testing.T) {
	s := pipelinetest.Start(t)
	config := jetstream.StreamConfig{Name: "PARTIALS", Subjects: []string{"partials.0"}, Discard: jetstream.DiscardNew, AllowDirect: true}
	if _, err := admin(t, s).CreateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	c := s.Connect(t)
	changes, err := pipeline.Apply(t.Context(), c, small, false)
	if err != nil {
		t.Fatal(err)
	}
	want := "edit PARTIALS subjects [partials.0] to [partials.*], max bytes -1 to 536870912, deny delete false to true, allow direct true to false"
	found := false
	for _, c := range changes {
		found = found || c.String() == want
	}
	if !found {
		t.Errorf("changes %v, want %q", changes, want)
	}
	if got := apply(t, c, small, false); len(got) != 0 {
		t.Errorf("apply once more: %q", got)
	}
}

// Apply does not paper over a loss.
func TestApplyReportsLosses(t *testing.T) {
	claim := func(t *testing.T, l *pipeline.Log, subject string) {
		t.Helper()
		w := fence.NewWriter(l, subject, func() string { return "a" })
		if _, err := w.Load(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := w.Append(t.Context(), fence.Header{schemas.HeaderType: schemas.TypeClaim}, nil); err != nil {
			t.Fatal(err)
		}
	}
	for name, lose := range map[string]func(t *testing.T, js jetstream.JetStream, l *pipeline.Log) (where string, err error){
		"events": func(t *testing.T, js jetstream.JetStream, _ *pipeline.Log) (string, error) {
			return "EVENTS_1", js.DeleteStream(t.Context(), "EVENTS_1")
		},
		"partials": func(t *testing.T, js jetstream.JetStream, _ *pipeline.Log) (string, error) {
			return "partials.", js.DeleteStream(t.Context(), "PARTIALS")
		},
		"one subject of partials": func(t *testing.T, _ jetstream.JetStream, l *pipeline.Log) (string, error) {
			return "partials.1", l.Trim(t.Context(), "PARTIALS", "partials.1", 100)
		},
		"alerts": func(t *testing.T, _ jetstream.JetStream, l *pipeline.Log) (string, error) {
			return "alerts.audit", l.Trim(t.Context(), "ALERTS", "alerts.audit", 100)
		},
		"notify": func(t *testing.T, js jetstream.JetStream, _ *pipeline.Log) (string, error) {
			return "notify.slack", js.DeleteStream(t.Context(), "NOTIFY")
		},
		"deliveries": func(t *testing.T, js jetstream.JetStream, l *pipeline.Log) (string, error) {
			claim(t, l, "notify.slack")
			return "deliveries.slack", js.DeleteStream(t.Context(), "DELIVERIES")
		},
		"control": func(t *testing.T, js jetstream.JetStream, l *pipeline.Log) (string, error) {
			claim(t, l, "partials.0")
			return "control", js.DeleteStream(t.Context(), "CONTROL")
		},
		"entries of control": func(t *testing.T, _ jetstream.JetStream, l *pipeline.Log) (string, error) {
			return "control", l.Trim(t.Context(), "CONTROL", "", 100)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := pipelinetest.Start(t)
			c := s.Connect(t)
			apply(t, c, small, false)
			where, err := lose(t, admin(t, s), newLog(t, c))
			if err != nil {
				t.Fatal(err)
			}
			changes, err := pipeline.Apply(t.Context(), c, small, false)
			if !fence.IsIncident(err) || !strings.Contains(err.Error(), where) {
				t.Errorf("got %v, want an incident that names %s", err, where)
			}
			if len(changes) > 0 {
				t.Errorf("changed %v", changes)
			}
		})
	}
}

// An apply that ended half-way is completed by the next.
func TestApplyAfterCrash(t *testing.T) {
	s := pipelinetest.Start(t)
	c := s.Connect(t)
	layout := small
	layout.Sync = func() error { return errors.New("power cut") }
	if _, err := pipeline.Apply(t.Context(), c, layout, false); err == nil {
		t.Fatal("the error of Sync was lost")
	}
	l := newLog(t, c)
	if _, err := l.Append(t.Context(), fence.Message{Subject: "partials.0", Header: fence.Header{schemas.HeaderType: schemas.TypeGenesis}}, 0); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"genesis partials.1", "genesis partials.audit", "genesis alerts.telemetry", "genesis checkpoints.telemetry",
		"genesis alerts.audit", "genesis checkpoints.audit",
		"genesis notify.slack", "genesis deliveries.slack", "genesis control", "open control",
	}
	if diff := cmp.Diff(want, apply(t, c, small, false)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestLayoutValidate(t *testing.T) {
	for _, tt := range []struct {
		layout pipeline.Layout
		want   string
	}{
		{pipeline.Layout{Partitions: 2000}, "use 1 to 1024"},
		{pipeline.Layout{Replicas: 6}, "replicas: 6"},
		{pipeline.Layout{Receivers: []string{"slack.>"}}, `receiver "slack.>"`},
		{pipeline.Layout{AlertsBytes: 1}, "bytes of alerts: 1"},
	} {
		if err := tt.layout.Validate(); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: %v, want %q", tt.layout, err, tt.want)
		}
	}
	if err := (pipeline.Layout{}).Validate(); err != nil {
		t.Error(err)
	}
}

// Whatever becomes of the attempts, an entry is appended once.
func TestAppendControl(t *testing.T) {
	entry := schemas.ControlEntry{Open: []schemas.Partition{7}}
	genesis := fence.Message{Subject: "control", Header: fence.Header{schemas.HeaderType: schemas.TypeGenesis}}
	for name, faults := range map[string][]fencetest.Fault{
		"plain":             nil,
		"answer lost":       {fencetest.LoseAnswer},
		"append lost":       {fencetest.LoseAppend, fencetest.LoseAppend},
		"late":              {fencetest.Delay},
		"refused":           {fencetest.Refuse},
		"lost, answer lost": {fencetest.LoseAppend, fencetest.LoseAnswer},
	} {
		for _, crowd := range []bool{false, true} {
			m := &fencetest.Memory{}
			m.Put(genesis)
			left := faults
			m.Fault = func(fence.Message) fencetest.Fault {
				if len(left) == 0 {
					return fencetest.None
				}
				f := left[0]
				left = left[1:]
				return f
			}
			if crowd { // somebody else appends between our attempts
				m.Stale = func(string) int {
					if len(left) < len(faults) && len(left) > 0 || len(left) == 0 && len(faults) > 0 {
						m.Stale = nil
						m.Put(fence.Message{Subject: "control", Data: []byte("{}")})
					}
					return 0
				}
			}
			seq, err := pipeline.AppendControl(t.Context(), m, entry)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			for m.Delayed() > 0 {
				m.Deliver(0)
			}
			entries, err := m.Read(t.Context(), "CONTROL", 1, 100)
			if err != nil {
				t.Fatal(err)
			}
			n := 0
			for _, e := range entries {
				var got schemas.ControlEntry
				if e.Seq > 1 {
					if err := schemas.DecodeInto(e.Data, &got); err != nil {
						t.Fatal(err)
					}
				}
				if len(got.Open) == 1 && got.Open[0] == 7 {
					n++
					if e.Seq != seq {
						t.Errorf("%s: reported as %d, stored as %d", name, seq, e.Seq)
					}
				}
			}
			if n != 1 {
				t.Errorf("%s, crowd %t: stored %d times", name, crowd, n)
			}
		}
	}

	m := &fencetest.Memory{}
	if _, err := pipeline.AppendControl(t.Context(), m, entry); !fence.IsIncident(err) {
		t.Errorf("without a genesis: %v, want an incident", err)
	}
}
