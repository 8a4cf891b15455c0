package config_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dermai/millrace/internal/app/config"
	"github.com/dermai/millrace/internal/secret"
	"github.com/dermai/millrace/notify"
	"github.com/dermai/millrace/pipeline"
)

var update = flag.Bool("update", false, "write the golden files anew")

// load reads a configuration file with the given text, from a directory of its
// own that is the working directory.
func load(t *testing.T, text string, src config.Sources) (*config.Loaded, error) {
	t.Helper()
	t.Chdir(t.TempDir())
	if text != "" {
		write(t, config.DefaultFile, text)
	}
	return config.Load(src)
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func mustLoad(t *testing.T, text string, src config.Sources) *config.Loaded {
	t.Helper()
	l, err := load(t, text, src)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestDefault(t *testing.T) {
	l := mustLoad(t, "", config.Sources{})
	if diff := cmp.Diff(config.Default(), l.Config, cmp.AllowUnexported(notify.Options{})); diff != "" {
		t.Errorf("nothing set (-default +got):\n%s", diff)
	}
	if l.File != "" || l.Where("nats.url") != "default" {
		t.Errorf("file %q, nats.url from %s", l.File, l.Where("nats.url"))
	}
	d := l.Deployment.Schema()
	if d.Tick != time.Second || d.Lateness != 1 || d.Delay != 5 {
		t.Errorf("deployment %+v", d)
	}
}

// TestPrecedence sets one value in more and more places, weakest first.
func TestPrecedence(t *testing.T) {
	src := config.Sources{}
	steps := []struct {
		name, want, from string
		add              func()
	}{
		{"default", "info", "default", func() {}},
		{"file", "error", "millrace.yaml:1:14", func() { write(t, "millrace.yaml", "log: {level: error}\n") }},
		{"seed", "DEBUG", "LOG_LEVEL", func() { src.Environ = append(src.Environ, "LOG_LEVEL=DEBUG") }},
		{"empty variable", "DEBUG", "LOG_LEVEL", func() { src.Environ = append(src.Environ, "MILLRACE_LOG_LEVEL=") }},
		{"environment", "warning", "MILLRACE_LOG_LEVEL", func() { src.Environ = append(src.Environ, "MILLRACE_LOG_LEVEL=warning") }},
		{"flag", "critical", "flag", func() { src.Flags = map[string]string{"log.level": "critical"} }},
	}
	t.Chdir(t.TempDir())
	for _, step := range steps {
		step.add()
		l, err := config.Load(src)
		if err != nil {
			t.Fatal(err)
		}
		if l.Log.Level != step.want || l.Where("log.level") != step.from {
			t.Errorf("%s: %s from %s, want %s from %s", step.name, l.Log.Level, l.Where("log.level"), step.want, step.from)
		}
	}
}

func TestSeedNames(t *testing.T) {
	l := mustLoad(t, "", config.Sources{Environ: []string{
		"LOG_LEVEL=WARNING", "NATS_URL=nats://ann:pw@broker:4222", "HIPAA_AUDIT_ENABLED=False", "HIPAA_AUDIT_LOG_DIR=./logs/audit",
	}})
	if l.Log.Level != "WARNING" || l.NATS.URL.Reveal() != "nats://ann:pw@broker:4222" || l.Publisher.Audit.Enabled || l.Publisher.Audit.Dir != "./logs/audit" {
		t.Errorf("got %+v, %+v", l.Log, l.Publisher.Audit)
	}
}

func TestFile(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "etc/all.yaml"), `
data: store
rules: [api.yaml, /etc/db.yaml]
nats:
  url_file: token
  credentials: a.creds
deployment: {tick: 250ms, lateness: 500ms}
archive:
  cut_bytes: 8MiB
  cut_age:
publisher:
  follow:
    - app.log
  zone: Europe/Vienna
route:
  receiver: team
  group_wait: 5s
  routes:
    - matchers: ['severity="critical"']
      group_by: [service]
receivers:
  - name: team
    slack: {webhook_url: https://hooks.example.com/T0/B0/secret}
`)
	write(t, filepath.Join(dir, "etc/token"), "nats://broker:4222\n")
	l, err := config.Load(config.Sources{File: filepath.Join(dir, "etc/all.yaml")})
	if err != nil {
		t.Fatal(err)
	}
	at := func(name string) config.Path { return config.Path(filepath.Join(dir, "etc", name)) }
	wait := 5 * time.Second
	want := config.Default()
	want.Data = at("store")
	want.Rules = []config.Path{at("api.yaml"), "/etc/db.yaml"}
	want.NATS.URL = secret.NewURL("nats://broker:4222")
	want.NATS.Credentials = at("a.creds")
	want.Deployment.Tick, want.Deployment.Lateness = 250*time.Millisecond, 500*time.Millisecond
	want.Archive.CutBytes = 8 << 20
	want.Publisher.Follow = []config.Path{at("app.log")}
	want.Publisher.Zone = "Europe/Vienna"
	want.Notify.Route = notify.Route{Receiver: "team", GroupWait: &wait, Routes: []notify.Route{
		{Matchers: []string{`severity="critical"`}, GroupBy: []string{"service"}},
	}}
	got := l.Config
	receivers := got.Notify.Receivers
	got.Notify.Receivers = nil
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("file (-want +got):\n%s", diff)
	}
	var slack struct {
		URL string `yaml:"webhook_url"`
	}
	if len(receivers) != 1 || receivers[0].Name != "team" || receivers[0].Type != "slack" {
		t.Fatalf("receivers %v", receivers)
	}
	if err := receivers[0].Options.Decode(&slack); err != nil || slack.URL != "https://hooks.example.com/T0/B0/secret" {
		t.Errorf("options %+v, %v", slack, err)
	}
}

