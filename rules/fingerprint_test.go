package rules_test

import (
	"strings"
	"testing"
)

// TestFingerprint: what changes a fold or a decision changes the fingerprint,
// and nothing else does.
func TestFingerprint(t *testing.T) {
	const base = `groups:
  - name: g
    rules:
      - alert: A
        on: log
        where: message == "x" and attributes.n > 1
        by: [service, attributes.job]
        p95: attributes.duration_ms
        window: 5m
        fire: "> 5"
        resolve: "< 4"
        min_samples: 20
        for: 30s
        keep_firing_for: 1m
        no_data: hold
        cap: 100
        labels: {severity: critical}
        annotations: {summary: hello}
        evidence: {worst: attributes.duration_ms, fields: [message, attributes.n]}
`
	of := func(text string) string { return parse(t, text)[0].Fingerprint }
	want := of(base)
	// Permanent: with another value every rule of every deployment starts anew.
	if want != "78b8b31ed3914620" {
		t.Errorf("fingerprint %q, want 78b8b31ed3914620", want)
	}
	replace := func(old, with string) string {
		if !strings.Contains(base, old) {
			t.Fatalf("the rule has no %q", old)
		}
		return strings.Replace(base, old, with, 1)
	}
	for _, other := range []string{
		replace("alert: A", "alert: B"),
		replace("on: log", "on: metric"),
		replace("on: log", "on: [log, metric]"),
		replace(`"x" and`, `"y" and`),
		replace(`where: message == "x" and attributes.n > 1`, "where: true"),
		replace("by: [service, attributes.job]", "by: [service]"),
		replace("by: [service, attributes.job]", "by: [attributes.job, service]"),
		replace("attributes.job", "details.job"),
		replace("p95", "p99"),
		replace("p95", "avg"),
		replace("p95: attributes.duration_ms", "p95: attributes.cpu"),
		replace("window: 5m", "window: 6m"),
		replace("> 5", ">= 5"),
		replace("> 5", "> 6"),
		replace("< 4", "< 3"),
		replace("        resolve: \"< 4\"\n", ""),
		replace("min_samples: 20", "min_samples: 21"),
		replace("        min_samples: 20\n", ""),
		replace("for: 30s", "for: 31s"),
		replace("keep_firing_for: 1m", "keep_firing_for: 2m"),
		replace("no_data: hold", "no_data: fire"),
		replace("cap: 100", "cap: 101"),
		replace("worst: attributes.duration_ms", "worst: attributes.n"),
		replace("worst: attributes.duration_ms, ", ""),
		replace("fields: [message, attributes.n]", "fields: [message]"),
	} {
		if of(other) == want {
			t.Errorf("the same fingerprint as the rule that this was made of:\n%s", other)
		}
	}
	for _, same := range []string{
		replace("name: g", "name: h"),
		replace("severity: critical", "severity: warning, team: a"),
		replace("summary: hello", `summary: "{{ $value }}", other: x`),
		replace("        labels: {severity: critical}\n", "  # a comment\n\n"),
		replace(`where: message == "x" and attributes.n > 1`, `where: '(message=="x")&&attributes["n"]>1'`),
		replace("by: [service, attributes.job]", "by:\n          - service\n          - attributes.job"),
		replace("window: 5m", "window: 300s"),
		replace(`"> 5"`, `'>5.0'`),
		replace("[message, attributes.n]", "[attributes.n, message]"),
		replace("        on: log\n", "") + "        on: log\n",
		replace("on: log", "on: [log]"),
		replace("on: log", "on: log\n        mode: shadow"),
	} {
		if of(same) != want {
			t.Errorf("another fingerprint than the rule that this was made of:\n%s", same)
		}
	}
	expect := func(lines ...string) string {
		return of(file(append([]string{"alert: A", "on: log", "by: [service, attributes.job]"}, lines...)...))
	}
	plain := expect("expect: every 1h")
	for _, other := range [][]string{{"expect: every 2h"}, {"expect: every 1h", "keys: [{service: a, job: b}]"}, {"count:", "window: 1h", `fire: "< 1"`}} {
		if expect(other...) == plain {
			t.Errorf("%q has the fingerprint of expect: every 1h", other)
		}
	}
	if expect("expect: every 1h", "keys: [{service: a, job: b}, {service: c, job: d}]") != expect("expect: every 60m", "keys: [{job: d, service: c}, {job: b, service: a}]") {
		t.Error("the order of keys changes the fingerprint")
	}
}
