package sinks_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"

	"github.com/dermai/millrace/schemas"
	"github.com/dermai/millrace/sinks"
)

// exposed is what a registry shows to who scrapes it.
func exposed(t *testing.T, reg prometheus.Gatherer) string {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	for _, f := range families {
		if _, err := expfmt.MetricFamilyToText(&b, f); err != nil {
			t.Fatal(err)
		}
	}
	return b.String()
}

func request(method, path string, status any, ms float64) *schemas.Event {
	return &schemas.Event{Kind: schemas.KindLog, Service: "api", Message: "API request", Attributes: map[string]any{
		"method": method, "path": path, "status_code": status, "duration_ms": ms,
	}}
}

func metric(name, kind string, value float64, at int64) *schemas.Event {
	return &schemas.Event{Kind: schemas.KindMetric, Service: "api", Name: name, Type: kind, Value: value, Time: at}
}

// TestPrometheus counts events that hold data of patients wherever they can.
func TestPrometheus(t *testing.T) {
	reg := prometheus.NewRegistry()
	p := sinks.NewPrometheus(sinks.PrometheusConfig{Names: []string{"jobs", "system.cpu", "size"}}, reg)
	tally := p.Tally()
	for _, e := range []*schemas.Event{
		request("GET", "/api/patients/P-4711-jane", 200.0, 12),
		request("GET", "/api/patients/smith?ssn=078-05-1120", 500.0, 2500),
		request("jane", "/report/jane.doe@example.org", 999.0, 1),
		request("POST", "/visits/P-4711-jane/notes", "P-4711-jane", -1),
		{Kind: schemas.KindLog, Service: "api", Message: "Slow database query", Attributes: map[string]any{
			"query": "SELECT 1 FROM p WHERE name = 'jane'", "duration_ms": 1200.0}},
		{Kind: schemas.KindLog, Service: "api", Message: "jane"},
		{Kind: schemas.KindAudit, Service: "api", User: "jane", Resource: "P-4711-jane"},
		metric("jobs", "counter", 3, 1), metric("jobs", "counter", -1, 1), metric("P-4711-jane", "gauge", 1, 1),
		metric("system.cpu", "", 41, 20e9), metric("system.cpu", "gauge", 99, 10e9), metric("size", "histogram", 5, 1),
	} {
		tally.Count(e)
	}
	if strings.Contains(exposed(t, reg), "/api") {
		t.Error("shown before they were committed")
	}
	tally.Commit()
	tally.Count(request("GET", "/dropped", 200.0, 1))
	tally.Drop()
	tally.Count(metric("system.cpu", "gauge", 1, 5e9)) // older than what is shown
	tally.Commit()

	board := p.Board(schemas.Telemetry)
	alert := func(rule, group string, to schemas.State) schemas.Transition {
		return schemas.Transition{Rule: rule, Instance: rule, Group: group, To: to, Labels: map[string]string{"severity": "critical", "user": "jane"}}
	}
	board.Show([]schemas.Transition{alert("HighCPU", "user=jane", schemas.Firing), alert("HighCPU", "user=ann", schemas.Pending)})
	board.Change([]schemas.Transition{alert("HighCPU", "user=ann", schemas.Firing), alert("Gone", "", schemas.Firing), alert("Gone", "", schemas.Inactive)})
	unseen := alert("Tried", "", schemas.Firing)
	unseen.Shadow = true
	shown := alert("Shown", "", schemas.Firing)
	board.Change([]schemas.Transition{unseen, shown})
	shown.Shadow = true // its rule goes into shadow
	board.Change([]schemas.Transition{shown})
	hidden := p.Board(schemas.AuditTrail)
	hidden.Show([]schemas.Transition{alert("Denied", "", schemas.Firing)})
	hidden.Hide()

	got := exposed(t, reg)
	for _, secret := range []string{"jane", "4711", "smith", "078", "ann"} {
		if strings.Contains(got, secret) {
			t.Errorf("%q of a patient is in a label", secret)
		}
	}
	golden := filepath.Join("testdata", "prometheus.golden")
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("exposition (-want +got):\n%s", diff)
	}
	for _, f := range must(reg.Gather())(t) {
		if h := f.GetMetric()[0].GetHistogram(); h != nil && h.Schema == nil {
			t.Errorf("%s is no native histogram too", f.GetName())
		}
	}
}

func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// TestPrometheusBounds: whatever events say, labels have so many values.
func TestPrometheusBounds(t *testing.T) {
	reg := prometheus.NewRegistry()
	p := sinks.NewPrometheus(sinks.PrometheusConfig{}, reg)
	tally, board := p.Tally(), p.Board(schemas.Telemetry)
	word := func(i int) string { return string([]rune{rune('a' + i/100), rune('a' + i/10%10), rune('a' + i%10)}) }
	for i := range 1000 {
		e := request("GET", "/"+word(i), 200.0, 1)
		tally.Count(e)
		tally.Count(&schemas.Event{Kind: schemas.KindLog, Service: word(i), Message: "Slow database query", Attributes: map[string]any{"duration_ms": 1.0}})
		board.Change([]schemas.Transition{{Rule: word(i), Instance: word(i), To: schemas.Firing}})
	}
	tally.Commit()
	for name, want := range map[string]int{"api_requests_total": 201, "db_query_duration_seconds": 101, "millrace_alerts": 501} {
		for _, f := range must(reg.Gather())(t) {
			if f.GetName() == name && len(f.GetMetric()) != want {
				t.Errorf("%s has %d series, want %d, the last for all others", name, len(f.GetMetric()), want)
			}
		}
	}
	own := prometheus.NewRegistry()
	listed := sinks.NewPrometheus(sinks.PrometheusConfig{Endpoints: []string{"/patients/{id}", "/health-check"}}, own)
	to := listed.Tally()
	for _, path := range []string{"/patients/smith", "/health-check?x=1", "/patients/smith/notes", "/nowhere"} {
		to.Count(request("GET", path, 200.0, 1))
	}
	to.Commit()
	for label, want := range map[string]string{"/patients/{id}": "1", "/health-check": "1", "other": "2"} {
		if line := fmt.Sprintf(`api_requests_total{endpoint=%q,method="GET",status="200"} %s`, label, want); !strings.Contains(exposed(t, own), line) {
			t.Errorf("want %s", line)
		}
	}
}