// TestGrace: objects stay for as long as streams keep what they are compared with.
func TestGrace(t *testing.T) {
	for grace, ok := range map[time.Duration]bool{pipeline.ReplayWindow: true, pipeline.ReplayWindow - time.Second: false} {
		_, err := load(t, fmt.Sprintf("archive: {compact: {grace: %s}}\n", grace), config.Sources{})
		if (err == nil) != ok || err != nil && !strings.Contains(err.Error(), "archive.compact.grace: 71h59m59s: use 72h or more") {
			t.Errorf("a grace of %s: %v", grace, err)
		}
	}
}

// TestFaults compares everything that is said about bad configurations with
// golden files.
func TestFaults(t *testing.T) {
	cases := map[string]struct {
		text string
		src  config.Sources
	}{
		"unknown keys": {text: "nats: {ulr: x}\nlogs: {level: info}\ndata: x\npublisher:\n  audit:\n    directory: x\n"},
		"types":        {text: "partitions: many\ndata: [a, b]\nrules: a.yaml\nnats: localhost\nreceivers: {a: b}\narchive: {cut_bytes: 3 apples, cut_age: 5}\npublisher: {audit: {enabled: 'yes'}}\n"},
		"values":       {text: "partitions: 0\nreplicas: 2\nlog: {level: loud, format: xml}\nhttp: {addr: '8480'}\ndeployment: {tick: 1ms, delay: -5s}\narchive: {cut_bytes: 1B, cut_age: 1ms}\npublisher: {zone: Mars/Olympus}\ndata: ''\n"},
		"retention":    {text: "archive:\n  compact: {enabled: false}\n  retention: {audit: 5y300d, grace: 1m}\n"},
		"locks":        {text: "archive:\n  s3: {endpoint: 'http://127.0.0.1:1', bucket: b, lock: compliance}\n"},
		"cold":         {text: "archive:\n  s3: {endpoint: 'http://127.0.0.1:1', bucket: b, cold_class: GLACIER, cold_after: 90d}\n"},
		"cold never":   {text: "archive:\n  s3: {endpoint: 'http://127.0.0.1:1', bucket: b, cold_class: STANDARD_IA, cold_after: forever}\n"},
		"a lock ends":  {text: "archive:\n  s3: {endpoint: 'http://127.0.0.1:1', bucket: b, lock: governance}\n  retention: {audit: forever}\n"},
		"periods":      {text: "archive: {retention: {telemetry: 3 months, audit: 30d6y}}\n"},
		"ticks":        {text: "deployment: {tick: 250ms, lateness: 300ms, delay: 5100ms}\n"},
		"syntax":       {text: "nats:\n  url: 'unclosed\n"},
		"twice":        {text: "data: a\ndata: b\n"},
		"documents":    {text: "data: a\n---\ndata: b\n"},
		"not keys":     {text: "just words\n"},
		"aliases":      {text: "data: &a x\narchive:\n  dir: *a\nlog:\n  <<: {level: info}\n"},
		"environment": {src: config.Sources{Environ: []string{
			"MILLRACE_PARTITIONS=x", "MILLRACE_DEPLOYMENT_TICK=1", "NATS_URL=a", "NATS_URL_FILE=b", "MILLRACE_NATS_URL_FILE=missing",
		}}},
		"flags":       {src: config.Sources{Flags: map[string]string{"nats.ulr": "x", "replicas": "three", "archive.dir": "ok"}}},
		"receivers":   {text: "route: {receiver: nobody}\nreceivers:\n  - name: a\n    slack: {webhook_url: https://hooks.example.com/secret}\n    console: {}\n"},
		"no route":    {text: "receivers:\n  - name: a b\n    console: {}\n"},
		"not found":   {src: config.Sources{File: "none.yaml"}},
		"redacted":    {text: "nats: {url: 'nats://[redacted]@a'}\n"},
		"secret file": {text: "nats: {url_file: none}\n"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			golden, err := filepath.Abs(filepath.Join("testdata", "faults", strings.ReplaceAll(name, " ", "-")+".golden"))
			if err != nil {
				t.Fatal(err)
			}
			_, err = load(t, c.text, c.src)
			if err == nil {
				t.Fatal("taken")
			}
			if strings.Contains(err.Error(), "hooks.example.com") {
				t.Errorf("shows a secret: %v", err)
			}
			compare(t, golden, []byte(err.Error()+"\n"))
		})
	}
}

