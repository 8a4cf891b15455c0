package seedapp_test

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/internal/testenv"
	"github.com/dermai/millrace/pipeline"
	"github.com/dermai/millrace/rules"
)

// deployment is the application on its database, and beside it a broker and the
// three daemons, with the file of docs/python.md.
type deployment struct {
	t         *testing.T
	dir       string // of the application, its logs and millrace.yaml
	bin       string
	env       []string // of our programs
	database  *database
	app       *testenv.Process
	url       string             // of the application
	processor *testenv.Process   // which tells, and feeds the sinks
	daemons   []*testenv.Process // this one and the two others
	log       fence.Log          // what the broker holds
	receivers *receivers
	sinks     *eventSinks
}

func deploy(t *testing.T) *deployment {
	python := testenv.NeedPython(t, "fastapi", "uvicorn", "sqlalchemy", "psycopg2", "psutil", "prometheus_client", "pythonjsonlogger")
	d := &deployment{
		t: t, dir: t.TempDir(), bin: testenv.Build(t, testenv.Programs, testenv.NATSServer),
		database: newDatabase(t), receivers: newReceivers(t), sinks: newEventSinks(t),
	}
	d.millrace()
	d.application(python)
	return d
}

// millrace starts the broker and the daemons, as an operator does.
func (d *deployment) millrace() {
	t := d.t
	document, err := os.ReadFile("../../docs/python.md")
	if err != nil {
		t.Fatal(err)
	}
	yaml := regexp.MustCompile("(?ms)^```yaml\n(.*?)^```").FindSubmatch(document)
	if yaml == nil {
		t.Fatal("docs/python.md has no configuration")
	}
	for name, text := range map[string]string{
		"millrace.yaml": d.receivers.configuration(string(yaml[1])) + d.sinks.configuration() + "rules: [short.yaml]\narchive: {cut_age: 2s}\n",
		"short.yaml":    short(t),
	} {
		if err := os.WriteFile(filepath.Join(d.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	_, broker := testenv.NATS(t, filepath.Join(d.bin, "nats-server"), t.TempDir())
	var conn *pipeline.Conn
	testenv.Eventually(t, "the broker answers", func() (err error) {
		conn, err = pipeline.Connect(t.Context(), pipeline.Config{URL: broker})
		return err
	})
	t.Cleanup(conn.Close)
	log := conn.Log()
	t.Cleanup(log.Close)
	d.log = log

	d.env = []string{"NATS_URL=" + broker, "SLACK_WEBHOOK_URL=" + d.receivers.slack.URL, "HIPAA_AUDIT_ENABLED=True", "HIPAA_AUDIT_LOG_DIR=./logs/audit"}
	d.run("apply")
	for _, name := range []string{"publisher", "archiver", "processor"} {
		d.processor = testenv.Daemon(t, filepath.Join(d.bin, name), d.dir, d.env...)
		d.daemons = append(d.daemons, d.processor)
	}
	for _, p := range d.daemons {
		p.Ready()
	}
	d.sinks.begun(t, d.processor)
}

// application starts the application on the tables that it wants.
func (d *deployment) application(python string) {
	t := d.t
	dir, err := filepath.Abs("application")
	if err != nil {
		t.Fatal(err)
	}
	schema, err := os.ReadFile(filepath.Join(dir, "schema.sql"))
	if err != nil {
		t.Fatal(err)
	}
	d.database.query(t, string(schema))
	addr := testenv.FreeAddr(t)
	_, port, _ := strings.Cut(addr, ":")
	d.url = "http://" + addr
	d.app = testenv.Program{
		Path: python, Args: []string{"-m", "uvicorn", "app.main:app", "--no-access-log", "--port", port}, Dir: d.dir,
		Env: []string{"PYTHONPATH=" + dir, "PYTHONDONTWRITEBYTECODE=1", "DATABASE_URL=" + d.database.url},
	}.Start(t)
	testenv.Eventually(t, "the application answers", func() error { _, err := testenv.Get(d.url + "/metrics"); return err })
}

// short is the built-in rules with windows short enough to wait for: only these
// differ.
func short(t *testing.T) string {
	text := rules.Default().Text
	for _, w := range [][2]string{{"window: 5m\n", "window: 20s\n"}, {"window: 2m\n", "window: 12s\n"}, {"window: 11m\n", "window: 22s\n"}} {
		if !strings.Contains(text, w[0]) {
			t.Fatalf("the built-in rules have no %s", w[0])
		}
		text = strings.ReplaceAll(text, w[0], w[1])
	}
	return text
}

// run runs millrace beside the deployment.
func (d *deployment) run(args ...string) string {
	d.t.Helper()
	return testenv.Program{Path: filepath.Join(d.bin, "millrace"), Args: args, Dir: d.dir, Env: d.env}.Run(d.t)
}

func (d *deployment) get(want int, format string, args ...any) string {
	d.t.Helper()
	return d.do(want, http.MethodGet, fmt.Sprintf(format, args...), "")
}

func (d *deployment) post(want int, path, body string) {
	d.t.Helper()
	d.do(want, http.MethodPost, path, body)
}

// do asks the application for something, and returns its answer.
func (d *deployment) do(want int, method, path, body string) string {
	d.t.Helper()
	req, err := http.NewRequestWithContext(d.t.Context(), method, d.url+path, strings.NewReader(body))
	if err != nil {
		d.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		d.t.Errorf("%s %s: %v", method, path, err)
		return ""
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != want {
		d.t.Errorf("%s %s: %s, want %d: %v %s", method, path, resp.Status, want, err, answer)
	}
	return string(answer)
}
