package notify_test

import (
	"strings"
	"testing"
	"time"

	"github.com/dermai/millrace/notify"
)

// TestOptions names the option and the mend, and never the value.
func TestOptions(t *testing.T) {
	type Inline struct {
		Timeout time.Duration `yaml:"timeout"`
	}
	type options struct {
		To     []string          `yaml:"to"`
		Host   string            `yaml:"host"`
		Port   int               `yaml:"port"`
		Quiet  *bool             `yaml:"quiet"`
		Header map[string]string `yaml:"headers"`
		Inline `yaml:",inline"`
	}
	for text, want := range map[string]string{
		"{host: a, hosst: xyzzySECRET}": "there is no option hosst; use one of headers, host, port, quiet, timeout, to",
		"{host: a, to: xyzzySECRET}":    "to: use a list, such as [a, b]",
		"host: a\nport: xyzzySECRET\n":  "port: use a number",
		"{host: [xyzzySECRET]}":         "host: use a text",
		"{quiet: xyzzySECRET}":          "quiet: use true or false",
		"{timeout: 10}":                 "timeout: use a duration such as 30s or 5m",
		"{timeout: xyzzySECRET}":        "timeout: use a duration such as 30s or 5m",
		"{headers: xyzzySECRET}":        "headers: use keys and values",
		"xyzzySECRET":                   "options: use keys and values",
	} {
		var o options
		err := notify.NewOptions([]byte(text)).Decode(&o)
		if err == nil || err.Error() != want || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}
