package sinks

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"text/template"
	"time"

	"github.com/dermai/millrace/schemas"
)

const (
	webhookVersion  = 1
	webhookText     = 4096 // characters of one text
	maxTemplate     = 64 << 10
	maxTemplateBody = 1 << 20 // bytes that a template may make
)

// webhookMessage is the body of a webhook, and what a template is given. Fields
// are only ever added; one that changes its meaning makes another version.
type webhookMessage struct {
	Version  int            `json:"version"`
	ID       string         `json:"id"`
	Thread   string         `json:"thread,omitempty"`
	Receiver string         `json:"receiver"`
	GroupKey string         `json:"group_key"`
	Class    string         `json:"class"`
	Status   string         `json:"status"`
	Reason   string         `json:"reason"`
	Severity string         `json:"severity,omitempty"`
	Title    string         `json:"title"`
	Time     string         `json:"time"`
	Alerts   []webhookAlert `json:"alerts"`
	More     int            `json:"more"`
}

type webhookAlert struct {
	Alert       string            `json:"alert"`
	Rule        string            `json:"rule"`
	Status      string            `json:"status"`
	Starts      string            `json:"starts"`
	Ends        string            `json:"ends,omitempty"`
	Samples     int64             `json:"samples"`
	Value       *float64          `json:"value,omitempty"`
	Why         string            `json:"why,omitempty"`
	Suspect     bool              `json:"suspect,omitempty"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
	Evidence    []webhookEvidence `json:"evidence"`
}

type webhookEvidence struct {
	Position string            `json:"position"`
	Time     string            `json:"time"`
	ID       string            `json:"id,omitempty"`
	Trace    string            `json:"trace,omitempty"`
	Fields   map[string]string `json:"fields"`
}

// webhookMessageOf takes what may leave from a notification. Texts that are too
// long are cut, and say so.
func webhookMessageOf(n schemas.Notification) webhookMessage {
	cut := func(s string) string { return truncate(s, webhookText) }
	all := func(m map[string]string) map[string]string {
		out := make(map[string]string, len(m))
		for k, v := range m {
			out[cut(k)] = cut(v)
		}
		return out
	}
	m := webhookMessage{
		Version: webhookVersion, ID: n.ID, Thread: n.Thread, Receiver: n.Receiver, GroupKey: cut(n.GroupKey),
		Class: string(n.Class), Status: n.Status, Reason: n.Reason, Severity: severity(n), Title: cut(title(n)),
		Time: timestamp(n.Time), Alerts: []webhookAlert{}, More: n.Truncated,
	}
	for _, a := range n.Alerts {
		w := webhookAlert{
			Alert: cut(a.Alert), Rule: cut(a.Rule), Status: a.Status, Starts: timestamp(a.Starts), Samples: a.N, Value: a.Value,
			Why: cut(a.Why), Suspect: a.Suspect, Labels: all(a.Labels), Annotations: all(a.Annotations), Evidence: []webhookEvidence{},
		}
		if a.Ends != 0 {
			w.Ends = timestamp(a.Ends)
		}
		for _, e := range a.Evidence {
			w.Evidence = append(w.Evidence, webhookEvidence{
				Position: Delivered{Stream: e.Partition.Stream(), Seq: e.Seq, Index: e.Index}.Position(),
				Time:     timestamp(e.Time), ID: cut(e.ID), Trace: cut(e.Trace), Fields: all(e.Fields),
			})
		}
		m.Alerts = append(m.Alerts, w)
	}
	return m
}

// timestamp is a time as machines read it.
func timestamp(ns int64) string { return time.Unix(0, ns).UTC().Format(time.RFC3339Nano) }

// webhookJSON writes a value so that whoever looks at the bytes sees all of
// them: what cannot be seen becomes \uXXXX.
func webhookJSON(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, errors.New("the message cannot be written")
	}
	return visible(bytes.TrimSuffix(b.Bytes(), []byte("\n"))), nil
}

// webhookTemplate makes a body of a webhookMessage. It is text of the
// configuration: texts of events are only ever its data. It has the functions of
// text/template and json, and reaches no file, variable or network.
type webhookTemplate struct {
	template *template.Template
	json     bool // the body must be JSON
}

// newWebhookTemplate reads a template and tries it, so that a mistake is found
// when the configuration is loaded.
func newWebhookTemplate(text string, mustJSON bool) (*webhookTemplate, error) {
	if text == "" {
		return nil, nil //nolint:nilnil // none is given
	}
	if len(text) > maxTemplate {
		return nil, fmt.Errorf("template: longer than %d bytes; make it shorter", maxTemplate)
	}
	parsed, err := template.New("template").Option("missingkey=zero").Funcs(template.FuncMap{
		"json": func(v any) (string, error) {
			b, err := webhookJSON(v)
			return string(b), err
		},
	}).Parse(text)
	if err != nil {
		return nil, templateFault(err)
	}
	t := &webhookTemplate{parsed, mustJSON}
	for _, n := range []schemas.Notification{exampleNotification("firing"), exampleNotification("resolved")} {
		if _, err := t.execute(webhookMessageOf(n)); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// execute makes a body. Its errors tell no text of events.
func (t *webhookTemplate) execute(m webhookMessage) ([]byte, error) {
	b := bounded{room: maxTemplateBody}
	if err := t.template.Execute(&b, m); err != nil {
		if b.full {
			return nil, fmt.Errorf("template: makes more than %d bytes; make it shorter", maxTemplateBody)
		}
		return nil, templateFault(err)
	}
	if t.json && !json.Valid(b.text) {
		return nil, errors.New("template: does not make JSON; write each value as {{json .Title}}, without quotes around it, or set content_type")
	}
	return b.text, nil
}

// bounded is a buffer that takes no more than its room.
type bounded struct {
	text []byte
	room int
	full bool
}

func (b *bounded) Write(p []byte) (int, error) {
	if b.full = b.full || len(b.text)+len(p) > b.room; b.full {
		return 0, errors.New("full")
	}
	b.text = append(b.text, p...)
	return len(p), nil
}

var templateFaults = []struct {
	pattern *regexp.Regexp
	text    string
}{
	{regexp.MustCompile(`can't evaluate field (\w+)`), "has no field $1; use one of docs/receivers.md, such as .Title"},
	{regexp.MustCompile(`function "(\w+)" not defined`), "has no function $1; use json or one of text/template"},
	{regexp.MustCompile(`template "(\w+)" not defined`), "has no template $1; define it"},
	{regexp.MustCompile(`undefined variable "\$(\w+)"`), "has no variable $1; declare it"},
	{regexp.MustCompile(`unexpected EOF|unclosed action`), "ends too early; close each {{ with }}, and if, range and with by {{end}}"},
}

