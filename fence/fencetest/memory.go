// Package fencetest is what tests of a fenced log need: a log in memory that
// breaks on demand, and the contract of fence.Log as a test.
//
// The invariant: Memory does nothing by itself. Everything that happens to a
// message is decided by its hooks and by calls, so that a simulation with a
// seed is the same each time.
package fencetest

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/schemas"
)

// Fault is what becomes of one append.
type Fault int

// The faults. A message that meets a refusal by the fence is refused whatever
// the fault says, except that its answer may be lost.
const (
	None       Fault = iota
	LoseAppend       // never arrives; outcome unknown
	LoseAnswer       // arrives; outcome unknown
	Delay            // arrives when Deliver is called; outcome unknown
	Refuse           // refused without a sequence, as a replicated stream does
	Full             // refused for want of room
)

// Memory is a fence.Log in memory. The zero value is empty, has every stream
// of Millrace and no limit. It is not safe for concurrent use.
type Memory struct {
	// Clock gives the timestamps, Unix ns. nil: one more millisecond each time.
	Clock func() int64
	// Fault is asked once an append. nil: None.
	Fault func(m fence.Message) Fault
	// Stale is asked once a Head: how many messages of the subject it lags. nil: 0.
	Stale func(subject string) int
	// ReadLimit hides what was stored last: Read gives nothing from this sequence
	// of the stream on. nil, or a result of 0: nothing is hidden.
	ReadLimit func(stream string) uint64
	// MaxBytes of each stream, counted as subjects, headers and data. 0: no limit.
	MaxBytes int

	streams map[string]*stream
	delayed []delayed
	now     int64
}

type stream struct {
	created int64
	entries []fence.Entry // ascending
	last    uint64
	bytes   int
}

type delayed struct {
	message fence.Message
	prev    uint64
}

var (
	_ fence.Log     = (*Memory)(nil)
	_ fence.Trimmer = (*Memory)(nil)
)

func (l *Memory) clock() int64 {
	if l.Clock != nil {
		return l.Clock()
	}
	l.now += 1e6
	return l.now
}

func (l *Memory) stream(name string) *stream {
	s := l.streams[name]
	if s == nil {
		if l.streams == nil {
			l.streams = map[string]*stream{}
		}
		s = &stream{created: l.clock()}
		l.streams[name] = s
	}
	return s
}

// size counts a message as MaxBytes does.
func size(subject string, h fence.Header, data []byte) int {
	n := len(subject) + len(data)
	for k, v := range h {
		n += len(k) + len(v)
	}
	return n
}

// Append implements fence.Log.
func (l *Memory) Append(ctx context.Context, m fence.Message, prev uint64) (uint64, error) {
	if err := ctx.Err(); err != nil {
		return 0, fmt.Errorf("append to %s: %w: %w", m.Subject, fence.ErrUnknown, err)
	}
	fault := None
	if l.Fault != nil {
		fault = l.Fault(m)
	}
	switch fault {
	case LoseAppend:
		return 0, fmt.Errorf("append to %s: %w", m.Subject, fence.ErrUnknown)
	case Delay:
		l.delayed = append(l.delayed, delayed{clone(m), prev})
		return 0, fmt.Errorf("append to %s: %w", m.Subject, fence.ErrUnknown)
	case Refuse:
		return 0, &fence.RefusedError{Subject: m.Subject, Prev: prev, Unnamed: true}
	case Full:
		return 0, fmt.Errorf("append to %s: %w", m.Subject, fence.ErrFull)
	}
	seq, err := l.store(m, prev)
	if fault == LoseAnswer {
		return 0, fmt.Errorf("append to %s: %w", m.Subject, fence.ErrUnknown)
	}
	return seq, err
}

func clone(m fence.Message) fence.Message {
	return fence.Message{Subject: m.Subject, Header: maps.Clone(m.Header), Data: slices.Clone(m.Data)}
}

// store appends behind the fence.
func (l *Memory) store(m fence.Message, prev uint64) (uint64, error) {
	name := schemas.StreamOf(m.Subject)
	if name == "" {
		return 0, fmt.Errorf("append to %s: the subject belongs to no stream of Millrace", m.Subject)
	}
	s := l.stream(name)
	last := uint64(0)
	if e := s.head(m.Subject, 0); e != nil {
		last = e.Seq
	}
	if last != prev {
		return 0, &fence.RefusedError{Subject: m.Subject, Prev: prev, Last: last}
	}
	n := size(m.Subject, m.Header, m.Data)
	if l.MaxBytes > 0 && s.bytes+n > l.MaxBytes {
		return 0, fmt.Errorf("append to %s: %w", m.Subject, fence.ErrFull)
	}
	return s.add(clone(m), l.clock(), n), nil
}

