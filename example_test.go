package millrace_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/dermai/millrace"
	"github.com/dermai/millrace/notify"
	"github.com/dermai/millrace/schemas"
	"github.com/dermai/millrace/sinks"
	"github.com/dermai/millrace/sinks/sinkstest"
)

// pager wakes somebody up.
type pager struct {
	poster *sinks.Poster // nil: off
}

// newPager is a sinks.Builder.
func newPager(_ string, options notify.Options, env sinks.Env) (sinks.Sink, error) {
	var o struct {
		URL               sinks.Secret `yaml:"url"`
		URLFile           string       `yaml:"url_file"`
		sinks.HTTPOptions `yaml:",inline"`
	}
	if err := options.Decode(&o); err != nil {
		return nil, err
	}
	url, err := env.ReadSecret("url", o.URL, o.URLFile, "PAGER_URL")
	if err != nil || url.IsZero() {
		return &pager{}, err
	}
	p, err := sinks.NewPoster("url", url, o.HTTPOptions, env.Now)
	return &pager{p}, err
}

// Off implements sinks.Sink.
func (p *pager) Off() (reason string, off bool) {
	if p.poster == nil {
		return "no URL: set url, url_file or PAGER_URL", true
	}
	return "", false
}

// Send implements notify.Receiver. What the pager is sent twice with one key
// rings once.
func (p *pager) Send(ctx context.Context, n schemas.Notification) (reference string, err error) {
	if reason, off := p.Off(); off {
		return "", &sinks.SendError{Reason: reason}
	}
	body, err := json.Marshal(map[string]any{"key": n.ID, "status": n.Status, "alerts": n.Alerts})
	if err != nil {
		return "", &sinks.SendError{Reason: "no JSON", Never: true}
	}
	answer, err := p.poster.Post(ctx, n.ID, "application/json", body, nil)
	var said struct{ Page string }
	_ = json.Unmarshal(answer.Body, &said) // without one it has no name
	return said.Page, err
}

// A receiver of one's own, in the command millrace; a processor with it is
// types.Processor.
func Example() {
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var page struct{ Alerts []schemas.Alert }
		if body, err := io.ReadAll(r.Body); err == nil && json.Unmarshal(body, &page) == nil {
			fmt.Println("the pager rings:", page.Alerts[0].Rule)
			_, _ = io.WriteString(w, `{"page": "7"}`)
		}
	}))
	defer service.Close()
	dir, err := os.MkdirTemp("", "millrace")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	config := filepath.Join(dir, "millrace.yaml")
	text := "receivers:\n- name: on-call\n  pager: {url: '" + service.URL + "'}\nroute: {receiver: on-call}\n"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		fmt.Println(err)
		return
	}

	types := millrace.Types{Receivers: map[string]sinks.Builder{"pager": newPager}}
	code := types.Millrace([]string{"--config", config, "-o", "json", "receivers", "test", "on-call"}) // in main: os.Exit of it
	fmt.Println("exit code", code)
	// Output:
	// the pager rings: Test
	// {"receiver":"on-call","outcome":"delivered","reference":"7"}
	// exit code 0
}

// TestPager: what a receiver of one's own must pass is what ours pass.
func TestPager(t *testing.T) {
	sinkstest.HTTP(t, func(t *testing.T, url string, timeout time.Duration, now func() time.Time) notify.Receiver {
		t.Helper()
		options := notify.NewOptions(fmt.Appendf(nil, "{url: %q, timeout: %s}", url, timeout))
		built, err := newPager("team", options, sinks.Env{Now: now})
		if err != nil {
			t.Fatal(err)
		}
		return built
	})
}
