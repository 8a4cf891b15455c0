package prometheus_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/dermai/millrace/archive"
	"github.com/dermai/millrace/archive/compact"
	"github.com/dermai/millrace/archive/retain"
	"github.com/dermai/millrace/internal/app/ops"
	"github.com/dermai/millrace/internal/broker"
	"github.com/dermai/millrace/internal/proof"
	"github.com/dermai/millrace/notify"
	"github.com/dermai/millrace/pipeline"
	"github.com/dermai/millrace/sinks"
	"github.com/dermai/millrace/sources"
	"github.com/dermai/millrace/stages"
)

var update = flag.Bool("update", false, "write the tables of docs/metrics.md anew")

// recorder notes what is registered.
type recorder struct{ rows []string }

var (
	described = regexp.MustCompile(`^Desc\{fqName: "(.*)", help: "(.*?)"(?:, unit: "[^"]*")?, constLabels: \{(.*)\}, variableLabels: \{(.*)\}(?:, unit: ".*")?\}$`)
	constants = regexp.MustCompile(`(\w+)=`)
	kindOf    = regexp.MustCompile(`(?i)\.(counter|gauge|histogram)`)
)

func (r *recorder) Register(c prometheus.Collector) error {
	ch := make(chan *prometheus.Desc, 10)
	c.Describe(ch)
	close(ch)
	kind := "gauge" // a function
	if m := kindOf.FindStringSubmatch(fmt.Sprintf("%T", c)); m != nil {
		kind = strings.ToLower(m[1])
	}
	for desc := range ch {
		m := described.FindStringSubmatch(desc.String())
		if m == nil {
			return fmt.Errorf("a description of an unknown form: %s", desc)
		}
		labels := strings.Join(strings.FieldsFunc(m[4], func(r rune) bool { return r == ',' }), ", ")
		for _, l := range constants.FindAllStringSubmatch(m[3], -1) {
			labels = strings.TrimPrefix(labels+", "+l[1], ", ")
		}
		r.rows = append(r.rows, fmt.Sprintf("| `%s` | %s | %s | %s |\n", m[1], kind, labels, m[2]))
	}
	return nil
}

func (r *recorder) MustRegister(list ...prometheus.Collector) {
	for _, c := range list {
		if err := r.Register(c); err != nil {
			panic(err)
		}
	}
}

func (r *recorder) Unregister(prometheus.Collector) bool { return false }

// registered are the metrics by where they come from, in the order of the
// document.
func registered(t *testing.T) map[string]string {
	t.Helper()
	server, err := broker.Start(broker.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Shutdown)
	tables := map[string]string{}
	for name, register := range map[string]func(r prometheus.Registerer){
		"build": func(r prometheus.Registerer) { r.MustRegister(ops.ReadBuild().Collector()) },
		"broker": func(r prometheus.Registerer) {
			conn, err := pipeline.Connect(t.Context(), pipeline.Config{InProcess: server, Registerer: r})
			if err != nil {
				t.Fatal(err)
			}
			conn.Close()
		},
		"sources": func(r prometheus.Registerer) { sources.NewMetrics(r) },
		"stages":  func(r prometheus.Registerer) { stages.NewMetrics(r) },
		"events":  func(r prometheus.Registerer) { sinks.NewPrometheus(sinks.PrometheusConfig{}, r) },
		"notify":  func(r prometheus.Registerer) { notify.NewMetrics(r) },
		"archive": func(r prometheus.Registerer) {
			archive.NewMetrics(r)
			compact.NewMetrics(r)
			retain.NewMetrics(r)
			proof.NewDaily(nil, r, nil, nil)
		},
	} {
		var r recorder
		register(&r)
		slices.Sort(r.rows)
		tables[name] = "| metric | type | labels | |\n|---|---|---|---|\n" + strings.Join(r.rows, "")
	}
	return tables
}

var table = regexp.MustCompile(`(<!-- metrics: (\w+) -->\n)((?:\|.*\n)*)`)

// TestDocs: docs/metrics.md lists what is registered.
func TestDocs(t *testing.T) {
	tables := registered(t)
	text := read(t, "docs/metrics.md")
	seen := map[string]bool{}
	want := table.ReplaceAllStringFunc(text, func(s string) string {
		m := table.FindStringSubmatch(s)
		seen[m[2]] = true
		return m[1] + tables[m[2]]
	})
	if len(seen) != len(tables) {
		t.Errorf("docs/metrics.md has the tables %v, there are %d", seen, len(tables))
	}
	if *update {
		if err := os.WriteFile(filepath.Join(root, "docs/metrics.md"), []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, text); diff != "" {
		t.Errorf("docs/metrics.md (-registered +written); go test ./integration/prometheus -run Docs -update\n%s", diff)
	}
}

// documentation gives the type of each metric that the document names.
func documentation(t *testing.T) map[string]string {
	t.Helper()
	types := map[string]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `(\\w+)` \\| (\\w+) ").FindAllStringSubmatch(read(t, "docs/metrics.md"), -1) {
		types[m[1]] = m[2]
	}
	return types
}
