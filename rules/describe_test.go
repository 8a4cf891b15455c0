package rules_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dermai/millrace/rules"
	"github.com/dermai/millrace/schemas"
)

func number(v float64) *float64 { return &v }

// TestDescribe: labels and annotations of a transition, with event text in them
// that would like to be more than text.
func TestDescribe(t *testing.T) {
	r := one(t, "alert: A", "on: log", "by: [service, attributes.job]", "count:", "window: 5m", `fire: "> 1"`,
		"labels: {severity: critical, team: db}",
		"annotations:",
		`  summary: "{{ $labels.service }}/{{$labels.job}}: {{ $value | number }} of {{ $n }} ({{ $labels.alertname }}, {{ $labels.severity }})"`,
		`  runbook: "https://example.com/{braces}"`)
	tests := []struct {
		service, job string
		value        *float64
		summary      string
	}{
		{"api", "nightly", number(2.00049), "api/nightly: 2 of 1234567 (A, critical)"},
		{"{{ $value }}", "{{", number(1), "{{ $value }}/{{: 1 of 1234567 (A, critical)"},
		{"<b>&amp;", "a=b,c", nil, "<b>&amp;/a=b,c: no data of 1234567 (A, critical)"},
		{"", "x\ny\x1b", number(1), "/x y : 1 of 1234567 (A, critical)"},
	}
	for _, tt := range tests {
		tr := schemas.Transition{Group: schemas.GroupOf(r.Labels, []string{tt.service, tt.job}), Value: tt.value, N: 1234567}
		r.Describe(&tr)
		job := tt.job
		if job == "x\ny\x1b" {
			job = "x y "
		}
		labels := map[string]string{"alertname": "A", "severity": "critical", "team": "db", "service": tt.service, "job": job}
		if diff := cmp.Diff(labels, tr.Labels); diff != "" {
			t.Errorf("labels (-want +got):\n%s", diff)
		}
		annotations := map[string]string{"summary": tt.summary, "runbook": "https://example.com/{braces}"}
		if diff := cmp.Diff(annotations, tr.Annotations); diff != "" {
			t.Errorf("annotations (-want +got):\n%s", diff)
		}
	}

	other := schemas.Transition{Group: rules.Overflow, N: 1}
	r.Describe(&other)
	want := map[string]string{"alertname": "A", "severity": "critical", "team": "db", "service": rules.Overflow, "job": rules.Overflow}
	if diff := cmp.Diff(want, other.Labels); diff != "" {
		t.Errorf("labels of what the cap did not admit (-want +got):\n%s", diff)
	}
	other.Labels["team"] = "changed"
	again := schemas.Transition{}
	r.Describe(&again)
	if again.Labels["team"] != "db" {
		t.Error("transitions share their labels with the rule")
	}
}

// TestSummary: the sentence for rules whose author wrote none.
func TestSummary(t *testing.T) {
	tests := []struct {
		aggregate, fire string
		value           *float64
		want            string
	}{
		{"avg: attributes.cpu", `fire: "> 80"`, number(93), "A: avg of cpu is 93 over 11m (fires above 80)"},
		{"ratio: attributes.status_code >= 500", `fire: ">= 5%"`, number(0.08234), "A: ratio is 8.23% over 11m (fires from 5%)"},
		{"p99.9: attributes.duration_ms", `fire: "< 0.5"`, number(0.25), "A: p99.9 of duration_ms is 0.25 over 11m (fires below 0.5)"},
		{"count:", `fire: "== 0"`, number(0), "A: count is 0 over 11m (fires at 0)"},
		{"sum: value * 2", `fire: "!= 0"`, nil, "A: sum is no data over 11m (fires at anything but 0)"},
		{"last: attributes.n > 1", "for: 1m", number(1), "A: attributes.n > 1 within 11m"},
		{"max: value", `fire: "<= -1"`, number(-2.5), "A: max of value is -2.5 over 11m (fires up to -1)"},
	}
	for _, tt := range tests {
		r := one(t, "alert: A", "on: metric", "window: 11m", tt.aggregate, tt.fire)
		tr := schemas.Transition{Value: tt.value, N: 3}
		r.Describe(&tr)
		if tr.Annotations["summary"] != tt.want {
			t.Errorf("summary %q, want %q", tr.Annotations["summary"], tt.want)
		}
		if tr.Labels["severity"] != rules.DefaultSeverity {
			t.Errorf("severity %q, want %q", tr.Labels["severity"], rules.DefaultSeverity)
		}
	}
	r := one(t, "alert: A", "on: log", "expect: every 1d1h")
	tr := schemas.Transition{}
	r.Describe(&tr)
	if want := "A: nothing seen for 1d1h"; tr.Annotations["summary"] != want {
		t.Errorf("summary %q, want %q", tr.Annotations["summary"], want)
	}
}

// TestFormats: how numbers look behind a |.
func TestFormats(t *testing.T) {
	tests := []struct {
		format string
		value  float64
		want   string
	}{
		{"", 0.30000000000000004, "0.30000000000000004"}, {"", 1e21, "1e+21"}, {"", 123456789, "123456789"},
		{"| number", 0.30000000000000004, "0.3"}, {"| number", -0.0001, "0"}, {"| number", 1e300, "1e+300"},
		{"| percent", 0.05, "5%"}, {"| percent", 1, "100%"}, {"| percent", 0.123456, "12.35%"}, {"| percent", 1e308, "1e+308 times"},
		{"| duration", 12, "12ms"}, {"| duration", 2412, "2.412s"}, {"| duration", 90_000, "1m30s"}, {"| duration", 93_600_000, "1d2h"},
		{"| duration", 1e13, "10000000000000ms"}, {"| duration", -61_000, "-1m1s"},
		{"| humanize", 999, "999"}, {"| humanize", 999.7, "1k"}, {"| humanize", 1234, "1.23k"}, {"| humanize", -4.5e6, "-4.5M"}, {"| humanize", 1e21, "1000000P"}, {"| humanize", 0.00012345, "0.000123"},
	}
	for _, tt := range tests {
		r := one(t, "alert: A", "on: log", "count:", "window: 5m", `fire: "> 1"`, `annotations: {summary: "{{ $value `+tt.format+` }}"}`)
		tr := schemas.Transition{Value: number(tt.value)}
		r.Describe(&tr)
		if got := tr.Annotations["summary"]; got != tt.want {
			t.Errorf("%v %s: %s, want %s", tt.value, tt.format, got, tt.want)
		}
	}
}