func (s *stream) add(m fence.Message, now int64, n int) uint64 {
	s.last++
	s.bytes += n
	s.entries = append(s.entries, fence.Entry{Seq: s.last, Time: now, Subject: m.Subject, Header: m.Header, Data: m.Data})
	return s.last
}

// head finds the last message of a subject, or the one that is lag before it.
func (s *stream) head(subject string, lag int) *fence.Entry {
	var found *fence.Entry
	for i := len(s.entries) - 1; i >= 0; i-- {
		if s.entries[i].Subject != subject {
			continue
		}
		found = &s.entries[i]
		if lag--; lag < 0 {
			break
		}
	}
	return found
}

// Put stores a message without a fence, as a foreign client does. It asks no
// hook but the clock.
func (l *Memory) Put(m fence.Message) uint64 {
	return l.stream(schemas.StreamOf(m.Subject)).add(clone(m), l.clock(), size(m.Subject, m.Header, m.Data))
}

// Deliver lets the delayed append number i arrive, and tells whether it was
// stored. It panics if there is none.
func (l *Memory) Deliver(i int) bool {
	d := l.delayed[i]
	l.delayed = slices.Delete(l.delayed, i, i+1)
	_, err := l.store(d.message, d.prev)
	return err == nil
}

// Delayed is the number of appends that have not arrived.
func (l *Memory) Delayed() int { return len(l.delayed) }

// Head implements fence.Log.
func (l *Memory) Head(ctx context.Context, subject string) (fence.Entry, error) {
	if err := ctx.Err(); err != nil {
		return fence.Entry{}, fmt.Errorf("head of %s: %w", subject, err)
	}
	lag := 0
	if l.Stale != nil {
		lag = l.Stale(subject)
	}
	e := l.stream(schemas.StreamOf(subject)).head(subject, lag)
	if e == nil {
		return fence.Entry{}, fmt.Errorf("head of %s: %w", subject, fence.ErrNoHead)
	}
	return *e, nil
}

// Read implements fence.Log.
func (l *Memory) Read(ctx context.Context, name string, from uint64, most int) ([]fence.Entry, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	s := l.stream(name)
	if from > s.last+1 {
		return nil, fmt.Errorf("read %s from %d: it ends at %d: %w", name, from, s.last, fence.ErrRewound)
	}
	limit := uint64(0)
	if l.ReadLimit != nil {
		limit = l.ReadLimit(name)
	}
	start, _ := slices.BinarySearchFunc(s.entries, from, func(e fence.Entry, seq uint64) int {
		return int(min(1, max(-1, int64(e.Seq)-int64(seq))))
	})
	var out []fence.Entry
	for _, e := range s.entries[start:] {
		if len(out) >= most || limit > 0 && e.Seq >= limit {
			break
		}
		out = append(out, e)
	}
	return out, nil
}

// Info implements fence.Log.
func (l *Memory) Info(ctx context.Context, name string) (fence.Info, error) {
	if err := ctx.Err(); err != nil {
		return fence.Info{}, fmt.Errorf("extent of %s: %w", name, err)
	}
	s := l.stream(name)
	info := fence.Info{Created: s.created, First: s.last + 1, Last: s.last}
	if len(s.entries) > 0 {
		info.First = s.entries[0].Seq
	}
	return info, nil
}

// Trim implements fence.Trimmer.
func (l *Memory) Trim(ctx context.Context, name, subject string, seq uint64) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("trim %s: %w", name, err)
	}
	s := l.stream(name)
	s.remove(func(e fence.Entry) bool { return e.Seq < seq && (subject == "" || e.Subject == subject) })
	return nil
}

func (s *stream) remove(gone func(fence.Entry) bool) {
	s.entries = slices.DeleteFunc(s.entries, func(e fence.Entry) bool {
		if !gone(e) {
			return false
		}
		s.bytes -= size(e.Subject, e.Header, e.Data)
		return true
	})
}

// Rewind loses what was stored after a sequence, which the stream then gives
// again: what a broker does after it lost its tail.
func (l *Memory) Rewind(name string, last uint64) {
	s := l.stream(name)
	s.remove(func(e fence.Entry) bool { return e.Seq > last })
	s.last = min(s.last, last)
}

// Recreate loses a stream and makes an empty one of the same name.
func (l *Memory) Recreate(name string) {
	delete(l.streams, name)
	l.stream(name)
}
