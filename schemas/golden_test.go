package schemas_test

import (
	"flag"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dermai/millrace/schemas"
)

var update = flag.Bool("update", false, "write golden files that are not there yet")

const wireDir = "testdata/wire"

// wire holds a value of every stored format. The formats are permanent: when one
// gets a new field, a new value with a file of its own comes in, and the old
// stays as it is. So -update writes missing files and never changes one.
var wire = map[string]any{
	"partial.1.json":        partial,
	"partial.3.json":        schemas.Partial{Lost: 3, Losses: []schemas.Loss{{Messages: 1, From: 1764239445000000000, To: 1764239445000000000}, {Messages: 2, From: 1764239445000000000, To: 1764239446000000001}}, To: schemas.Position{Seq: 9}},
	"partial.2.json":        schemas.Partial{Partition: schemas.Audit, Lost: 7, Midway: true, To: schemas.Position{Seq: 1, Index: 2}},
	"decision.1.json":       decision,
	"decision.3.json":       schemas.Decision{Class: schemas.Telemetry, Tick: 7, Done: true, Transitions: []schemas.Transition{{Alert: "A{}", Tick: 7, From: schemas.Inactive, To: schemas.Firing, Suspect: true}}},
	"notification.4.json":   schemas.Notification{ID: "0123456789abcdef0123456789abcdef", Receiver: "team", Alerts: []schemas.Alert{{Alert: "A{}", Suspect: true}}},
	"decision.2.json":       schemas.Decision{Class: schemas.AuditTrail, Tick: 1764239446, UpTo: "a1b2c3d4e5f60718@1764239000|service=api"},
	"checkpoint.1.json":     schemas.CheckpointPart{Tick: 1764239446, Part: 1, Of: 2, Data: []byte{0, 1, 254, 255}},
	"control.genesis.json":  schemas.ControlEntry{Deployment: &schemas.Deployment{Engine: 1, Tick: 1e9, Lateness: 1, Delay: 5}},
	"control.rules.json":    schemas.ControlEntry{Rules: &ruleSource, Open: []schemas.Partition{0, 1, schemas.Audit}},
	"control.snapshot.json": schemas.ControlEntry{Snapshot: &snapshot},
	"control.tick.json":     schemas.ControlEntry{},
	"notification.1.json":   notification,
	"notification.2.json":   schemas.Notification{ID: "0123456789abcdef0123456789abcdef", Receiver: "team", GroupKey: "{}", Class: schemas.Telemetry, Tick: 9, Time: 9e9, Status: "resolved", Reason: "resolved", Alerts: []schemas.Alert{}, Thread: "00000000000000000000000000000001", Covers: 8},
	"delivery.1.json":       schemas.Delivery{Notification: "0123456789abcdef0123456789abcdef", Seq: 4, Attempt: 1, Outcome: schemas.DeliveryStarted},
	"delivery.2.json":       schemas.Delivery{Notification: "0123456789abcdef0123456789abcdef", Seq: 4, Attempt: 2, Outcome: schemas.DeliveryDelivered, Detail: "200 ok", Reference: "1764239447.000100"},
	"delivery.3.json":       schemas.Delivery{Notification: "0123456789abcdef0123456789abcdef", Seq: 9, From: 4, Sent: []int64{1764239446000000000}, Attempt: 1, Outcome: schemas.DeliveryStarted},
	"notification.3.json":   schemas.Notification{ID: "0123456789abcdef0123456789abcdef", Receiver: "team", GroupKey: "digest", Class: schemas.Telemetry, Tick: 9, Time: 9e9, Status: "firing", Reason: "digest", Alerts: []schemas.Alert{}, Digest: &schemas.Digest{Notifications: 6, Firing: 5, Resolved: 1, Rules: []schemas.DigestRule{{Rule: "HighErrorRate", Firing: 5, Resolved: 1}}, OtherRules: 2}, Covers: 8},
	"silence.1.json":        schemas.Silence{ID: "a1b2c3d4e5", Matchers: []string{"service=api", `alertname=~"High.*"`}, Starts: 1764239446000000000, Ends: 1764246646000000000, Author: "desk", Comment: "a new disk", Created: 1764239446000000000},
	"quarantined.1.json":    schemas.Quarantined{ID: "EVENTS_0/12/3", Stage: "reduce", Reason: "decode", Detail: "level: want a string, got a number", Stream: "EVENTS_0", Seq: 12, Index: 3, Data: []byte(`{"level":3}`), Size: 11},
}

