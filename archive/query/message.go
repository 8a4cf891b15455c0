package query

import (
	"context"
	"errors"

	"github.com/dermai/millrace/archive"
	"github.com/dermai/millrace/archive/segment"
)

// Messages gives each message that is chosen to fn, once: stream by stream, epoch
// by epoch, in order of sequence, ticks too (their payload is empty). The payload
// of a message from a segment is what it was packed from. The record is valid
// during the call. An error of fn ends Messages and is returned. After any error
// what fn was given is not to be relied on: damage may be found behind it.
//
// Messages of several streams side by side, such as a backtest reads, are as many
// calls, each with its Stream (iter.Pull makes iterators of them).
func Messages(ctx context.Context, store archive.Store, f archive.Filter, fn func(*archive.Record) error) error {
	chains, err := archive.Chains(ctx, store, f.Class, f.Stream)
	if err != nil {
		return err
	}
	for _, c := range chains {
		r := reader{store: store, chain: c, want: &messages{f, fn}, stats: &Stats{}, next: max(f.From, 1)}
		if err := r.run(ctx); err != nil {
			if stop, ok := errors.AsType[*stopError](err); ok {
				return stop.error
			}
			return err
		}
	}
	return nil
}

// messages reads the messages of one chain.
type messages struct {
	archive.Filter
	fn func(*archive.Record) error
}

func (m *messages) segment(s *archive.Segment) bool {
	return s.Messages > 0 && s.Last >= m.From && s.ArrivalTo >= m.Since
}

func (m *messages) object(last uint64, arrivalTo int64) bool {
	return last >= m.From && arrivalTo >= m.Since
}

func (m *messages) behind(seq uint64, arrival int64) bool {
	return m.To > 0 && seq > m.To || m.Until > 0 && arrival >= m.Until
}

func (m *messages) broken(_ *archive.Segment, err error) error { return err }

func (m *messages) read(f *segment.File, from uint64) error {
	sel := segment.Select{Last: m.To, Since: m.Since, Until: m.Until}
	if from > 1 {
		sel.First = from
	}
	return f.Messages(sel, m.message)
}

func (m *messages) message(r *archive.Record) error {
	if r.Seq < m.From || r.Arrival < m.Since {
		return nil
	}
	if err := m.fn(r); err != nil {
		return &stopError{err}
	}
	return nil
}
