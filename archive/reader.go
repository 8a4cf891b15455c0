package archive

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"

	"github.com/dermai/millrace/fence"
)

// Record is one message as the archive gives it back.
type Record struct {
	Chain          // filled by Cat
	Seq     uint64 // in its stream
	Arrival int64  // the running maximum of the broker's timestamps, Unix ns
	Time    int64  // the broker's timestamp, Unix ns
	Subject string
	Header  fence.Header
	Payload []byte // byte for byte as it was in the stream
	// Unpacked says that Payload, of a message in a segment, is what the stream's was
	// packed from.
	Unpacked bool `json:",omitzero"`
}

// entry is the record as it was in the stream.
func (r *Record) entry() *fence.Entry {
	return &fence.Entry{Seq: r.Seq, Time: r.Time, Subject: r.Subject, Header: r.Header, Data: r.Payload}
}

// of tells whether a record, whose payload may have been unpacked, is of an entry:
// where a stream gives a sequence again, it does not give the same nanosecond with it.
func (r *Record) of(e *fence.Entry) bool {
	return r.Seq == e.Seq && r.Time == e.Time && r.Subject == e.Subject && bytes.Equal(appendHeader(nil, r.Header), appendHeader(nil, e.Header)) &&
		(r.Unpacked || bytes.Equal(r.Payload, e.Data))
}

// CorruptError says that an object is not as it was written. No retry mends it.
type CorruptError struct {
	Offset int64  // bytes from the object's beginning
	After  uint64 // the last sequence that was read whole, 0 for none
	What   string
}

func (e *CorruptError) Error() string {
	s := fmt.Sprintf("corrupt at byte %d", e.Offset)
	if e.After > 0 {
		s += fmt.Sprintf(", behind sequence %d", e.After)
	}
	return s + ": " + e.What
}

// Permanent tells that trying again is of no use.
func (e *CorruptError) Permanent() bool { return true }

// Reader reads one object, message by message, and checks it. It holds one
// message and the index at a time. It is not safe for concurrent use.
type Reader struct {
	r       *bufio.Reader
	partial bool // not from the object's beginning, or not to its end
	codec   *codec
	off     int64
	sum     hash.Hash // of the body, nil if partial
	first   uint64
	count   uint64
	ticks   uint64
	gaps    []Missing // between the messages
	rec     Record
	head    []byte
	frame   []byte
	packed  bool // rec.Payload was compressed anew
	index   *Index
	text    []byte // of the index
	hash    string
	err     error
}

// NewReader reads an object from its beginning.
func NewReader(r io.Reader) *Reader {
	return &Reader{r: bufio.NewReader(r), codec: new(codec), sum: sha256.New()}
}

// newPartialReader reads messages from offset off of an object on, and knows
// nothing of the rest. An end without an index is fine.
func newPartialReader(r io.Reader, off int64, c *codec) *Reader {
	return &Reader{r: bufio.NewReader(r), codec: c, off: off, partial: true}
}

// Next returns the next message, which is valid until the next call. io.EOF
// means that the whole object was read and is as it was written; a
// *CorruptError that it is not, and then no message of it counts; another error
// comes from what is read.
func (r *Reader) Next() (*Record, error) {
	if r.err == nil {
		r.err = r.next()
	}
	if r.err != nil {
		return nil, r.err
	}
	return &r.rec, nil
}

// Index is the object's index and Hash its hash, once Next has returned io.EOF.
func (r *Reader) Index() *Index { return r.index }

// IndexText is the index as it stands in the object: its SHA-256 is Hash.
func (r *Reader) IndexText() []byte { return r.text }

// Hash is what the next object's index names as the one before it, hex.
func (r *Reader) Hash() string { return r.hash }

func (r *Reader) corrupt(at int64, format string, args ...any) error {
	return &CorruptError{Offset: at, After: r.rec.Seq, What: fmt.Sprintf(format, args...)}
}

func (r *Reader) next() error {
	at := r.off
	head, err := r.read(r.head[:0], frameHead+1)
	r.head = head
	if err == io.EOF && len(head) == 0 && r.partial {
		return io.EOF
	}
	if err != nil {
		return r.ended(at, err)
	}
	size := int(binary.LittleEndian.Uint32(head[4:])) - 1
	kind := head[frameHead]
	limit := maxHead
	if kind == typeIndex {
		limit = maxIndex
	}
	if binary.LittleEndian.Uint32(head) != skippableMagic || size < 0 || size > limit || kind != typeMessage && kind != typeIndex {
		return r.corrupt(at, "there is neither a message nor an index")
	}
	if r.head, err = r.read(r.head, size); err != nil {
		return r.ended(at, err)
	}
	if kind == typeIndex {
		return r.finish(at, r.head[frameHead+1:])
	}
	return r.message(at)
}

