// Package reference computes from the stored streams what should have been
// decided, by ways that the live system does not go, and compares.
package reference

import (
	"context"
	"fmt"

	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/rules"
	"github.com/dermai/millrace/rules/engine"
	"github.com/dermai/millrace/rules/engine/oracle"
	"github.com/dermai/millrace/schemas"
)

// Each calls fn for every message of a stream that is there now.
func Each(ctx context.Context, log fence.Log, stream string, fn func(fence.Entry) error) error {
	info, err := log.Info(ctx, stream)
	if err != nil {
		return err
	}
	for next := info.First; next <= info.Last; {
		entries, err := log.Read(ctx, stream, next, 256)
		if err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		for _, e := range entries {
			if e.Seq > info.Last {
				return nil
			}
			if err := fn(e); err != nil {
				return fmt.Errorf("%s, message %d: %w", stream, e.Seq, err)
			}
			next = e.Seq + 1
		}
	}
	return nil
}

// Schedule folds the whole control log.
func Schedule(ctx context.Context, log fence.Log, cache *rules.Cache) (*engine.Schedule, error) {
	s := engine.NewSchedule()
	s.Parse = cache.Parse
	err := Each(ctx, log, schemas.StreamControl, func(e fence.Entry) error {
		var entry schemas.ControlEntry
		if err := schemas.DecodeInto(e.Data, &entry); err != nil {
			return err
		}
		return s.Apply(e.Seq, e.Time, &entry)
	})
	return s, err
}

// Message is a stored frame or tick frame, decoded.
type Message struct {
	Partition schemas.Partition
	Entry     fence.Entry
	Arrival   int64          // running maximum of the partition's timestamps, Unix ns
	Lost      []schemas.Loss // before it, or as it tells
	Tick      bool
	Events    []*schemas.Event // nil: the line is no event
}

// Messages reads every partition of a class, as an archive would.
func Messages(ctx context.Context, log fence.Log, s *engine.Schedule, class schemas.Class) ([]Message, error) {
	var list []Message
	for _, p := range s.Partitions(class) {
		seq, arrival := uint64(0), s.Floor(p)
		err := Each(ctx, log, p.Stream(), func(e fence.Entry) error {
			m := Message{Partition: p, Entry: e, Arrival: max(arrival, e.Time)}
			if n := e.Seq - seq - 1; n > 0 {
				m.Lost = append(m.Lost, schemas.Loss{Messages: n, From: arrival, To: m.Arrival})
			}
			if schemas.LostBefore(e.Header) {
				m.Lost = append(m.Lost, schemas.Loss{Messages: 1, From: m.Arrival, To: m.Arrival})
			}
			seq, arrival = e.Seq, m.Arrival
			subject, err := schemas.ParseSubject(e.Subject)
			if err != nil {
				return err
			}
			m.Tick = subject.Tick
			body, err := schemas.Unpack(nil, e.Data, schemas.FrameDecoded)
			if err != nil {
				m.Events = []*schemas.Event{nil}
			}
			for i, line := range schemas.Lines(body) {
				event, err := schemas.Decode(line, schemas.Origin{
					Kind: subject.Kind, Service: subject.Service, Arrival: arrival, Stream: p.Stream(), Seq: e.Seq, Index: i,
				})
				if err != nil {
					m.Events = append(m.Events, nil)
					continue
				}
				m.Events = append(m.Events, &event)
			}
			list = append(list, m)
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return list, nil
}

// Events lists the events of messages with what the oracle wants to know.
func Events(messages []Message) []oracle.Event {
	var list []oracle.Event
	for _, m := range messages {
		for i, e := range m.Events {
			if e != nil {
				order := schemas.Order{Time: min(e.Time, m.Arrival), Partition: m.Partition, Seq: m.Entry.Seq, Index: i}
				list = append(list, oracle.Event{Event: *e, Order: order, Arrival: m.Arrival})
			}
		}
	}
	return list
}

// Losses lists what is lost between messages.
func Losses(messages []Message) []schemas.Loss {
	var list []schemas.Loss
	for _, m := range messages {
		list = append(list, m.Lost...)
	}
	return list
}

// Decided gives the logged transitions of a class, and the last tick that is
// decided to its end.
func Decided(ctx context.Context, log fence.Log, class schemas.Class) (list []schemas.Transition, last int64, err error) {
	err = Each(ctx, log, schemas.StreamAlerts, func(e fence.Entry) error {
		if e.Subject != class.Alerts() || e.Header[schemas.HeaderType] != schemas.TypeDecision {
			return nil
		}
		var d schemas.Decision
		if err := schemas.DecodeInto(e.Data, &d); err != nil {
			return err
		}
		list = append(list, d.Transitions...)
		if d.Done {
			last = d.Tick
		}
		return nil
	})
	return list, last, err
}

// Differ compares transitions byte for byte. nil: they are equal.
func Differ(name string, live, other []schemas.Transition) error {
	for i := range max(len(live), len(other)) {
		a, err := text(live, i)
		if err != nil {
			return err
		}
		b, err := text(other, i)
		if err != nil {
			return err
		}
		if a != b {
			return fmt.Errorf("%s differs at transition %d of %d and %d:\n live %s\nother %s", name, i, len(live), len(other), a, b)
		}
	}
	return nil
}

func text(list []schemas.Transition, i int) (string, error) {
	if i >= len(list) {
		return "nothing", nil
	}
	data, err := schemas.Encode(list[i])
	if err != nil {
		return "", err
	}
	plain, err := schemas.Unpack(nil, data, schemas.FrameDecoded)
	return string(plain), err
}
