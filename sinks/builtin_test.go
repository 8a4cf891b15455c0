package sinks_test

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/rs/zerolog"

	"github.com/dermai/millrace/notify"
	"github.com/dermai/millrace/sinks"
	"github.com/dermai/millrace/sinks/sinkstest"
)

// TestSecrets takes the webhook from each place that it may come from.
func TestSecrets(t *testing.T) {
	stub := sinkstest.NewSlack(t)
	file := filepath.Join(t.TempDir(), "webhook")
	if err := os.WriteFile(file, []byte(stub.URL+"\n"), 0o400); err != nil {
		t.Fatal(err)
	}
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, []byte("\n"), 0o400); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, options string
		env           map[string]string
		off           bool
		fault         string
	}{
		{name: "nothing", off: true},
		{name: "null", options: "null", off: true},
		{name: "option", options: "webhook_url: " + stub.URL},
		{name: "file", options: "webhook_url_file: " + file},
		{name: "variable", env: map[string]string{"SLACK_WEBHOOK_URL": stub.URL + "\n"}},
		{name: "variable with a file", env: map[string]string{"SLACK_WEBHOOK_URL_FILE": file}},
		{name: "option before variable", options: "webhook_url: " + stub.URL, env: map[string]string{"SLACK_WEBHOOK_URL": "https://x.invalid"}},
		{name: "two", options: "{webhook_url: " + stub.URL + ", webhook_url_file: " + file + "}", fault: "receivers[0].slack: webhook_url and webhook_url_file: give one of the two"},
		{name: "no file", options: "webhook_url_file: /does/not/exist", fault: "webhook_url_file: open /does/not/exist"},
		{name: "empty file", options: "webhook_url_file: " + empty, fault: "the file is empty"},
		{name: "http", options: "webhook_url: http://hooks.example.com/services/xyzzySECRET", fault: "webhook_url: use https"},
		{name: "no URL", options: "webhook_url: xyzzySECRET", fault: "webhook_url: not a URL"},
		{name: "broken URL", options: `webhook_url: "https://a b/xyzzySECRET\x7f"`, fault: "webhook_url: not a URL"},
		{name: "user", options: "webhook_url: https://me:xyzzySECRET@hooks.example.com/", fault: "a URL with a user"},
		{name: "unknown option", options: "webhook: https://hooks.example.com/xyzzySECRET", fault: "there is no option webhook; use one of"},
		{name: "wrong type", options: "webhook_url: [https://hooks.example.com/xyzzySECRET]", fault: "webhook_url: use a text"},
		{name: "not YAML", options: "webhook_url: {https://hooks.example.com/xyzzySECRET", fault: "receivers[0].slack"},
		{name: "network", options: "{webhook_url: " + stub.URL + ", allow_networks: [ten]}", fault: `allow_networks: "ten"`},
		{name: "time-out", options: "{webhook_url: " + stub.URL + ", timeout: -1s}", fault: "timeout: negative"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := open("slack", c.options, sinks.Env{Getenv: func(name string) string { return c.env[name] }})
			sinkstest.NoSecret(t, "xyzzySECRET", err, s)
			if c.fault != "" {
				if err == nil || !strings.Contains(err.Error(), c.fault) {
					t.Errorf("got %v, want %s", err, c.fault)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if reason, off := s.Off(); off != c.off || off != (reason != "") {
				t.Fatalf("off %v, %q", off, reason)
			}
			if _, err := s.Send(t.Context(), sinkstest.Notification()); (err == nil) == c.off {
				t.Errorf("sent: %v", err)
			}
		})
	}
}

// TestOptionsAreHidden prints a configuration in the ways in which one gets
// printed.
func TestOptionsAreHidden(t *testing.T) {
	var cfg notify.Config
	text := "receivers:\n- name: team\n  slack: {webhook_url: https://hooks.example.com/xyzzySECRET}\nroute: {receiver: team}\n"
	if err := yaml.UnmarshalWithOptions([]byte(text), &cfg, yaml.Strict()); err != nil {
		t.Fatal(err)
	}
	shown, err := yaml.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	logger := zerolog.New(&log)
	logger.Info().Interface("config", cfg).Any("options", cfg.Receivers[0].Options).Send()
	all := append(shown, log.Bytes()...)
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
		all = fmt.Appendf(all, format, cfg)
		all = fmt.Appendf(all, format, &cfg.Receivers[0].Options)
	}
	for _, leak := range []string{"xyzzySECRET", fmt.Sprintf("%x", "xyzzySECRET"), strings.Trim(fmt.Sprint([]byte("xyzzySECRET")), "[]")} {
		if bytes.Contains(all, []byte(leak)) {
			t.Errorf("shown: %s", all)
		}
	}
	if !bytes.Contains(shown, []byte("name: team")) || !bytes.Contains(shown, []byte("slack: ")) {
		t.Errorf("what may be shown is not: %s", shown)
	}
}

func TestOpenUnknownType(t *testing.T) {
	cfg := notify.Config{Receivers: []notify.ReceiverConfig{{Name: "a", Type: "slak"}, {Name: "b", Type: "console"}, {Name: "c", Type: "pager"}}}
	out, err := sinks.Open(cfg, sinks.Builtin(), sinks.Env{})
	all := strings.Join(slices.Sorted(maps.Keys(sinks.Builtin())), ", ")
	want := "receivers[0].slak: no such type; use one of " + all + "\nreceivers[2].pager: no such type; use one of " + all
	if err == nil || err.Error() != want || len(out) != 1 {
		t.Errorf("%d receivers, %v", len(out), err)
	}
}
