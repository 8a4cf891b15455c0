package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/schemas"
)

// unit is the step of simulated time: small in ticks, so that ties are common.
const unit = 100_000_000 // ns

// stream is a sequence of messages, with the clock of the server that leads it.
type stream struct {
	created int64         // Unix ns
	entries []fence.Entry // sequence i+1
	heads   map[string]uint64
	low     uint64            // first sequence kept
	trimmed map[string]uint64 // by subject: what is below is gone
	skew    int64             // ns; the leader's clock minus the true one
}

// broker is a model of the real one: what it has acknowledged stays, but for a message
// of a partition now and then that nobody has seen, and everything else may happen.
type broker struct {
	dice    *dice
	now     int64 // true time, Unix ns
	streams map[string]*stream
	late    []lateAppend
	calm    bool // no faults
	stats   *Stats
	unsure  map[string]bool // tokens of appends whose answer was lost
	errs    []error         // what no machine may do
	written int             // messages
	trace   io.Writer       // nil: nobody
}

// lateAppend is a publish that is still under way, its sender long gone.
type lateAppend struct {
	at   int64
	m    fence.Message
	prev uint64
}

// note tells the trace what happens.
func (b *broker) note(format string, args ...any) {
	if b.trace != nil {
		fmt.Fprintf(b.trace, "%6.1f "+format+"\n", append([]any{float64(b.now-start) / 1e9}, args...)...)
	}
}

func (b *broker) stream(name string) *stream {
	s := b.streams[name]
	if s == nil {
		s = &stream{created: 1, heads: map[string]uint64{}, trimmed: map[string]uint64{}, low: 1, skew: int64(b.dice.Intn(11)-5) * unit}
		b.streams[name] = s
	}
	return s
}

// put stores a message if its expectation holds; prev -1 expects nothing.
func (b *broker) put(m fence.Message, prev int64) (uint64, error) {
	s := b.stream(schemas.StreamOf(m.Subject))
	if head := s.heads[m.Subject]; prev >= 0 && head != uint64(prev) {
		return 0, &fence.RefusedError{Subject: m.Subject, Prev: uint64(prev), Last: head}
	}
	if !b.calm && strings.HasPrefix(m.Subject, "events.") && b.dice.chance(400) {
		b.stats.Lost++
		b.note("a message of %s is lost", m.Subject)
		s.hole()
	}
	seq := uint64(len(s.entries)) + 1
	b.written++
	s.entries = append(s.entries, fence.Entry{Seq: seq, Time: b.now + s.skew, Subject: m.Subject, Header: m.Header, Data: m.Data})
	s.heads[m.Subject] = seq
	return seq, nil
}

// hole is a sequence whose message nobody can read: the broker lost it.
func (s *stream) hole() {
	s.entries = append(s.entries, fence.Entry{Seq: uint64(len(s.entries)) + 1})
}

// deliver stores the late appends whose time has come.
func (b *broker) deliver() {
	var rest []lateAppend
	for _, l := range b.late {
		if !b.calm && l.at > b.now {
			rest = append(rest, l)
			continue
		}
		_, _ = b.put(l.m, int64(l.prev)) // refused where the world has moved on
	}
	b.late = rest
}

// Append implements fence.Log.
func (b *broker) Append(_ context.Context, m fence.Message, prev uint64) (uint64, error) {
	fault := b.dice.Intn(16)
	if b.calm {
		return b.put(m, int64(prev))
	}
	if fault <= 4 {
		b.note("append to %s meets %s", m.Subject, []string{"loss", "a lost answer", "a lost answer", "delay", "no room or a refusal"}[fault])
	}
	if fault <= 3 {
		b.stats.Unknown++
		b.unsure[m.Header[fence.HeaderToken]] = true
	}
	switch fault {
	case 0:
		return 0, fmt.Errorf("lost on the way: %w", fence.ErrUnknown)
	case 1, 2:
		_, _ = b.put(m, int64(prev))
		return 0, fmt.Errorf("answer lost: %w", fence.ErrUnknown)
	case 3:
		b.late = append(b.late, lateAppend{b.now + int64(1+b.dice.Intn(40))*unit, m, prev})
		return 0, fmt.Errorf("under way: %w", fence.ErrUnknown)
	case 4:
		if b.dice.chance(2) {
			b.stats.Full++
			return 0, fence.ErrFull
		}
		// A replicated stream refuses so while another append is under way.
		return 0, &fence.RefusedError{Subject: m.Subject, Prev: prev, Unnamed: true}
	}
	return b.put(m, int64(prev))
}

// Head implements fence.Log. A follower may answer with an older message.
func (b *broker) Head(_ context.Context, subject string) (fence.Entry, error) {
	s := b.stream(schemas.StreamOf(subject))
	head := s.heads[subject]
	if head == 0 {
		return fence.Entry{}, fence.ErrNoHead
	}
	if !b.calm && b.dice.Intn(10) == 0 {
		for seq := head - 1; seq >= s.low && seq+12 > head; seq-- {
			if e := s.entries[seq-1]; e.Subject == subject {
				b.stats.Stale++
				b.note("head of %s is message %d, not %d", subject, seq, head)
				return e, nil
			}
		}
	}
	return s.entries[head-1], nil
}

// Read implements fence.Log. What comes next of the control log may show up a
// moment later.
func (b *broker) Read(_ context.Context, name string, from uint64, limit int) ([]fence.Entry, error) {
	s := b.stream(name)
	from = max(from, s.low)
	behind := name == schemas.StreamControl && from > s.low && !b.calm && b.dice.Intn(4) == 0
	if from > uint64(len(s.entries)) || behind {
		return nil, nil
	}
	var found []fence.Entry
	most := min(limit, 2+b.dice.Intn(7))
	for _, e := range s.entries[from-1:] {
		if e.Subject != "" && e.Seq >= s.trimmed[e.Subject] && len(found) < most {
			found = append(found, e)
		}
	}
	return found, nil
}

// Info implements fence.Log.
func (b *broker) Info(_ context.Context, name string) (fence.Info, error) {
	s := b.stream(name)
	return fence.Info{Created: s.created, First: s.low, Last: uint64(len(s.entries))}, nil
}

// Trim implements fence.Trimmer, for one subject.
func (b *broker) Trim(_ context.Context, name, subject string, seq uint64) error {
	s := b.stream(name)
	if s.heads[subject] < seq {
		b.errs = append(b.errs, fmt.Errorf("%s is trimmed below %d, its head is %d", subject, seq, s.heads[subject]))
	}
	s.trimmed[subject] = max(s.trimmed[subject], seq)
	return nil
}

// Tick implements stages.Ticker.
func (b *broker) Tick(_ context.Context, p schemas.Partition) error {
	b.stats.Ticks++
	if !b.calm && b.dice.Intn(6) == 0 {
		return nil // lost
	}
	_, err := b.put(fence.Message{Subject: p.Ticks()}, -1)
	return err
}
