package backtest

import (
	"context"
	"errors"
	"fmt"

	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/rules/engine"
	"github.com/dermai/millrace/schemas"
	"github.com/dermai/millrace/stages"
)

// ahead is how many batches a partition is read ahead of the decisions.
const ahead = 8

// lane folds a partition, ahead of the decisions, in a goroutine of its own.
type lane struct {
	partition schemas.Partition
	source    Source
	schedule  *engine.Schedule
	since     int64 // arrival, Unix ns
	until     int64 // the last tick of interest

	passed int64 // ticks up to here miss nothing; of the side that decides
	out    chan batch
}

// batch is what some messages of a partition add up to.
type batch struct {
	rows             []schemas.Row
	losses           []schemas.Loss
	passed           int64
	messages, events int64
	missing          []Missing // of the stream, up to the first of the next batch
	err              error
}

// run reads until the ticks of interest have passed, or to the end.
func (l *lane) run(ctx context.Context) {
	defer close(l.out)
	if err := l.read(ctx); err != nil && ctx.Err() == nil {
		l.send(ctx, batch{err: err})
	}
}

func (l *lane) send(ctx context.Context, b batch) bool {
	select {
	case l.out <- b:
		return true
	case <-ctx.Done():
		return false
	}
}

func (l *lane) read(ctx context.Context) error {
	timing := l.schedule.Timing()
	reducer := engine.NewReducer(l.schedule, l.partition)
	tick := l.passed + 1 // arrival tick of what is folded
	var b batch
	cut := func() bool {
		part := reducer.Cut()
		b.rows, b.losses, b.events, b.passed = part.Rows, part.Losses, part.Events, tick-1
		ok := l.send(ctx, b)
		b = batch{}
		return ok
	}
	next := uint64(0)
	for r, err := range l.source.Messages(ctx, l.partition.Stream(), l.since) {
		if err != nil {
			return fmt.Errorf("read %s: %w", l.partition.Stream(), err)
		}
		if next == 0 {
			if err := l.reaches(ctx, r.Seq, r.Arrival); err != nil {
				return err
			}
			next = r.Seq
			reducer.Resume(schemas.Position{Seq: r.Seq - 1}, l.schedule.Floor(l.partition))
		}
		arrival := max(r.Arrival, l.schedule.Floor(l.partition))
		settled := reducer.Arrive(r.Seq, arrival, r.Header)
		if r.Seq > next { // known with the ticks that are decided without them
			b.missing = append(b.missing, Missing{l.partition.Stream(), next, r.Seq - 1})
			if !settled {
				break
			}
		}
		next = r.Seq + 1
		if at := timing.Arrival(arrival); at > tick {
			tick = at
			if !cut() || tick > l.until {
				return nil
			}
		}
		b.messages++
		if !settled {
			return errors.New("backtest: a tick beyond the control log is of interest")
		}
		e := fence.Entry{Seq: r.Seq, Time: r.Time, Subject: r.Subject, Header: r.Header, Data: r.Payload}
		for i, event := range stages.Events(e, !r.Unpacked, l.partition, arrival) {
			reducer.Fold(i, event)
		}
	}
	cut()
	return nil
}

// reaches looks whether anything is missing before the first message that was
// found.
func (l *lane) reaches(ctx context.Context, seq uint64, arrival int64) error {
	if seq == 1 {
		return nil
	}
	switch ok, err := l.source.Has(ctx, l.partition.Stream(), seq-1); {
	case err != nil:
		return fmt.Errorf("read %s: %w", l.partition.Stream(), err)
	case ok:
		return nil
	}
	return &UnknownError{Stream: l.partition.Stream(), Begins: arrival, Needed: l.since}
}