// events are the canonical texts of events.
var events = map[string]schemas.Event{
	"event.log.json": {Time: at("10:30:45.123456789"), Kind: schemas.KindLog, Service: "api", ID: "e1", Instance: "web-1", TraceID: "4bf92f3577b34da6a3ce929d0e0e4736", SpanID: "00f067aa0ba902b7",
		Level: "ERROR", Logger: "app.middleware", Message: "API request", Error: &schemas.Error{Type: "ValueError", Message: "boom", Stack: "a\nb"},
		Attributes: map[string]any{"method": "GET", "path": "/", "status_code": 500.0, "duration_ms": 0.25, "tags": []any{"a", nil, true}, "o": map[string]any{}}},
	"event.metric.json": {Time: at("10:30:46"), Kind: schemas.KindMetric, Service: "api", Name: "db.pool", Type: "gauge", Value: 5, Unit: "connections", Attributes: map[string]any{"size": 5.0, "checkedout": 5.0}},
	"event.audit.json":  {Time: at("10:30:47"), Kind: schemas.KindAudit, Service: "api", User: "doc_123", Action: "UPDATE", Resource: "patient_456", Details: map[string]any{"field": "diagnosis"}, Success: yes()},
}

var frameHeaders = map[string]schemas.FrameHeader{
	"frame.1.headers": {Counter: 1, Events: 3},
	"frame.2.headers": {Counter: 42, Events: 3, Acked: 41, Source: "app.log 7-130 %"},
	"frame.3.headers": {Counter: 43, Acked: 42, Final: true},
}

func TestGoldenStages(t *testing.T) {
	for name, want := range wire {
		t.Run(name, func(t *testing.T) {
			text, err := schemas.Encode(want)
			if err != nil {
				t.Fatal(err)
			}
			stored := golden(t, name, text)
			if diff := cmp.Diff(string(stored), string(text)); diff != "" {
				t.Errorf("written in another way (-golden +got):\n%s", diff)
			}
			got := reflect.New(reflect.TypeOf(want))
			if err := schemas.DecodeInto(stored, got.Interface()); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got.Elem().Interface()); diff != "" {
				t.Errorf("read in another way (-want +got):\n%s", diff)
			}
		})
	}
}

func TestGoldenEvents(t *testing.T) {
	for name, want := range events {
		t.Run(name, func(t *testing.T) {
			text, err := schemas.AppendJSON(nil, &want)
			if err != nil {
				t.Fatal(err)
			}
			stored := golden(t, name, text)
			if diff := cmp.Diff(string(stored), string(text)); diff != "" {
				t.Errorf("written in another way (-golden +got):\n%s", diff)
			}
			got, err := schemas.Decode(stored, schemas.Origin{})
			if diff := cmp.Diff(want, got); err != nil || diff != "" {
				t.Errorf("read in another way: %v (-want +got):\n%s", err, diff)
			}
			if err := compileSchema(t, "event").Validate(parse(t, string(stored))); err != nil {
				t.Errorf("the JSON Schema refuses it: %v", err)
			}
		})
	}
}

