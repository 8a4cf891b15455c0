package pipeline_test

import (
	"context"
	"encoding/json"
	"errors"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/dermai/millrace/internal/child"
	"github.com/dermai/millrace/pipeline"
	"github.com/dermai/millrace/pipeline/pipelinetest"
	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"
)

// logLines is a log that can be read while it is written.
type logLines struct{ child.Output }

// said gives the lines of a level.
func (l *logLines) said(t *testing.T, level string) (out []map[string]any) {
	t.Helper()
	for line := range strings.Lines(l.String()) {
		var m map[string]any
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatal(err)
		}
		if m["level"] == level {
			out = append(out, m)
		}
	}
	return out
}

// TestConsumeComplains has a handler that fails at every event: the log says so
// once, not for each event and attempt.
func TestConsumeComplains(t *testing.T) {
	s, c := deploy(t)
	publish(t, c, "shop", numbered(20)...)
	var log logLines
	sub := all(s.ConnectWith(t, pipeline.Config{URL: s.URL(), Logger: zerolog.New(&log)}), "down")
	sub.Retry = pipeline.Retry{Min: time.Millisecond, Max: time.Millisecond}
	var got seen
	stop := consuming(t, sub, func(_ context.Context, d pipeline.Delivery) error {
		got.add(d)
		return errors.New("the ledger is down")
	})
	pipelinetest.Within(t, "every event was tried often", func() bool { return got.len() > 200 })
	stop()
	var warned []string
	for _, m := range log.said(t, "warn") {
		warned = append(warned, m["message"].(string)+": "+m["error"].(string))
	}
	if diff := cmp.Diff([]string{"an event is given again: the ledger is down"}, warned); diff != "" {
		t.Errorf("warnings (-want +got):\n%s", diff)
	}
}

// TestConsumePanics reads where a handler panicked, and with what if the runtime
// says so, in the quarantine.
func TestConsumePanics(t *testing.T) {
	s, c := deploy(t)
	publish(t, c, "shop", "text", "runtime")
	sub := all(c, "panics")
	sub.MaxAttempts = 1
	consuming(t, sub, func(_ context.Context, d pipeline.Delivery) error {
		if d.Event.Message == "text" {
			panic("a patient's name")
		}
		_ = d.Event.Attributes["price"].(float64)
		return nil
	})
	s.Settled(t, "panics")
	items, err := pipeline.NewQuarantine(c).List(t.Context(), 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	line, got := regexp.MustCompile(`_test\.go:\d+\)`), map[string]bool{}
	for _, q := range items {
		got[line.ReplaceAllString(q.Detail, "_test.go:N)")] = true
	}
	at := ` at github.com/dermai/millrace/pipeline_test.TestConsumePanics.func1 (consume_trouble_test.go:N)`
	want := map[string]bool{
		"the handler panicked with a string" + at:                                            true,
		"the handler panicked (interface conversion: interface {} is nil, not float64)" + at: true,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("details (-want +got):\n%s", diff)
	}
}
