package app

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/dermai/millrace/schemas"
)

// receiversCommand groups what is about receivers.
type receiversCommand struct {
	Test receiversTest `cmd:"" help:"Send a test notification to receivers."`
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
