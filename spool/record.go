package spool

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"iter"
)

// Record is a frame in the spool.
type Record struct {
	Lane   string // the subject that the frame goes to
	Batch  uint64 // its place among all that the lane was given: 1, 2, 3, ...
	Events int
	Source string // position in the source, as schemas.FrameHeader has it
	Time   int64  // when it was written, Unix ns
	Data   []byte // the frame's body as it is sent
}

// The limits of a record. They bound what a reader allocates for a head that it
// cannot trust.
const (
	maxLane   = 1 << 10
	maxSource = 4 << 10
	maxData   = 1 << 20
)

func (r *Record) validate() error {
	if r.Lane == "" || len(r.Lane) > maxLane || len(r.Source) > maxSource || len(r.Data) > maxData || r.Batch == 0 || r.Events < 0 {
		return fmt.Errorf("record %d of %.100q with %d events and %d bytes is none: want a lane of at most %d bytes, and at most %d bytes of data",
			r.Batch, r.Lane, r.Events, len(r.Data), maxLane, maxData)
	}
	return nil
}

// A record as it is written, little endian:
//
//	 0  magic
//	 4  CRC-32C of all between here and the data
//	 8  CRC-32C of the data
//	12  length of the data
//	16  length of the lane, then 18: of the source
//	20  events
//	24  batch
//	32  time
//	40  lane, source, data
const headBytes = 40

// recordMagic begins every record. Its first byte is not UTF-8, so that no text
// of an event looks like a record to a reader that searches for the next one
// behind a damaged one. The last is the version.
var recordMagic = []byte{0xff, 'M', 'R', 1}

// segmentMagic begins every segment.
const segmentMagic = "millrace spool 1"

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// appendRecord appends the encoding of a valid record.
func appendRecord(b []byte, r *Record) []byte {
	begin := len(b)
	b = append(b, recordMagic...)
	b = append(b, 0, 0, 0, 0)
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(r.Data, castagnoli))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(r.Data)))
	b = binary.LittleEndian.AppendUint16(b, uint16(len(r.Lane)))
	b = binary.LittleEndian.AppendUint16(b, uint16(len(r.Source)))
	b = binary.LittleEndian.AppendUint32(b, uint32(r.Events))
	b = binary.LittleEndian.AppendUint64(b, r.Batch)
	b = binary.LittleEndian.AppendUint64(b, uint64(r.Time))
	b = append(append(b, r.Lane...), r.Source...)
	binary.LittleEndian.PutUint32(b[begin+4:], crc32.Checksum(b[begin+8:], castagnoli))
	return append(b, r.Data...)
}

// parseHead reads a record's head, without its data, and tells the lengths of
// head and data.
func parseHead(b []byte) (r Record, head, data int, ok bool) {
	if len(b) < headBytes || !bytes.HasPrefix(b, recordMagic) {
		return r, 0, 0, false
	}
	n := binary.LittleEndian.Uint32(b[12:])
	lane, source := int(binary.LittleEndian.Uint16(b[16:])), int(binary.LittleEndian.Uint16(b[18:]))
	head = headBytes + lane + source
	if n > maxData || lane > maxLane || source > maxSource || len(b) < head ||
		crc32.Checksum(b[8:head], castagnoli) != binary.LittleEndian.Uint32(b[4:]) {
		return r, 0, 0, false
	}
	r = Record{
		Lane:   string(b[headBytes : headBytes+lane]),
		Source: string(b[headBytes+lane : head]),
		Events: int(binary.LittleEndian.Uint32(b[20:])),
		Batch:  binary.LittleEndian.Uint64(b[24:]),
		Time:   int64(binary.LittleEndian.Uint64(b[32:])),
	}
	return r, head, int(n), r.validate() == nil
}

// parseRecord reads the one record that b holds. Data is b's memory.
func parseRecord(b []byte) (Record, bool) {
	r, head, n, ok := parseHead(b)
	if !ok || len(b) != head+n || crc32.Checksum(b[head:], castagnoli) != binary.LittleEndian.Uint32(b[8:]) {
		return r, false
	}
	r.Data = b[head:]
	return r, true
}

// Damage is a stretch of a segment that holds no readable record.
type Damage struct {
	Segment string `json:"segment"` // name of the file
	Offset  int64  `json:"offset"`
	Length  int64  `json:"length"`
	// Tail: it reaches to the end of the segment, where a crash may have cut what
	// was not acknowledged yet.
	Tail bool `json:"tail,omitempty"`
	// What the record said of itself, if its head is whole: else Lane is "".
	Lane   string `json:"lane,omitempty"`
	Batch  uint64 `json:"batch,omitempty"`
	Events int    `json:"events,omitempty"`
	Time   int64  `json:"time,omitempty"` // Unix ns
}

func (d Damage) String() string {
	s := fmt.Sprintf("%s: bytes %d to %d are damaged", d.Segment, d.Offset, d.Offset+d.Length-1)
	if d.Lane != "" {
		s += fmt.Sprintf(": batch %d of %s with %d events", d.Batch, d.Lane, d.Events)
	}
	if d.Tail {
		s += "; the end of the segment, so a crash may have cut what was not acknowledged"
	}
	return s
}

// item is what a segment has at an offset: a record, or damage.
type item struct {
	offset, length int64
	record         Record // Data is the segment's memory
	damage         *Damage
}

// scan reads a segment from its beginning to its end. It never fails: what is no
// record is damage, and together the items cover every byte behind the magic.
func scan(name string, b []byte) iter.Seq[item] {
	return func(yield func(item) bool) {
		off := 0
		if bytes.HasPrefix(b, []byte(segmentMagic)) {
			off = len(segmentMagic)
		}
		for off < len(b) {
			r, head, n, ok := parseHead(b[off:])
			if ok && len(b)-off >= head+n {
				it := item{offset: int64(off), length: int64(head + n)}
				it.record, ok = parseRecord(b[off : off+head+n])
				if !ok {
					it.damage = &Damage{Lane: r.Lane, Batch: r.Batch, Events: r.Events, Time: r.Time}
				}
				if !give(name, len(b), it, yield) {
					return
				}
				off += head + n
				continue
			}
			d := &Damage{}
			next := nextHead(b, off+1)
			if ok { // the data is cut off
				d = &Damage{Lane: r.Lane, Batch: r.Batch, Events: r.Events, Time: r.Time}
			}
			if !give(name, len(b), item{offset: int64(off), length: int64(next - off), damage: d}, yield) {
				return
			}
			off = next
		}
	}
}

func give(name string, size int, it item, yield func(item) bool) bool {
	if d := it.damage; d != nil {
		d.Segment, d.Offset, d.Length = name, it.offset, it.length
		d.Tail = it.offset+it.length == int64(size)
	}
	return yield(it)
}

// nextHead finds the next whole head at or after from, or the end.
func nextHead(b []byte, from int) int {
	for from < len(b) {
		i := bytes.Index(b[from:], recordMagic)
		if i < 0 {
			break
		}
		if _, _, _, ok := parseHead(b[from+i:]); ok {
			return from + i
		}
		from += i + 1
	}
	return len(b)
}