// read appends n bytes to b. What is allocated grows with what is there, not
// with what a damaged length says.
func (r *Reader) read(b []byte, n int) ([]byte, error) {
	for n > 0 {
		part := min(n, 1<<20)
		b = slices.Grow(b, part)
		m, err := io.ReadFull(r.r, b[len(b):len(b)+part])
		b = b[:len(b)+m]
		r.off += int64(m)
		n -= m
		if err != nil {
			return b, err
		}
	}
	return b, nil
}

func (r *Reader) ended(at int64, err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return r.corrupt(at, "the object is cut off")
	}
	return fmt.Errorf("read object at byte %d: %w", r.off, err)
}

// message reads what follows a message's head frame, which is in r.head.
func (r *Reader) message(at int64) error {
	h := r.head
	if len(h) < frameHead+5 || checksum(h[frameHead:len(h)-4]) != binary.LittleEndian.Uint32(h[len(h)-4:]) {
		return r.corrupt(at, "a message's head does not have its checksum")
	}
	f := fields{b: h[frameHead+1 : len(h)-4]}
	rec := Record{}
	flags := f.uvarint()
	rec.Seq = f.uvarint()
	rec.Arrival = f.varint()
	rec.Time = f.varint()
	rec.Subject = f.string()
	rec.Header = f.header()
	size := f.uvarint()
	stored := f.uvarint()
	crc := f.uint32()
	packed := flags&flagPacked != 0
	switch {
	case f.bad || len(f.b) != 0:
		return r.corrupt(at, "a message's head is not well formed")
	case flags&^(flagPacked|flagNewline) != 0:
		return r.corrupt(at, "a message's head has the unknown flags %#x", flags)
	case rec.Seq <= r.rec.Seq:
		return r.corrupt(at, "sequence %d comes after %d", rec.Seq, r.rec.Seq)
	case rec.Arrival < rec.Time || r.count > 0 && rec.Arrival != max(r.rec.Arrival, rec.Time):
		return r.corrupt(at, "the arrival of sequence %d is not the running maximum", rec.Seq)
	case size > maxPayload, !packed && size != stored, packed && size == 0, stored > maxPayload+maxPayload/128+64:
		return r.corrupt(at, "sequence %d has %d bytes of payload in %d", rec.Seq, size, stored)
	}
	frameAt := r.off
	var err error
	if r.frame, err = r.read(r.frame[:0], int(stored)); err != nil {
		return r.ended(frameAt, err)
	}
	if checksum(r.frame) != crc {
		return r.corrupt(frameAt, "the payload of sequence %d does not have its checksum", rec.Seq)
	}
	rec.Payload = r.frame
	if packed {
		if rec.Payload, err = r.codec.unpack(r.frame, int(size)); err != nil {
			return r.corrupt(frameAt, "the payload of sequence %d: %v", rec.Seq, err)
		}
	}
	if r.sum != nil {
		r.sum.Write(r.head)
		r.sum.Write(r.frame)
	}
	if flags&flagNewline != 0 {
		newlineAt := r.off
		b, err := r.read(r.head[:0], len(newlineFrame))
		if err != nil {
			return r.ended(newlineAt, err)
		}
		if string(b) != newlineFrame {
			return r.corrupt(newlineAt, "there is no newline behind sequence %d", rec.Seq)
		}
		if r.sum != nil {
			r.sum.Write(b)
		}
	}
	if r.count > 0 && !r.partial && rec.Seq > r.rec.Seq+1 {
		if len(r.gaps) == maxIndex/32 {
			return r.corrupt(at, "there are more gaps than an index can hold")
		}
		r.gaps = append(r.gaps, Missing{From: r.rec.Seq + 1, To: rec.Seq - 1})
	}
	if r.count == 0 {
		r.first = rec.Seq
	}
	r.rec, r.packed = rec, packed
	r.count++
	if size == 0 {
		r.ticks++
	}
	return nil
}

