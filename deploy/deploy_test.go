package deploy_test

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/dermai/millrace/internal/testenv"
)

// TestShipped builds our programs once for all that starts them.
func TestShipped(t *testing.T) {
	bin := programs(t)
	t.Run("systemd", func(t *testing.T) { systemd(t, bin) })
	t.Run("compose", func(t *testing.T) { compose(t, bin) })
	t.Run("dockerfile", func(t *testing.T) { dockerfile(t, bin) })
}

// programs builds ours into a directory.
func programs(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	build := exec.Command("go", "build", "-o", dir+"/", "./cmd/...")
	build.Dir = ".."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return dir
}

// accepts tells whether a program takes its command line, settings and variables:
// it checks its configuration with them.
func accepts(t *testing.T, bin string, args, env []string) {
	t.Helper()
	dir := t.TempDir()
	url := filepath.Join(dir, "url")
	if err := os.WriteFile(url, []byte("nats://millrace:x@nats:4222"), 0o600); err != nil {
		t.Fatal(err)
	}
	base := filepath.Base(args[0])
	line := []string{}
	for _, a := range args[1:] {
		switch a {
		case "up", "apply": // instead of the command, which would go to work
			continue
		case "/etc/millrace/millrace.yaml":
			a = "compose/millrace.yaml"
		}
		line = append(line, a)
	}
	cmd := exec.Command(filepath.Join(bin, base), append(line, "config", "check")...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	for _, e := range env {
		name, _, _ := strings.Cut(e, "=")
		cmd.Env = append(cmd.Env, name+"="+url)
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %v\n%s", args, err, out)
	}
	// A variable that no setting reads would be passed over in silence.
	show := exec.Command(filepath.Join(bin, base), append(line, "config", "show")...)
	show.Env = cmd.Env
	out, err := show.CombinedOutput()
	if err != nil {
		t.Errorf("%v: %v\n%s", args, err, out)
	}
	for _, e := range env {
		if name, _, _ := strings.Cut(e, "="); !strings.Contains(string(out), "# "+name) {
			t.Errorf("%v: %s sets nothing:\n%s", args, name, out)
		}
	}
}

// systemd verifies the units, with our programs where they expect them, and
// says how exposed systemd finds them.
func systemd(t *testing.T, bin string) {
	t.Helper()
	analyze := testenv.Need(t, "systemd-analyze")
	units, err := filepath.Glob("systemd/*.service")
	if err != nil || len(units) != 4 {
		t.Fatalf("%v: %v", units, err)
	}
	for _, unit := range units {
		text := strings.ReplaceAll(read(t, unit), "/usr/local/bin/", bin+"/")
		copied := filepath.Join(bin, filepath.Base(unit))
		if err := os.WriteFile(copied, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command(analyze, "verify", "--man=no", copied).CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("%s: %v\n%s", unit, err, out)
		}
		out, err := exec.Command(analyze, "security", "--offline=true", "--threshold=15", copied).CombinedOutput()
		if err != nil {
			t.Errorf("%s is more exposed than 1.5 of 10: %v", unit, err)
		}
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		t.Log(lines[len(lines)-1])
		start := regexp.MustCompile(`(?m)^ExecStart=(.*)$`).FindStringSubmatch(text)
		var env []string
		for _, m := range regexp.MustCompile(`(?m)^Environment=(.*)$`).FindAllStringSubmatch(text, -1) {
			env = append(env, m[1])
		}
		accepts(t, bin, strings.Fields(start[1]), env)
	}
}

// composeFile is what is looked at of compose.yaml.
type composeFile struct {
	Services map[string]struct {
		Image       string            `yaml:"image"`
		Command     []string          `yaml:"command"`
		Environment map[string]string `yaml:"environment"`
		Ports       []string          `yaml:"ports"`
		Volumes     []string          `yaml:"volumes"`
		Secrets     []string          `yaml:"secrets"`
	} `yaml:"services"`
	Secrets map[string]struct{ File string } `yaml:"secrets"`
	Volumes map[string]any                   `yaml:"volumes"`
}

// compose looks at compose.yaml without running it: there is no container
// engine here.
func compose(t *testing.T, bin string) {
	t.Helper()
	var f composeFile
	if err := yaml.Unmarshal([]byte(read(t, "compose/compose.yaml")), &f); err != nil {
		t.Fatal(err)
	}
	scraped := read(t, "compose/prometheus.yml")
	pinned := regexp.MustCompile(`:v?\d+\.\d+\.\d+(-\w+)?$`)
	if len(f.Services) != 7 {
		t.Errorf("%d services", len(f.Services))
	}
	for name, s := range f.Services {
		if !pinned.MatchString(s.Image) && s.Image != "millrace:dev" {
			t.Errorf("%s: image %q has no version", name, s.Image)
		}
		for _, v := range s.Volumes {
			from, _, _ := strings.Cut(v, ":")
			_, named := f.Volumes[from]
			if _, err := os.Stat(filepath.Join("compose", from)); !named && err != nil {
				t.Errorf("%s: volume %s: %v", name, v, err)
			}
		}
		for _, p := range s.Ports {
			if !strings.HasPrefix(p, "127.0.0.1:") {
				t.Errorf("%s: port %s is open to the network", name, p)
			}
		}
		if s.Image != "millrace:dev" {
			continue
		}
		var env []string
		for k, v := range s.Environment {
			env = append(env, k+"="+v)
			secret, ok := strings.CutPrefix(v, "/run/secrets/")
			if _, known := f.Secrets[secret]; !ok || !known || !slices.Contains(s.Secrets, secret) {
				t.Errorf("%s: %s=%s is no secret of the file", name, k, v)
			}
		}
		accepts(t, bin, s.Command, env)
		if i := slices.Index(s.Command, "--http-addr"); i >= 0 {
			_, port, err := net.SplitHostPort(s.Command[i+1])
			if err != nil || !strings.Contains(scraped, `"`+name+":"+port+`"`) || !strings.Contains(read(t, "prometheus/prometheus.yml"), `"127.0.0.1:`+port+`"`) {
				t.Errorf("%s serves on %s, and Prometheus looks elsewhere", name, s.Command[i+1])
			}
		} else if name != "apply" {
			t.Errorf("%s serves nothing that can be scraped", name)
		}
	}
	compared := strings.NewReplacer("publisher:8480", "127.0.0.1:8480", "processor:8481", "127.0.0.1:8481", "archiver:8482", "127.0.0.1:8482").Replace(scraped)
	if got, want := uncommented(compared), uncommented(read(t, "prometheus/prometheus.yml")); got != want {
		t.Errorf("compose/prometheus.yml differs from prometheus/prometheus.yml in more than names:\n%s\n%s", got, want)
	}
}

func uncommented(s string) string {
	return regexp.MustCompile(`(?m)^#.*\n`).ReplaceAllString(s, "")
}

// dockerfile looks at the Dockerfile without building it.
func dockerfile(t *testing.T, bin string) {
	t.Helper()
	text := read(t, "Dockerfile")
	version := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(read(t, "../go.mod"))
	for _, want := range []string{
		"FROM golang:" + version[1] + "-", "CGO_ENABLED=0 go build -trimpath", "FROM gcr.io/distroless/static-debian12:nonroot", "USER 65532:65532",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("it lacks %q", want)
		}
	}
	for _, m := range regexp.MustCompile(`(?m)^COPY ([^-\n].*) \S+$`).FindAllStringSubmatch(text, -1) {
		for from := range strings.FieldsSeq(m[1]) {
			if _, err := os.Stat(filepath.Join("..", from)); err != nil {
				t.Errorf("COPY %s: %v", from, err)
			}
		}
	}
	for _, port := range []string{"8480", "8481", "8482"} {
		if !regexp.MustCompile(`(?m)^EXPOSE .*` + port).MatchString(text) {
			t.Errorf("port %s is not exposed", port)
		}
	}
	// What ENV sets must be a setting.
	for _, m := range regexp.MustCompile(`(?m)^ENV (\w+)=`).FindAllStringSubmatch(text, -1) {
		accepts(t, bin, []string{"processor", "--config", "/etc/millrace/millrace.yaml"}, []string{m[1]})
	}
}

// TestGrafana: the provisioning files are YAML and lead to the dashboard; its
// queries are run by integration/prometheus.
func TestGrafana(t *testing.T) {
	for _, name := range []string{"datasources/prometheus.yaml", "dashboards/millrace.yaml"} {
		var v struct {
			APIVersion  int `yaml:"apiVersion"`
			Datasources []struct{ Type, URL string }
			Providers   []struct{ Options struct{ Path string } }
		}
		if err := yaml.Unmarshal([]byte(read(t, "grafana/provisioning/"+name)), &v); err != nil || v.APIVersion != 1 || len(v.Datasources)+len(v.Providers) != 1 {
			t.Errorf("%s: %v %+v", name, err, v)
		}
		for _, p := range v.Providers {
			if !strings.Contains(read(t, "compose/compose.yaml"), "../grafana/dashboards:"+p.Options.Path+":ro") {
				t.Errorf("%s: %s is not where compose.yaml puts the dashboards", name, p.Options.Path)
			}
		}
	}
}
