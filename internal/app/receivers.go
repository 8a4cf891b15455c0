package app

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/dermai/millrace/notify"
	"github.com/dermai/millrace/schemas"
)

// receiversCommand groups what is about receivers.
type receiversCommand struct {
	Ls   receiversLs   `cmd:"" help:"List receivers: of what type they are, whether they are on, and which routes tell them."`
	Test receiversTest `cmd:"" help:"Send a test notification to receivers."`
}

// receiversLs lists the receivers of the configuration, in its order.
type receiversLs struct{}

// listedReceiver is a receiver as receivers ls shows it.
type listedReceiver struct {
	Receiver string             `json:"receiver"`
	Type     string             `json:"type"`
	State    string             `json:"state"` // on, off
	Reason   string             `json:"reason,omitempty"`
	Routes   []notify.RoutePath `json:"routes"`
}

func (*receiversLs) Run(_ context.Context, s *session) error {
	built, err := s.receivers()
	if err != nil {
		return err
	}
	if err := s.out.header("RECEIVER", "TYPE", "STATE", "ROUTES"); err != nil {
		return err
	}
	for _, r := range s.config.Notify.Receivers {
		listed := listedReceiver{Receiver: r.Name, Type: r.Type, State: "on", Routes: s.config.Notify.RoutesTo(r.Name)}
		state := listed.State
		if reason, off := built[r.Name].Off(); off {
			listed.State, listed.Reason = "off", reason
			state = "off: " + reason
		}
		if err := s.out.print(listed, r.Name, r.Type, state, routesText(listed.Routes)); err != nil {
			return err
		}
	}
	return nil
}

// routesText says which alerts routes take.
func routesText(routes []notify.RoutePath) string {
	if len(routes) == 0 {
		return "none: it is never told"
	}
	var texts []string
	for _, r := range routes {
		text := "the default"
		if r.Path != "route" {
			text = strings.Join(append([]string{r.Path}, r.Matchers...), " ")
		}
		texts = append(texts, text)
	}
	return strings.Join(texts, "; ")
}

// receiversTest sends a test notification. Findings: receivers that did not take
// it. One that is off is none.
type receiversTest struct {
	Names []string `arg:"" optional:"" help:"Names of receivers. Default: all of the configuration."`
}

// testTime is how long a receiver may take.
const testTime = 30 * time.Second

func (c *receiversTest) Run(ctx context.Context, s *session) error {
	built, err := s.receivers()
	if err != nil {
		return err
	}
	names := c.Names
	if len(names) == 0 {
		names = slices.Sorted(maps.Keys(built))
	}
	if len(names) == 0 {
		return errors.New("there are no receivers: add some to receivers in the configuration file")
	}
	failed := 0
	for _, name := range names {
		sink, ok := built[name]
		if !ok {
			return fmt.Errorf("there is no receiver %q: use one of %v", name, slices.Sorted(maps.Keys(built)))
		}
		outcome := testOutcome{Receiver: name, Outcome: schemas.DeliveryDelivered}
		if reason, off := sink.Off(); off {
			outcome.Outcome, outcome.Detail = "off", reason
		} else {
			sendCtx, cancel := context.WithTimeout(ctx, testTime)
			outcome.Reference, err = sink.Send(sendCtx, testNotification(name, time.Now()))
			cancel()
			if err != nil {
				outcome.Outcome, outcome.Detail = "failed", err.Error()
				failed++
			}
		}
		if err := s.out.print(outcome, name, outcome.Outcome, outcome.Reference, outcome.Detail); err != nil {
			return err
		}
	}
	if failed > 0 {
		return findingsError(plural(failed, "receiver") + " did not take the test")
	}
	return nil
}

// testOutcome is what a receiver made of a test.
type testOutcome struct {
	Receiver  string `json:"receiver"`
	Outcome   string `json:"outcome"` // delivered, off, failed
	Reference string `json:"reference,omitempty"`
	Detail    string `json:"detail,omitempty"`
}

// testNotification says that it is a test.
func testNotification(receiver string, now time.Time) schemas.Notification {
	value := 1.0
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails
	return schemas.Notification{
		ID:       hex.EncodeToString(id[:]),
		Receiver: receiver,
		GroupKey: "test",
		Class:    schemas.Telemetry,
		Time:     now.UnixNano(),
		Status:   "firing",
		Reason:   "new",
		Alerts: []schemas.Alert{{
			Alert: "Test", Rule: "Test", Status: "firing", Starts: now.UnixNano(), N: 1, Value: &value,
			Labels:      map[string]string{"alertname": "Test", "severity": "info"},
			Annotations: map[string]string{"summary": "This is a test of millrace receivers test; there is nothing to do."},
		}},
	}
}
