package deploy_test

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/dermai/millrace/internal/testenv"
)

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestPrometheusRules: promtool takes the configuration, every rule has a test in
// which it fires, and every test passes. integration/prometheus runs them.
func TestPrometheusRules(t *testing.T) {
	promtool := testenv.Need(t, "promtool")
	for _, args := range [][]string{
		{"check", "config", "prometheus/prometheus.yml"},
		{"check", "rules", "--lint-fatal", "prometheus/millrace.rules.yml"},
		{"test", "rules", "prometheus/millrace.rules.test.yml"},
	} {
		if out, err := exec.Command(promtool, args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	tests := read(t, "prometheus/millrace.rules.test.yml")
	for _, m := range regexp.MustCompile(`- alert: (\w+)`).FindAllStringSubmatch(read(t, "prometheus/millrace.rules.yml"), -1) {
		if !strings.Contains(tests, "alertname: "+m[1]+"\n        exp_alerts:") {
			t.Errorf("no test lets %s fire", m[1])
		}
	}
}