// finish reads the end of an object behind the index b and checks the index
// against what was read.
func (r *Reader) finish(at int64, b []byte) error {
	endAt := r.off
	end, err := r.read(nil, locatorSize)
	if err != nil {
		return r.ended(endAt, err)
	}
	off, hash, err := parseLocator(end)
	if err != nil {
		return r.corrupt(endAt, "%v", err)
	}
	if off != at {
		return r.corrupt(endAt, "the index is at byte %d, but the locator names %d", at, off)
	}
	x, err := parseIndex(b, hash)
	if err != nil {
		return r.corrupt(at, "%v", err)
	}
	if more, err := r.read(nil, 1); err == nil || len(more) > 0 {
		return r.corrupt(r.off-1, "there are bytes behind the object's end")
	} else if err != io.EOF {
		return r.ended(r.off, err)
	}
	if !r.partial {
		if body := sum(r.sum); body != x.Body {
			return r.corrupt(0, "the body's hash is %.12s…, but the index says %.12s…", body, x.Body)
		}
		if what := r.differs(x); what != "" {
			return r.corrupt(at, "the index does not tell the truth about %s", what)
		}
	}
	r.index, r.text, r.hash = x, bytes.Clone(b), hash
	return io.EOF
}

// readable tells whether the message just read decodes to text.
func (r *Reader) readable() bool {
	if r.packed || len(r.rec.Payload) == 0 {
		return true // decoded already, or nothing to decode
	}
	_, ok := r.codec.frame(r.rec.Payload)
	return ok
}

// differs names what an index says otherwise than the messages that were read.
func (r *Reader) differs(x *Index) string {
	switch {
	case x.Count != r.count || x.Ticks != r.ticks:
		return "the number of messages"
	case r.count > 0 && (x.ArrivalTo != r.rec.Arrival || x.Message != markOf(r.rec.entry())):
		return "the last message"
	case r.count == 0 && x.ArrivalTo != x.ArrivalFrom:
		return "the arrivals"
	case r.count > 0 && (r.first < x.First || r.rec.Seq > x.Last):
		return "the sequences that it covers"
	}
	// The gaps, from the index's first to its last sequence.
	gaps := []Missing{{From: x.First, To: x.Last}}
	if r.count > 0 {
		gaps[0].To = r.first - 1
		gaps = append(append(gaps, r.gaps...), Missing{From: r.rec.Seq + 1, To: x.Last})
	}
	gaps = slices.DeleteFunc(gaps, func(m Missing) bool { return m.To < m.From })
	var missing []Missing // of the index, without reasons, neighbours joined
	for _, m := range x.Missing {
		if n := len(missing); n > 0 && missing[n-1].To+1 == m.From {
			missing[n-1].To = m.To
		} else {
			missing = append(missing, Missing{From: m.From, To: m.To})
		}
	}
	if !slices.Equal(gaps, missing) {
		return "the missing sequences"
	}
	return ""
}

// fields takes a message's head apart.
type fields struct {
	b   []byte
	bad bool
}

func (f *fields) uvarint() uint64 {
	v, n := binary.Uvarint(f.b)
	f.skip(n)
	return v
}

func (f *fields) varint() int64 {
	v, n := binary.Varint(f.b)
	f.skip(n)
	return v
}

func (f *fields) skip(n int) {
	if n <= 0 {
		f.bad, f.b = true, nil
		return
	}
	f.b = f.b[n:]
}

func (f *fields) string() string {
	n := f.uvarint()
	if n > uint64(len(f.b)) {
		f.bad = true
		return ""
	}
	s := string(f.b[:n])
	f.b = f.b[n:]
	return s
}

func (f *fields) header() fence.Header {
	n := f.uvarint()
	if n == 0 {
		return nil
	}
	h := fence.Header{}
	last := ""
	for i := range n {
		name := f.string()
		if i > 0 && name <= last {
			f.bad = true // each name once, in order: one way to write a header
		}
		if f.bad {
			return nil
		}
		last = name
		h[name] = f.string()
	}
	return h
}

func (f *fields) uint32() uint32 {
	if len(f.b) < 4 {
		f.bad = true
		return 0
	}
	v := binary.LittleEndian.Uint32(f.b)
	f.b = f.b[4:]
	return v
}

// equal tells whether two records are the same message with the same arrival.
func (r *Record) equal(s *Record) bool {
	return r.Arrival == s.Arrival && r.Seq == s.Seq && r.Time == s.Time && r.Subject == s.Subject &&
		bytes.Equal(r.Payload, s.Payload) && bytes.Equal(appendHeader(nil, r.Header), appendHeader(nil, s.Header))
}
