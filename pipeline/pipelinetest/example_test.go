package pipelinetest_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/dermai/millrace/pipeline"
	"github.com/dermai/millrace/pipeline/pipelinetest"
	"github.com/dermai/millrace/schemas"
)

// exampleT stands in for the *testing.T of a test, which an example has not.
type exampleT struct{ testing.TB }

func (exampleT) Helper()                  {}
func (exampleT) Context() context.Context { return context.Background() }

// A handler of one's own, and its test without a broker.
func ExampleDeliver() {
	handler := func(_ context.Context, d pipeline.Delivery) error {
		if d.Event.Attributes["amount"] == nil {
			return errors.New("how much?")
		}
		return nil
	}
	var t exampleT // in a _test.go file: func TestHandler(t *testing.T)
	said := pipelinetest.Deliver(t, handler,
		schemas.Event{Kind: schemas.KindLog, Service: "shop", Level: "INFO", Message: "sold", Attributes: map[string]any{"amount": 3}},
		schemas.Event{Kind: schemas.KindLog, Service: "shop", Level: "INFO", Message: "sold"},
	)
	fmt.Println(said[0], said[1])
	// Output: <nil> how much?
}

// TestDeliver gives what is stored, not what was made.
func TestDeliver(t *testing.T) {
	var got []pipeline.Delivery
	bad := errors.New("no")
	said := pipelinetest.Deliver(t, func(_ context.Context, d pipeline.Delivery) error {
		got = append(got, d)
		if d.Event.Kind == schemas.KindAudit {
			return bad
		}
		return nil
	},
		schemas.Event{Kind: schemas.KindLog, Service: "shop", Level: "INFO", Message: "sold", Attributes: map[string]any{"n": 2.0}},
		schemas.Event{Kind: schemas.KindAudit, Service: "shop", User: "u", Action: "READ", Resource: "r"},
	)
	if len(said) != 2 || said[0] != nil || !errors.Is(said[1], bad) {
		t.Errorf("the handler said %v", said)
	}
	if got[0].Event.ID != "EVENTS_0/1/0" || got[1].Event.ID != "AUDIT/2/0" || got[0].Event.Time == 0 {
		t.Errorf("got %+v", got)
	}
}
