package sinks_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/dermai/millrace/schemas"
	"github.com/dermai/millrace/sinks"
	"github.com/dermai/millrace/sinks/sinkstest"
)

func TestConsoleGolden(t *testing.T) {
	var out bytes.Buffer
	s := build(t, "console", "", sinks.Env{Out: &out})
	n := sinkstest.Notification()
	n.Truncated = 3
	if _, err := s.Send(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	for _, n := range []schemas.Notification{sinkstest.Resolved(), sinkstest.Digest()} {
		if _, err := s.Send(t.Context(), n); err != nil {
			t.Fatal(err)
		}
	}
	golden(t, "console.txt", out.Bytes())
}

func TestConsoleHostile(t *testing.T) {
	for i, n := range sinkstest.Hostile() {
		var out bytes.Buffer
		if _, err := build(t, "console", "", sinks.Env{Out: &out}).Send(t.Context(), n); err != nil {
			t.Fatal(err)
		}
		sinkstest.Visible(t, out.Bytes())
		// One line for the title, and for each alert one, two annotations and the
		// evidence: no text makes a line of its own.
		if lines := strings.Count(out.String(), "\n"); n.Truncated == 0 && lines > 5 {
			t.Errorf("%d: %d lines", i, lines)
		}
	}
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errors.New("gone") }

func TestConsoleOff(t *testing.T) {
	s := build(t, "console", "", sinks.Env{})
	if reason, off := s.Off(); !off || reason == "" {
		t.Error("on without a console")
	}
	if _, err := open("console", "color: true", sinks.Env{}); err == nil {
		t.Error("took an unknown option")
	}
	_, err := build(t, "console", "", sinks.Env{Out: brokenWriter{}}).Send(t.Context(), sinkstest.Notification())
	var e *sinks.SendError
	if !errors.As(err, &e) || e.Permanent() {
		t.Errorf("broken console: %v", err)
	}
}
