package sinks

import (
	"context"
	"errors"
	"io"
	"strconv"
	"strings"

	"github.com/dermai/millrace/notify"
	"github.com/dermai/millrace/schemas"
)

// Console writes each notification as a paragraph for people: a line for the
// title, and one for each alert.
type Console struct {
	out io.Writer // nil: off
}

func buildConsole(_ string, options notify.Options, env Env) (Sink, error) {
	if err := options.Decode(&struct{}{}); err != nil {
		return nil, err
	}
	return &Console{env.Out}, nil
}

// Off implements Sink.
func (c *Console) Off() (reason string, off bool) {
	if c.out == nil {
		return "this process has no console", true
	}
	return "", false
}

// Send implements notify.Receiver.
func (c *Console) Send(_ context.Context, n schemas.Notification) (string, error) {
	if reason, off := c.Off(); off {
		return "", &SendError{Reason: reason}
	}
	// One write, so that lines of others do not come between.
	if _, err := io.WriteString(c.out, consoleText(n)); err != nil {
		unsure := errors.Is(err, io.ErrShortWrite)
		return "", &SendError{Reason: "the console cannot be written to", Unsure: unsure}
	}
	return "", nil
}

func consoleText(n schemas.Notification) string {
	var b strings.Builder
	line := func(s string) { b.WriteString(printable(s, false) + "\n") }
	line(moment(n.Time) + " " + title(n) + " (" + n.Receiver + ", " + n.ID + ")")
	if n.Digest != nil {
		line("  " + digestText(n.Digest))
	}
	for _, a := range n.Alerts {
		words := []string{" ", a.Status, a.Alert}
		for _, f := range facts(a) {
			words = append(words, f.name+"="+quote(f.value))
		}
		line(strings.Join(words, " "))
		if summary := a.Annotations["summary"]; summary != "" {
			line("    " + summary)
		}
		for _, f := range annotations(a) {
			line("    " + f.name + ": " + f.value)
		}
		for _, e := range a.Evidence {
			line("    evidence " + reference(e))
		}
	}
	if n.Truncated > 0 {
		line("  and " + strconv.Itoa(n.Truncated) + " more")
	}
	return b.String()
}

// quote puts quotes around a value with spaces.
func quote(s string) string {
	if strings.ContainsAny(s, " \"=") || s == "" {
		return `"` + strings.ReplaceAll(s, `"`, `\"`) + `"`
	}
	return s
}
