package prometheus_test

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/dermai/millrace/internal/broker"
	"github.com/dermai/millrace/internal/testenv"
)

const root = "../.."

// settings of the daemons: one receiver, and an archive that does not wait.
const settings = `
nats: {url: %q}
partitions: 2
archive: {cut_age: 1s}
receivers:
- name: outbox
  outbox: {}
route: {receiver: outbox, group_interval: 1s}
`

// deployment is a broker, the three daemons and a Prometheus that scrapes them.
type deployment struct {
	dir, bin, broker, prometheus string
	daemons                      map[string]*testenv.Process // by name
}

func deploy(t *testing.T) *deployment {
	t.Helper()
	program := testenv.Need(t, "prometheus")
	d := &deployment{dir: t.TempDir(), bin: testenv.Build(t, testenv.Programs), daemons: map[string]*testenv.Process{}}
	server, err := broker.Start(broker.Config{Dir: filepath.Join(d.dir, "nats"), Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Shutdown)
	d.broker = server.URL()
	d.write(t, "millrace.yaml", fmt.Sprintf(settings, d.broker))
	d.run(t, "apply")

	config := read(t, "deploy/prometheus/prometheus.yml")
	config = strings.ReplaceAll(config, "interval: 15s", "interval: 1s")
	for name, port := range map[string]string{"publisher": "8480", "processor": "8481", "archiver": "8482"} {
		if !strings.Contains(config, "127.0.0.1:"+port) {
			t.Fatalf("prometheus.yml does not scrape the %s", name)
		}
		d.daemons[name] = testenv.Daemon(t, filepath.Join(d.bin, name), d.dir)
		config = strings.ReplaceAll(config, "127.0.0.1:"+port, d.daemons[name].HTTP)
	}
	d.write(t, "prometheus.yml", config)
	d.write(t, "millrace.rules.yml", read(t, "deploy/prometheus/millrace.rules.yml"))
	d.prometheus = testenv.FreeAddr(t)
	testenv.Program{Path: program, Dir: d.dir, Args: []string{
		"--config.file=prometheus.yml", "--storage.tsdb.path=tsdb", "--web.listen-address=" + d.prometheus, "--log.level=error",
	}}.Start(t)
	for _, p := range d.daemons {
		p.Ready()
	}
	return d
}

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func (d *deployment) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(d.dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// run runs a command of ours to its end and returns what it printed.
func (d *deployment) run(t *testing.T, args ...string) string {
	t.Helper()
	return testenv.Program{Path: filepath.Join(d.bin, "millrace"), Args: args, Dir: d.dir}.Run(t)
}

// query evaluates an expression now and gives the values of its series.
func (d *deployment) query(expr string) ([]float64, error) {
	b, err := testenv.Get("http://" + d.prometheus + "/api/v1/query?query=" + url.QueryEscape(expr))
	if err != nil {
		return nil, err
	}
	var answer struct {
		Data struct {
			Result []struct {
				Value [2]any `json:"value"`
			} `json:"result"`
		} `json:"data"`
	}
	if err := json.Unmarshal(b, &answer); err != nil {
		return nil, err
	}
	var values []float64
	for _, r := range answer.Data.Result {
		text, _ := r.Value[1].(string)
		v, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return nil, err
		}
		values = append(values, v)
	}
	return values, nil
}

// equals is the condition that an expression has one series of this value.
func (d *deployment) equals(expr string, want float64) func() error {
	return func() error {
		got, err := d.query(expr)
		if err == nil && (len(got) != 1 || math.Abs(got[0]-want) > 1e-9) {
			err = fmt.Errorf("%s is %v, want %v", expr, got, want)
		}
		return err
	}
}

// The load of one round: requests of one service, some of which fail, an audit
// event, a line that is refused and an event that is set aside.
const (
	requests = 200
	failures = 30
	patient  = "P-4711-jane-doe"
)

func (d *deployment) load(t *testing.T, service string) {
	t.Helper()
	var body strings.Builder
	for i := range requests {
		code := 200
		if i < failures {
			code = 503
		}
		fmt.Fprintf(&body, `{"service":%q,"level":"INFO","message":"API request","method":"GET","path":"/patients/%s/notes","status_code":%d,"duration_ms":120}`+"\n", service, patient, code)
	}
	fmt.Fprintf(&body, `{"service":%q,"message":"Slow database query","query":"SELECT '%s'","duration_ms":1200}`+"\n", service, patient)
	fmt.Fprintf(&body, `{"service":%q,"name":"system.cpu","type":"gauge","value":41.5,"instance":%q}`+"\n", service, patient)
	fmt.Fprintf(&body, `{"service":%q,"name":"db.pool","type":"counter","value":2}`+"\n", service)
	fmt.Fprintf(&body, `{"service":%q,"name":"system.disk_percent","type":"histogram","value":2}`+"\n", service)
	fmt.Fprintf(&body, `{"service":%q,"user":%q,"action":"read","resource":%q,"success":true}`+"\n", service, patient, patient)
	d.post(t, body.String(), http.StatusAccepted)
	d.post(t, "no event\n", http.StatusBadRequest)
	nc, err := nats.Connect(d.broker)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if _, err := nc.Request("ingest.log."+service, []byte("no event"), 5*time.Second); err != nil {
		t.Fatal(err)
	}
}

func (d *deployment) post(t *testing.T, body string, want int) {
	t.Helper()
	resp, err := http.Post("http://"+d.daemons["publisher"].HTTP+"/v1/events", "application/x-ndjson", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if answer, _ := io.ReadAll(resp.Body); resp.StatusCode != want {
		t.Fatalf("post: %s, want %d: %s", resp.Status, want, answer)
	}
}
