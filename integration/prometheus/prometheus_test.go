package prometheus_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/dermai/millrace/internal/testenv"
	"github.com/dermai/millrace/schemas"
)

// expected are the sums of a panel's series after two rounds of load. A rate is
// over a minute, and Prometheus extrapolates it, so it is known to a factor.
var expected = map[string][]struct{ least, most float64 }{
	"Processes up":             {{3, 3}},
	"Alerts firing":            {{4, 4}},
	"Decided behind":           {{0, 30}},
	"Archive behind":           {{0, 30}},
	"Fullest stream":           {{1e-7, .01}},
	"In quarantine":            {{2, 2}},
	"Events stored":            {{1, 30}},
	"Events through the rules": {{1, 30}},
	"Refused and quarantined":  {{.005, .2}, {.005, .2}},
	"Requests by status":       {{1, 30}},
	"Error ratio":              {{.15, .15}},
	"Latency":                  {{.2425, .2425}, {.175, .175}}, // all in the bucket from 100 to 250 ms
	"Reduced behind":           {{0, 600}},
	"Alerts by state":          {{4, 4}, {0, 0}}, // none in shadow: no series
	"Changes":                  {{0, 1}},
	"Firing now":               {{4, 4}},
	"Attempts":                 {{.005, 1}},
	"From tick to receiver":    {{.01, 10}},
	"Length of an attempt":     {{1e-4, 1}},
	"Not archived yet":         {{0, 1000}},
	"Stored":                   {{1, 1e6}},
	"Objects":                  {{2, 1000}},
	"Streams":                  {{1e-7, .1}},
	"Appends":                  {{.05, 100}},
	"Time of an append":        {{1e-4, 5}, {1e-4, 5}},
}

func TestPrometheus(t *testing.T) {
	d := deploy(t)
	testenv.Eventually(t, "three daemons are scraped", d.equals(`sum(up)`, 3))
	d.load(t, "clinic")
	testenv.Eventually(t, "the first round is counted", d.equals(`sum(api_requests_total)`, requests))
	testenv.Eventually(t, "the first alerts fire and are told", d.equals(`sum(millrace_notification_attempts_total{outcome="delivered"})`, 2))
	testenv.Eventually(t, "the first quarantined event", d.equals(`sum(millrace_quarantined_total)`, 1))
	d.load(t, "billing")
	testenv.Eventually(t, "the second round is counted", d.equals(`sum(api_requests_total)`, 2*requests))
	testenv.Eventually(t, "the second alerts fire and are told", d.equals(`sum(millrace_notification_attempts_total{outcome="delivered"})`, 4))

	t.Run("the ratio that the rule saw", func(t *testing.T) {
		ratio, err := d.query(`sum(api_requests_total{status=~"5.."}) / sum(api_requests_total)`)
		if err != nil || len(ratio) != 1 {
			t.Fatalf("%v: %v", ratio, err)
		}
		var saw []float64
		for line := range strings.Lines(d.run(t, "alerts", "show", "HighErrorRate", "-o", "json")) {
			var change schemas.Transition
			if err := json.Unmarshal([]byte(line), &change); err == nil && change.To == schemas.Firing && change.Value != nil {
				saw = append(saw, *change.Value)
			}
		}
		if !slices.Equal(saw, []float64{ratio[0], ratio[0]}) {
			t.Errorf("Prometheus has %v, the rule saw %v", ratio[0], saw)
		}
	})
	t.Run("check metrics", func(t *testing.T) { d.checkMetrics(t) })
	t.Run("rules", func(t *testing.T) { d.checkRules(t) })
	t.Run("dashboard", func(t *testing.T) { d.checkDashboard(t) })
}

// checkMetrics runs promtool over what each daemon shows, looks for data of
// patients in it, and looks each metric up in docs/metrics.md.
func (d *deployment) checkMetrics(t *testing.T) {
	documented := documentation(t)
	for name, p := range d.daemons {
		text, err := testenv.Get("http://" + p.HTTP + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(testenv.Need(t, "promtool"), "check", "metrics")
		cmd.Stdin = bytes.NewReader(text)
		if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("%s: promtool check metrics: %v\n%s", name, err, out)
		}
		for _, part := range []string{patient, "P-4711", "jane"} {
			if bytes.Contains(text, []byte(part)) {
				t.Errorf("%s: %q of a patient is in the metrics", name, part)
			}
		}
		for line := range strings.Lines(string(text)) {
			f := strings.Fields(line)
			if len(f) == 4 && f[1] == "TYPE" && !strings.HasPrefix(f[2], "go_") && !strings.HasPrefix(f[2], "process_") &&
				documented[f[2]] != f[3] {
				t.Errorf("%s: %s is a %s, docs/metrics.md says %q", name, f[2], f[3], documented[f[2]])
			}
		}
	}
}

// checkRules asks how the shipped alerts fare: all are evaluated, and those that
// fire are those that the load must set off.
func (d *deployment) checkRules(t *testing.T) {
	b, err := testenv.Get("http://" + d.prometheus + "/api/v1/rules")
	if err != nil {
		t.Fatal(err)
	}
	var answer struct {
		Data struct {
			Groups []struct {
				Rules []struct{ Name, Health, State, LastError string }
			}
		}
	}
	if err := json.Unmarshal(b, &answer); err != nil || len(answer.Data.Groups) == 0 {
		t.Fatalf("%v: %s", err, b)
	}
	for _, r := range answer.Data.Groups[0].Rules {
		want := "inactive"
		if r.Name == "MillraceQuarantineGrows" {
			want = "firing"
		}
		if r.Health != "ok" || r.State != want {
			t.Errorf("%s is %s, want %s; health %s %s", r.Name, r.State, want, r.Health, r.LastError)
		}
	}
}

type dashboard struct {
	Panels []struct {
		Type, Title, Description string
		Targets                  []struct{ Expr string }
	}
}

func (d *deployment) checkDashboard(t *testing.T) {
	var board dashboard
	if err := json.Unmarshal([]byte(read(t, "deploy/grafana/dashboards/millrace.json")), &board); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, "every panel shows what is known", func() error {
		var errs []error
		tried := map[string]bool{}
		for _, p := range board.Panels {
			if p.Type == "row" {
				continue
			}
			want := expected[p.Title]
			tried[p.Title] = true
			if len(want) != len(p.Targets) || len(want) == 0 || p.Description == "" {
				errs = append(errs, fmt.Errorf("%s: %d queries, %d values are known; description %q", p.Title, len(p.Targets), len(want), p.Description))
				continue
			}
			for i, target := range p.Targets {
				got, err := d.query(strings.ReplaceAll(target.Expr, "$__rate_interval", "1m"))
				sum := 0.0
				for _, v := range got {
					sum += v
				}
				if err != nil || len(got) == 0 && want[i].most > 0 || math.IsNaN(sum) || sum < want[i].least-1e-9 || sum > want[i].most+1e-9 {
					errs = append(errs, fmt.Errorf("%s: %s: %v, want %v in all: %w", p.Title, target.Expr, got, want[i], err))
				}
			}
		}
		if len(tried) != len(expected) {
			errs = append(errs, fmt.Errorf("%d panels, %d are known", len(tried), len(expected)))
		}
		return errors.Join(errs...)
	})
}
