package stages

import (
	"fmt"
	"iter"
	"time"

	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/schemas"
)

// frame is a stored message on its way through a reducer.
type frame struct {
	entry   fence.Entry
	id      string
	subject schemas.Subject
	lines   [][]byte
	index   int   // next line
	bad     error // the message as a whole cannot be read
}

// open decodes a stored message, of which the first consumed lines are done.
func open(e fence.Entry, consumed int) frame {
	f := decode(e, true)
	f.id, f.index = schemas.FrameID(e.Time, e.Subject, e.Data), consumed
	return f
}

// decode takes a stored message apart; packed: its data may be.
func decode(e fence.Entry, packed bool) frame {
	f := frame{entry: e}
	body := e.Data
	if f.subject, f.bad = schemas.ParseSubject(e.Subject); f.bad == nil && packed {
		body, f.bad = schemas.Unpack(nil, e.Data, schemas.FrameDecoded)
	}
	if f.bad != nil {
		f.lines = [][]byte{e.Data}
		return f
	}
	for _, line := range schemas.Lines(body) {
		f.lines = append(f.lines, line)
	}
	return f
}

func (f *frame) done() bool { return f.index >= len(f.lines) }
func (f *frame) advance()   { f.index++ }

// event decodes the next line, whose index it gives. The error is the author's:
// the line is for the quarantine, and the event is nil.
func (f *frame) event(p schemas.Partition, arrival int64) (int, *schemas.Event, error) {
	if f.bad != nil {
		return f.index, nil, f.bad
	}
	e, err := schemas.Decode(f.lines[f.index], schemas.Origin{
		Kind: f.subject.Kind, Service: f.subject.Service,
		Arrival: arrival, Stream: p.Stream(), Seq: f.entry.Seq, Index: f.index,
	})
	if err != nil {
		return f.index, nil, err
	}
	return f.index, &e, nil
}

// Events gives the events of a stored message with their indexes, as a reducer
// of the partition folds them; nil for a line that goes to the quarantine. arrival
// is the running maximum of the partition's timestamps, Unix ns. packed: the data
// is as it was stored, and not unpacked yet.
func Events(e fence.Entry, packed bool, p schemas.Partition, arrival int64) iter.Seq2[int, *schemas.Event] {
	return func(yield func(int, *schemas.Event) bool) {
		for f := decode(e, packed); !f.done(); f.advance() {
			index, event, _ := f.event(p, arrival)
			if !yield(index, event) {
				return
			}
		}
	}
}

// quarantined describes the line at index, or the whole message where that is
// what cannot be read.
func (f *frame) quarantined(stream string, index int, reason error) schemas.Quarantined {
	data := f.lines[index]
	if f.bad != nil {
		index = -1
	}
	return schemas.Quarantined{
		ID:       fmt.Sprintf("%s/%d/%d", stream, f.entry.Seq, index),
		Stage:    schemas.StageReduce,
		Reason:   reason.Error(),
		Stream:   stream,
		Seq:      f.entry.Seq,
		Index:    index,
		Data:     data[:min(len(data), schemas.QuarantineBytes)],
		Size:     len(data),
		Subject:  f.entry.Subject,
		Arrival:  f.entry.Time,
		Redriven: schemas.RedrivenTimes(f.entry.Header),
	}
}

func stamp(ns int64) string { return time.Unix(0, ns).UTC().Format(time.RFC3339Nano) }