var templateLine = regexp.MustCompile(`^template: template:(\d+)`)

// templateFault says what is wrong with a template without repeating it, since a
// template may hold a key.
func templateFault(err error) error {
	where := "template: "
	if m := templateLine.FindStringSubmatch(err.Error()); m != nil {
		line, _ := strconv.Atoi(m[1])
		where = fmt.Sprintf("template: line %d: ", line)
	}
	for _, f := range templateFaults {
		if m := f.pattern.FindStringSubmatchIndex(err.Error()); m != nil {
			return errors.New(where + string(f.pattern.ExpandString(nil, f.text, err.Error(), m)))
		}
	}
	return errors.New(where + "is not one of text/template; see docs/receivers.md")
}

// exampleNotification is one of each kind of thing, to try a template on.
func exampleNotification(status string) schemas.Notification {
	value := 0.5
	n := schemas.Notification{
		ID: strings.Repeat("0", 32), Receiver: "example", GroupKey: "example", Class: schemas.Telemetry, Status: status, Reason: "new",
		Alerts: []schemas.Alert{{
			Alert: "Example", Rule: "Example", Status: status, N: 1, Value: &value,
			Labels: map[string]string{"service": `an "example"`}, Annotations: map[string]string{"summary": "two\nlines"},
			Evidence: []schemas.Evidence{{ID: "e"}},
		}},
	}
	if status == "resolved" {
		n.Alerts[0].Ends, n.Alerts[0].Value = 1, nil
	}
	return n
}
