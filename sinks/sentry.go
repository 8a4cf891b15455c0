package sinks

import (
	"bytes"
	"encoding/json"
	"strings"
	"time"

	"github.com/dermai/millrace/schemas"
)

// Limits of Sentry: develop.sentry.dev/sdk/data-model/event-payloads.
const (
	sentryTagName  = 32
	sentryTagValue = 200
	sentryMessage  = 8192
)

type sentryEvent struct {
	EventID     string            `json:"event_id"`
	Timestamp   string            `json:"timestamp"`
	Platform    string            `json:"platform"`
	Logger      string            `json:"logger"`
	Level       string            `json:"level"`
	Message     sentryText        `json:"message"`
	Fingerprint []string          `json:"fingerprint"`
	Tags        map[string]string `json:"tags"`
	Extra       sentryExtra       `json:"extra"`
}

type sentryText struct {
	Formatted string `json:"formatted"`
}

type sentryExtra struct {
	Status    string   `json:"status"`
	Alerts    []string `json:"alerts"`
	Truncated int      `json:"truncated,omitempty"`
}

// sentryMessageOf writes a notification as an event for Sentry. Its event_id is
// the notification's ID, which Sentry keeps one event of; its fingerprint is the
// group, so that a group is one issue.
func sentryMessageOf(n schemas.Notification) ([]byte, error) {
	e := sentryEvent{
		EventID:     n.ID,
		Timestamp:   time.Unix(0, n.Time).UTC().Format(time.RFC3339Nano),
		Platform:    "other",
		Logger:      "millrace",
		Level:       sentryLevel(n),
		Message:     sentryText{truncate(title(n), sentryMessage)},
		Fingerprint: []string{"millrace", string(n.Class), printable(n.GroupKey, false)},
		Tags:        map[string]string{"status": n.Status, "receiver": n.Receiver},
		Extra:       sentryExtra{Status: n.Status, Truncated: n.Truncated},
	}
	for _, a := range n.Alerts {
		lines := []string{a.Status + " " + a.Alert}
		if s := a.Annotations["summary"]; s != "" {
			lines = append(lines, s)
		}
		for _, f := range append(facts(a), annotations(a)...) {
			lines = append(lines, f.name+": "+f.value)
		}
		for _, r := range a.Evidence {
			lines = append(lines, "evidence: "+reference(r))
		}
		e.Extra.Alerts = append(e.Extra.Alerts, printable(strings.Join(lines, "\n"), true))
		e.Tags["alertname"] = truncate(printable(a.Rule, false), sentryTagValue)
	}
	// Labels that all alerts share can be searched for; others would be of one.
	if len(n.Alerts) > 0 {
		for name, value := range n.Alerts[0].Labels {
			if shared(n.Alerts, name, value) {
				e.Tags[truncate(printable(name, false), sentryTagName)] = truncate(printable(value, false), sentryTagValue)
			}
		}
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", " ")
	err := enc.Encode(e)
	return b.Bytes(), err
}

func sentryLevel(n schemas.Notification) string {
	if n.Status == "resolved" {
		return "info"
	}
	switch severity(n) {
	case "critical":
		return "fatal"
	case "warning":
		return "warning"
	case "info":
		return "info"
	}
	return "error"
}