func compare(t *testing.T, golden string, got []byte) {
	t.Helper()
	if *update {
		write(t, golden, string(got))
		return
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", filepath.Base(golden), diff)
	}
}

// TestShow shows a configuration, and reads what is shown.
func TestShow(t *testing.T) {
	golden, err := filepath.Abs("testdata/show.golden")
	if err != nil {
		t.Fatal(err)
	}
	text := `
data: "odd: name # here"
rules: [api.yaml]
archive: {cut_bytes: 1536KiB}
route:
  receiver: team
  group_interval: 5m
  routes:
    - matchers: ['severity="critical"']
      group_by: []
receivers:
  - name: team
    outbox: {}
`
	l := mustLoad(t, text, config.Sources{Environ: []string{"MILLRACE_NATS_LISTEN=127.0.0.1:4333"}, Flags: map[string]string{"replicas": "3"}})
	shown, err := l.YAML()
	if err != nil {
		t.Fatal(err)
	}
	compare(t, golden, shown)

	again := mustLoad(t, string(shown), config.Sources{})
	// Options are never shown, so that what is read again has others.
	again.Notify.Receivers[0].Options = l.Notify.Receivers[0].Options
	if diff := cmp.Diff(l.Config, again.Config, cmp.AllowUnexported(notify.Options{})); diff != "" {
		t.Errorf("what is shown is read as another configuration (-shown +read):\n%s", diff)
	}
}

func TestShowHidesSecrets(t *testing.T) {
	text := "nats: {url: 'nats://ann:hunter2@broker'}\nroute: {receiver: a}\nreceivers:\n  - name: a\n    slack: {webhook_url: https://hooks.example.com/hunter2}\n"
	l := mustLoad(t, text, config.Sources{})
	shown, err := l.YAML()
	if err != nil {
		t.Fatal(err)
	}
	settings, err := l.Show()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range settings {
		shown = append(shown, s.Value...)
	}
	if bytes.Contains(shown, []byte("hunter2")) {
		t.Errorf("shows a secret:\n%s", shown)
	}
	if !bytes.Contains(shown, []byte("[redacted]@broker")) {
		t.Errorf("does not show the broker:\n%s", shown)
	}
}

func TestWarnings(t *testing.T) {
	l := mustLoad(t, "", config.Sources{
		Environ: []string{"MILLRACE_NAST_URL=x", "MILLRACE_SERVICE_HOST=1.2.3.4", "MILLRACE_PORT_8480_TCP=x", "MILLRACE_SINCE=1h", "MILLRACE_NATS_URL_FILE=", "OTHER=x"},
		Known:   func(name string) bool { return name == "MILLRACE_SINCE" },
	})
	want := []string{"environment: MILLRACE_NAST_URL sets nothing; did you mean MILLRACE_NATS_URL?"}
	if diff := cmp.Diff(want, l.Warnings); diff != "" {
		t.Errorf("warnings (-want +got):\n%s", diff)
	}
}

func TestSize(t *testing.T) {
	for text, want := range map[string]config.Size{"0": 0, "1536": 1536, "1B": 1, "64MiB": 64 << 20, "10MB": 10e6, "2 GiB": 2 << 30, "1TiB": 1 << 40} {
		var s, again config.Size
		if err := s.UnmarshalText([]byte(text)); err != nil || s != want {
			t.Errorf("%q: %d, %v; want %d", text, s, err, want)
		}
		if err := again.UnmarshalText([]byte(s.String())); err != nil || again != s {
			t.Errorf("%q: written as %q, read as %d, %v", text, s, again, err)
		}
	}
	for _, text := range []string{"", "MiB", "-1", "1.5GiB", "1mb", "9999999TiB", "1 mebibyte"} {
		var s config.Size
		if err := s.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q: taken as %d", text, s)
		}
	}
}

// TestRetention: an audit trail of less than six years is taken when it was
// confirmed, and periods are of the calendar.
func TestRetention(t *testing.T) {
	l := mustLoad(t, "archive: {retention: {telemetry: forever, audit: 1y, confirm_short_audit: true}}", config.Sources{})
	r := l.Archive.Retention
	now := time.Date(2028, 2, 29, 12, 0, 0, 0, time.UTC)
	if got := r.Telemetry.Before(now); !got.IsZero() {
		t.Errorf("forever is before %s", got)
	}
	if got, want := r.Audit.Before(now), time.Date(2027, 3, 1, 12, 0, 0, 0, time.UTC); !got.Equal(want) {
		t.Errorf("a year before %s is %s; want %s", now, got, want)
	}
	for text, fine := range map[string]bool{"6y": true, "6y30d": true, "2196d": true, "2195d": false, "5y400d": true, "5y300d": false, "90d": false, "forever": true} {
		_, err := load(t, "archive: {retention: {audit: "+text+"}}", config.Sources{})
		if got := err == nil; got != fine {
			t.Errorf("audit kept for %s: %v", text, err)
		}
	}
}
