package backtest

import (
	"bytes"
	"context"
	"fmt"
	"iter"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/dermai/millrace/schemas"
)

// Canonical is a transition as it stands in ALERTS: the same transition has the
// same bytes.
func Canonical(t *schemas.Transition) ([]byte, error) {
	packed, err := schemas.Encode(t)
	if err != nil {
		return nil, err
	}
	return schemas.Unpack(nil, packed, len(packed)+maxTransition)
}

const maxTransition = 64 << 20

// DifferError says that the live system decided something else.
type DifferError struct {
	Class         schemas.Class
	Tick          int64
	Logged, Again string // the canonical transition; "" for none
}

func (e *DifferError) Error() string {
	what := func(s string) string {
		if s == "" {
			return "nothing"
		}
		return s
	}
	return fmt.Sprintf("%s, tick %d: the live system decided otherwise\nlogged %s\nagain  %s", e.Class, e.Tick, what(e.Logged), what(e.Again))
}

// check compares what is decided again with what is logged, as it comes.
type check struct {
	class   *class
	next    func() (decided, error, bool)
	head    decided
	more    bool
	settled int64 // the log says that ticks up to here are decided to their end
}

// decided is a logged transition, or without one the end of a tick.
type decided struct {
	tick int64
	text []byte
}

// checked prepares the check of a class. The caller calls stop at the end.
func (c *class) checked(ctx context.Context) (k *check, stop func(), err error) {
	next, stop := iter.Pull2(c.logged(ctx))
	k = &check{class: c, next: next}
	return k, stop, k.advance()
}

// logged gives the transitions of ALERTS from the range's first tick on.
func (c *class) logged(ctx context.Context) iter.Seq2[decided, error] {
	return func(yield func(decided, error) bool) {
		for r, err := range c.alerts(ctx) {
			var d struct {
				Tick        int64            `json:"tick"`
				Done        bool             `json:"done"`
				Transitions []jsontext.Value `json:"transitions"`
			}
			if err == nil {
				err = schemas.DecodeInto(r.Payload, &d)
			}
			if err != nil {
				yield(decided{}, err)
				return
			}
			for _, t := range d.Transitions {
				if d.Tick >= c.first && !yield(decided{d.Tick, t}, nil) {
					return
				}
			}
			if d.Done && !yield(decided{tick: d.Tick}, nil) {
				return
			}
		}
	}
}

// advance moves to the next logged transition.
func (k *check) advance() (err error) {
	for {
		if k.head, err, k.more = k.next(); !k.more || err != nil || k.head.text != nil {
			return err
		}
		k.settled = k.head.tick
	}
}

// transition compares the next one that was decided again.
func (k *check) transition(t *schemas.Transition) error {
	if !k.more && t.Tick > k.settled {
		return nil // the live system has not come so far
	}
	again, err := Canonical(t)
	if err != nil {
		return err
	}
	if !k.more || !bytes.Equal(k.head.text, again) {
		return &DifferError{k.class.sum.Class, min(t.Tick, max(k.head.tick, 0)), string(k.head.text), string(again)}
	}
	k.class.sum.Checked++
	return k.advance()
}

// end looks for logged transitions that were not decided again up to a tick.
func (k *check) end(tick int64) error {
	if k.more && k.head.tick <= tick {
		return &DifferError{k.class.sum.Class, k.head.tick, string(k.head.text), ""}
	}
	return nil
}