// TestGoldenFrames: a plain and a packed body are the same events. The bytes of
// a packed one may change with the compressor; what it unpacks to may not.
func TestGoldenFrames(t *testing.T) {
	var body []byte
	var want []schemas.Event
	for _, name := range slices.Sorted(maps.Keys(events)) {
		e := events[name]
		var err error
		if body, err = schemas.AppendJSON(body, &e); err != nil {
			t.Fatal(err)
		}
		body = append(body, '\n')
		want = append(want, e)
	}
	padded := append(slices.Clone(body), strings.Repeat("\n", 1000)...)
	for name, body := range map[string][]byte{"frame.1.ndjson": body, "frame.2.zst": schemas.Pack(nil, padded)} {
		stored := golden(t, name, body)
		if packed(stored) != strings.HasSuffix(name, ".zst") {
			t.Errorf("%s: packed is %t", name, packed(stored))
		}
		text, err := schemas.Unpack(nil, stored, schemas.FrameDecoded)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var got []schemas.Event
		for i, line := range schemas.Lines(text) {
			e, err := schemas.Decode(line, schemas.Origin{})
			if err != nil {
				t.Fatalf("%s: event %d: %v", name, i, err)
			}
			got = append(got, e)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	for name, want := range frameHeaders {
		var text []byte
		m := want.Map()
		for _, k := range slices.Sorted(maps.Keys(m)) {
			text = append(text, k+": "+m[k]+"\n"...)
		}
		stored := golden(t, name, text)
		if diff := cmp.Diff(string(stored), string(text)); diff != "" {
			t.Errorf("%s is written in another way (-golden +got):\n%s", name, diff)
		}
		read := map[string]string{}
		for line := range strings.Lines(string(stored)) {
			k, v, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
			read[k] = v
		}
		if got, err := schemas.ParseFrameHeader(read); err != nil || got != want {
			t.Errorf("%s: %+v, %v; want %+v", name, got, err, want)
		}
	}
}

// TestGoldenAllRead: a golden file that no test reads any more is a format that
// was given up.
func TestGoldenAllRead(t *testing.T) {
	files, err := os.ReadDir(wireDir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		_, stage := wire[f.Name()]
		_, event := events[f.Name()]
		_, header := frameHeaders[f.Name()]
		if !stage && !event && !header && f.Name() != "frame.1.ndjson" && f.Name() != "frame.2.zst" {
			t.Errorf("%s: nobody reads it", f.Name())
		}
	}
	if want := len(wire) + len(events) + len(frameHeaders) + 2; len(files) != want {
		t.Errorf("%d golden files, want %d", len(files), want)
	}
}

// TestLaterVersion: what a later version adds is passed over.
func TestLaterVersion(t *testing.T) {
	var got schemas.Decision
	text := `{"class":"telemetry","tick":5,"done":true,"later":{"a":[1]},"transitions":[{"alert":"A","later":1}]}`
	if err := schemas.DecodeInto([]byte(text), &got); err != nil {
		t.Fatal(err)
	}
	want := schemas.Decision{Class: schemas.Telemetry, Tick: 5, Done: true, Transitions: []schemas.Transition{{Alert: "A"}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("decision (-want +got):\n%s", diff)
	}
}

// golden reads a golden file, which -update writes if it is missing.
func golden(t *testing.T, name string, text []byte) []byte {
	t.Helper()
	file := filepath.Join(wireDir, name)
	b, err := os.ReadFile(file)
	if os.IsNotExist(err) && *update {
		if err := os.MkdirAll(wireDir, 0o755); err != nil {
			t.Fatal(err)
		}
		b, err = text, os.WriteFile(file, text, 0o644)
	}
	if err != nil {
		t.Fatalf("%v (go test -update writes a missing one)", err)
	}
	return b
}

func number(x float64) *float64 { return &x }

var (
	order    = schemas.Order{Time: 1764239445123456789, Partition: 3, Seq: 18446744073709551615, Index: 4999}
	evidence = []schemas.Evidence{
		{Order: order, Rank: 2500.5, ID: "e1", Trace: "t1", Fields: map[string]string{"path": "/x", "method": "GET"}},
		{Order: schemas.Order{Time: 1, Partition: schemas.Audit, Seq: 1}},
	}
	partial = schemas.Partial{
		Partition: 3, Created: 1764230000000000000,
		From: schemas.Position{Seq: 10, Index: 2}, To: schemas.Position{Seq: 12, Index: 7}, ToID: "0123456789abcdef",
		ArrivalFrom: 1764239445000000000, ArrivalTo: 1764239446000000001,
		Rows: []schemas.Row{
			{RowKey: schemas.RowKey{Instance: "a1b2c3d4e5f60718@1764239000", Pane: 1764239446, Visible: 1764239447},
				Fold: schemas.Fold{N: 3, Hits: 2, Min: number(-0.5), Max: number(1e21), Buckets: []schemas.Bucket{{Index: -130944, Count: 1}, {Index: 0, Count: 2}}}},
			{RowKey: schemas.RowKey{Instance: "a1b2c3d4e5f60718@1764239000", Group: "service=api,job=x%2Cy", Pane: 1764239446, Visible: 1764239447},
				Fold: schemas.Fold{N: 1, Sum: &schemas.Fixed{Hi: -1, Lo: 18446744073709551615}, Min: number(0), Last: &schemas.Last{Order: order, Value: 1}, Evidence: evidence}},
		},
		Events: 4, TooLate: map[string]int64{"b@2": 1, "a@1": 2}, Mismatched: map[string]int64{"a@1": 9},
	}
	decision = schemas.Decision{
		Class: schemas.Telemetry, Tick: 1764239446, Done: true,
		Transitions: []schemas.Transition{
			{Alert: "HighErrorRate{service=api}", Rule: "HighErrorRate", Instance: "a1b2c3d4e5f60718@1764239000", Group: "service=api",
				Tick: 1764239446, Time: 1764239446000000000, From: schemas.Pending, To: schemas.Firing, Since: 1764239446, Active: 1764239416, N: 40, Value: number(0.075),
				Labels: map[string]string{"severity": "critical", "service": "api"}, Annotations: map[string]string{"summary": "api: 7.5 % of requests fail"}, Evidence: evidence},
			{Alert: "BackupMissing{job=nightly}", Rule: "BackupMissing", Instance: "b@1", Tick: 1764239446, From: schemas.Cooling, To: schemas.Inactive, Why: "rule gone", Value: number(0)},
		},
		Admitted: []schemas.Admission{{Instance: "a@1", Group: "service=api"}},
		Released: []schemas.Admission{{Instance: "a@1", Group: "service=old"}},
	}
	ruleSource = schemas.RuleSource{Files: []schemas.RuleFile{{Name: "rules.yaml", Text: "groups: []\n"}}, By: "operator"}
	snapshot   = schemas.ControlSnapshot{
		Seq: 9, Arrival: 1764239446000000000, Deployment: schemas.DefaultDeployment,
		Revisions: []schemas.Revision{{Tick: 1764239000, Rules: ruleSource, Born: map[string]int64{"a1b2c3d4e5f60718": 1764239000}}},
		Open:      map[schemas.Partition]int64{0: 1764239000, 10: 1764239005, 2: 1, schemas.Audit: 1764239000},
	}
	notification = schemas.Notification{
		ID: "0123456789abcdef0123456789abcdef", Receiver: "team", GroupKey: "HighErrorRate|service=api", Class: schemas.Telemetry,
		Tick: 1764239446, Time: 1764239446000000000, Status: "firing", Reason: "new",
		Alerts: []schemas.Alert{{Alert: "HighErrorRate{service=api}", Rule: "HighErrorRate", Status: "resolved", Starts: 1764239446000000000, Ends: 1764239546000000000, N: 40, Value: number(0.075),
			Labels: map[string]string{"service": "api"}, Annotations: map[string]string{"summary": "s"}, Evidence: evidence, Why: "no data"}},
		Truncated: 3, Covers: 77,
	}
)
