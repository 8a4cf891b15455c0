package archive

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"hash/crc32"
	"io"

	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/internal/chaos"
	"github.com/go-json-experiment/json"
)

// Flags of a message's head.
const (
	flagPacked  = 1 << iota // the frame's content is the payload; otherwise the frame itself is
	flagNewline             // a newline frame follows, which is not part of the payload
)

// offsetEvery is how far apart the index's offsets are at least, in bytes.
const offsetEvery = 1 << 20

// Writer writes one object. It holds one message at a time and the index. It is
// not safe for concurrent use, and of no use after an error.
type Writer struct {
	w     io.Writer
	codec *codec
	x     Index
	name  Name
	last  *fence.Entry // the last message written
	off   int64
	sum   hash.Hash
	head  []byte
}

// NewWriter begins the next object of a chain on w.
func NewWriter(w io.Writer, tip Tip) *Writer { return newWriter(w, tip, new(codec)) }

func newWriter(w io.Writer, tip Tip, c *codec) *Writer {
	return &Writer{w: w, codec: c, name: tip.Name, sum: sha256.New(), x: Index{
		Format: 1, Class: tip.Class, Stream: tip.Stream, Epoch: tip.Epoch.String(), Day: tip.Day,
		First: tip.First, Last: tip.First - 1,
		ArrivalFrom: tip.Arrival, ArrivalTo: tip.Arrival, Message: tip.Message, Prev: tip.Hash,
	}}
}

// Next is the sequence that Write or Miss must go on with.
func (w *Writer) Next() uint64 { return w.x.Last + 1 }

// Len is the size that the object has so far, in bytes, with an estimate of its
// index.
func (w *Writer) Len() int64 { return w.off + 64*int64(len(w.x.Missing)) }

// day is the day of arrival that a message with a time would have.
func (w *Writer) day(t int64) string {
	// A broker whose clock is before the stream's creation does not turn back days.
	return max(w.x.Day, dayOf(max(w.x.ArrivalTo, t)))
}

// Mark identifies the last message of the chain.
func (w *Writer) Mark() Mark {
	if w.last != nil {
		w.x.Message = markOf(w.last)
		w.last = nil
	}
	return w.x.Message
}

// Write appends a message, which must be the next of its stream and have arrived
// on the object's day. It keeps e until the next call.
func (w *Writer) Write(e *fence.Entry) error {
	switch {
	case e.Seq != w.Next():
		return fmt.Errorf("write sequence %d: the next one is %d", e.Seq, w.Next())
	case len(e.Data) > maxPayload:
		return fmt.Errorf("write sequence %d: %d bytes of payload, at most %d", e.Seq, len(e.Data), maxPayload)
	case w.day(e.Time) != w.x.Day:
		return fmt.Errorf("write sequence %d: it arrived on %s and the object is of %s", e.Seq, w.day(e.Time), w.x.Day)
	}
	arrival := max(w.x.ArrivalTo, e.Time)
	var frame []byte
	var flags uint64
	if len(e.Data) > 0 {
		var packed, newline bool
		frame, packed, newline = w.codec.stored(e.Data)
		if packed {
			flags |= flagPacked
		}
		if newline {
			flags |= flagNewline
		}
	}

	b := append(w.head[:0], make([]byte, frameHead)...)
	b = append(b, typeMessage)
	b = binary.AppendUvarint(b, flags)
	b = binary.AppendUvarint(b, e.Seq)
	b = binary.AppendVarint(b, arrival)
	b = binary.AppendVarint(b, e.Time)
	b = appendString(b, e.Subject)
	b = appendHeader(b, e.Header)
	b = binary.AppendUvarint(b, uint64(len(e.Data)))
	b = binary.AppendUvarint(b, uint64(len(frame)))
	b = binary.LittleEndian.AppendUint32(b, checksum(frame))
	b = binary.LittleEndian.AppendUint32(b, checksum(b[frameHead:]))
	appendSkippable(b[:0], len(b)-frameHead)
	if len(b)-frameHead > maxHead {
		return fmt.Errorf("write sequence %d: %d bytes of subject and headers, at most %d", e.Seq, len(b), maxHead)
	}
	w.head = b

	if n := len(w.x.Offsets); n == 0 || w.off-w.x.Offsets[n-1].Offset >= offsetEvery {
		w.x.Offsets = append(w.x.Offsets, Offset{e.Seq, arrival, w.off})
	}
	w.x.Last, w.x.ArrivalTo, w.last = e.Seq, arrival, e
	w.x.Count++
	if len(e.Data) == 0 {
		w.x.Ticks++
	}
	parts := [][]byte{b, frame, nil}
	if flags&flagNewline != 0 {
		parts[2] = []byte(newlineFrame)
	}
	for _, p := range parts {
		if err := w.write(p); err != nil {
			return fmt.Errorf("write sequence %d: %w", e.Seq, err)
		}
	}
	return nil
}

func (w *Writer) write(b []byte) error {
	n, err := w.w.Write(b)
	w.off += int64(n)
	w.sum.Write(b)
	return err
}

// Miss records that the sequences up to and including to are missing.
func (w *Writer) Miss(to uint64, reason string) error {
	if to < w.Next() {
		return fmt.Errorf("record missing sequences up to %d: the next one is %d", to, w.Next())
	}
	w.x.Missing = append(w.x.Missing, Missing{w.Next(), to, reason})
	w.x.Last = to
	return nil
}

// Close writes the index. nextDay is the day of the next message if it is known
// to be later than the object's, otherwise "". Close does not close what is
// written to. It returns the chain's end after the object.
func (w *Writer) Close(nextDay string) (Tip, error) {
	w.Mark()
	w.x.NextDay = nextDay
	w.x.Body = sum(w.sum)
	index, err := json.Marshal(&w.x)
	if err == nil && len(index) > maxIndex {
		err = fmt.Errorf("%d bytes of index, at most %d", len(index), maxIndex)
	}
	if err != nil {
		return Tip{}, fmt.Errorf("close object: %w", err)
	}
	b := appendSkippable(nil, 1+len(index))
	b = append(b, typeIndex)
	b = append(b, index...)
	b = appendLocator(b, index, w.off)
	if _, err := w.w.Write(b); err != nil {
		return Tip{}, fmt.Errorf("close object: %w", err)
	}
	h := sha256.Sum256(index)
	if chaos.Bug("L0 key by last sequence") {
		w.name.First = w.x.Last
	}
	return tipAfter(w.name, &w.x, fmt.Sprintf("%x", h)), nil
}

func checksum(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }
