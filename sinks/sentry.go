package sinks

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"time"

	"github.com/getsentry/sentry-go"

	"github.com/dermai/millrace/notify"
	"github.com/dermai/millrace/schemas"
)

// Limits of Sentry: develop.sentry.dev/sdk/data-model/event-payloads.
const (
	sentryTagName  = 32
	sentryTagValue = 200
	sentryMessage  = 8192
	sentryKey      = 512      // of one part of a fingerprint
	sentryAlerts   = 50       // as many as a notification lists
	sentryAlert    = 4096     // of the text about one alert
	sentryRoom     = 64 << 10 // of all of them
)

// SentryOptions are those of everything that goes to Sentry.
type SentryOptions struct {
	// DSN is the project's client key. Default: what the file DSNFile, the variable
	// SENTRY_DSN or the file that SENTRY_DSN_FILE names holds. None: off.
	DSN     string `yaml:"dsn"`
	DSNFile string `yaml:"dsn_file"`
	// Environment and Release are told as they are. Default: none.
	Environment string `yaml:"environment"`
	Release     string `yaml:"release"`
	HTTPOptions `yaml:",inline"`
}

// sentryAlertOptions are the options of a receiver.
type sentryAlertOptions struct {
	SentryOptions `yaml:",inline"`
	// Resolved sends an event also when a group is resolved. Default: false, since
	// Sentry would open an issue again that somebody has closed meanwhile.
	Resolved bool `yaml:"resolved"`
}

// Sentry makes an issue of a group of alerts, and an event of each notification
// about it. The event_id is the notification's ID, which Sentry keeps one event
// of. The reference is that ID.
type Sentry struct {
	project  *sentryProject // nil: off
	resolved bool
}

func buildSentry(_ string, options notify.Options, env Env) (Sink, error) {
	var o sentryAlertOptions
	if err := options.Decode(&o); err != nil {
		return nil, err
	}
	p, err := openSentry(o.SentryOptions, env)
	return &Sentry{p, o.Resolved}, err
}

// Off implements Sink.
func (s *Sentry) Off() (reason string, off bool) { return s.project.off() }

// Send implements notify.Receiver.
func (s *Sentry) Send(ctx context.Context, n schemas.Notification) (string, error) {
	if reason, off := s.Off(); off {
		return "", &SendError{Reason: reason}
	}
	if n.Status == "resolved" && !s.resolved {
		return "not sent: an end is no event", nil
	}
	e := sentryEventOf(n)
	s.project.mark(e)
	return n.ID, s.project.send(ctx, e)
}

// sentryMessageOf writes the event of a notification to look at.
func sentryMessageOf(n schemas.Notification) ([]byte, error) {
	compact, err := sentryJSON(sentryEventOf(n))
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err = json.Indent(&b, compact, "", " ")
	b.WriteByte('\n')
	return b.Bytes(), err
}

// sentryEventOf makes an event of a notification. Its fingerprint is the group,
// that is the rule and the labels it is grouped by, so that a group is one issue.
func sentryEventOf(n schemas.Notification) *sentry.Event {
	e := &sentry.Event{
		EventID:     sentry.EventID(n.ID),
		Timestamp:   time.Unix(0, n.Time).UTC(),
		Platform:    "other",
		Logger:      "millrace",
		Level:       sentryLevel(n),
		Message:     truncate(title(n), sentryMessage),
		Fingerprint: []string{"millrace", string(n.Class), truncate(printable(n.GroupKey, false), sentryKey)},
		Tags:        map[string]string{"status": n.Status, "receiver": n.Receiver},
		Sdk:         sentry.SdkInfo{Name: "millrace"},
	}
	texts, room := []string{}, sentryRoom
	for _, a := range n.Alerts[:min(len(n.Alerts), sentryAlerts)] {
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
		text := truncate(printable(strings.Join(lines, "\n"), true), sentryAlert)
		if room -= len(text); room < 0 {
			break
		}
		texts = append(texts, text)
		e.Tags["alertname"] = truncate(printable(a.Rule, false), sentryTagValue)
	}
	about := sentry.Context{"status": n.Status, "reason": n.Reason, "alerts": texts}
	if more := total(n) - len(texts); more > 0 {
		about["more"] = more
	}
	e.Contexts = map[string]sentry.Context{"millrace": about}
	// Labels that all alerts share can be searched for; others would be of one.
	if len(n.Alerts) > 0 {
		for name, value := range n.Alerts[0].Labels {
			if shared(n.Alerts, name, value) {
				e.Tags[truncate(printable(name, false), sentryTagName)] = truncate(printable(value, false), sentryTagValue)
			}
		}
	}
	return e
}

func sentryLevel(n schemas.Notification) sentry.Level {
	if n.Status == "resolved" {
		return sentry.LevelInfo
	}
	switch severity(n) {
	case "critical":
		return sentry.LevelFatal
	case "warning":
		return sentry.LevelWarning
	case "info":
		return sentry.LevelInfo
	}
	return sentry.LevelError
}
