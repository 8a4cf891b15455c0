package examples_test

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/dermai/millrace/internal/testenv"
	"github.com/dermai/millrace/schemas"
	"github.com/dermai/millrace/sources"
	"github.com/google/go-cmp/cmp"
)

// convert runs the converter and normalizes what it makes.
func convert(t *testing.T, log string) []string {
	t.Helper()
	cmd := exec.Command(testenv.Need(t, "jq"), "-Rcf", "accesslog.jq")
	cmd.Stdin = strings.NewReader(log)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, &stderr)
	}
	var events []string
	for line := range bytes.Lines(out) {
		e, err := sources.Normalize(line, sources.Defaults{Service: "web"})
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		text, err := schemas.AppendJSON(nil, &e)
		if err != nil {
			t.Fatal(err)
		}
		events = append(events, string(text))
	}
	return events
}

func TestAccessLog(t *testing.T) {
	got := convert(t, `10.0.0.7 - - [02/Mar/2026:11:00:03 +0100] "GET /api/v1/appointments?patient=Ada HTTP/1.1" 200 512 "-" "Mozilla/5.0 (X11; Linux)" 0.042
10.0.0.7 - ada [31/Dec/2025:23:59:59 -0330] "POST /login HTTP/2.0" 401 - "https://clinic.example/" "curl/8"
::1 - - [02/Mar/2026:10:00:04 +0000] "DELETE /a%22b\x22 HTTP/1.0" 503 0
10.0.0.7 - - [02/Mar/2026:10:00:05 +0000] "\x16\x03\x01" 400 157 "-" "-"

not a line of an access log
`)
	want := []string{
		`{"timestamp":"2026-03-02T10:00:03Z","kind":"log","service":"web","level":"INFO","logger":"access","message":"API request","attributes":{"client":"10.0.0.7","duration_ms":42,"method":"GET","path":"/api/v1/appointments","status_code":200}}`,
		`{"timestamp":"2026-01-01T03:29:59Z","kind":"log","service":"web","level":"WARNING","logger":"access","message":"API request","attributes":{"client":"10.0.0.7","method":"POST","path":"/login","status_code":401}}`,
		`{"timestamp":"2026-03-02T10:00:04Z","kind":"log","service":"web","level":"ERROR","logger":"access","message":"API request","attributes":{"client":"::1","method":"DELETE","path":"/a%22b\\x22","status_code":503}}`,
		`{"kind":"log","service":"web","level":"WARNING","logger":"access","message":"Access log line of another form","attributes":{"line":"10.0.0.7 - - [02/Mar/2026:10:00:05 +0000] \"\\x16\\x03\\x01\" 400 157 \"-\" \"-\""}}`,
		`{"kind":"log","service":"web","level":"WARNING","logger":"access","message":"Access log line of another form","attributes":{"line":"not a line of an access log"}}`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestAccessLogExample(t *testing.T) {
	log, err := os.ReadFile("logs/access.log")
	if err != nil {
		t.Fatal(err)
	}
	got := convert(t, string(log))
	if n := bytes.Count(log, []byte("\n")); len(got) != n || n < 300 {
		t.Errorf("%d events of %d lines", len(got), n)
	}
	for _, line := range got {
		if !strings.Contains(line, `"message":"API request"`) || !strings.Contains(line, `"duration_ms":`) {
			t.Errorf("not a request: %s", line)
		}
	}
}
