package engine

import (
	"encoding/binary"
	"maps"
	"math"
	"slices"

	"github.com/dermai/millrace/schemas"
)

// packed is a fold without its evidence, or what an exhibit keeps of its evidence, in as
// few bytes as it needs: a window has one for each pane of each group. It never leaves
// the process, and is not checked when it is read.
type packed string

// What a packed fold has behind its number of samples.
const (
	hasHits = 1 << iota
	hasSum
	hasMin
	hasMax
	hasLast
	hasBuckets
)

func pack(f *schemas.Fold) packed {
	has := byte(0)
	b := make([]byte, 0, 64+3*len(f.Buckets))
	b = binary.AppendVarint(b, f.N)
	at := len(b)
	b = append(b, 0)
	if f.Hits != 0 {
		has |= hasHits
		b = binary.AppendVarint(b, f.Hits)
	}
	if f.Sum != nil {
		has |= hasSum
		b = binary.LittleEndian.AppendUint64(b, uint64(f.Sum.Hi))
		b = binary.LittleEndian.AppendUint64(b, f.Sum.Lo)
	}
	if f.Min != nil {
		has |= hasMin
		b = appendFloat(b, *f.Min)
	}
	if f.Max != nil {
		has |= hasMax
		b = appendFloat(b, *f.Max)
	}
	if f.Last != nil {
		has |= hasLast
		b = appendOrder(b, f.Last.Order)
		b = appendFloat(b, f.Last.Value)
	}
	if len(f.Buckets) > 0 {
		has |= hasBuckets
		b = binary.AppendUvarint(b, uint64(len(f.Buckets)))
		before := int32(0)
		for _, q := range f.Buckets {
			b = binary.AppendVarint(b, int64(q.Index)-int64(before))
			b = binary.AppendVarint(b, q.Count)
			before = q.Index
		}
	}
	b[at] = has
	return packed(b)
}

// unpack shares nothing with the packed fold. It may reuse the array of room.
func (p packed) unpack(room []schemas.Bucket) (f schemas.Fold) {
	r := reader(p)
	f.N = r.varint()
	has := r[0]
	r = r[1:]
	if has&hasHits != 0 {
		f.Hits = r.varint()
	}
	if has&hasSum != 0 {
		f.Sum = &schemas.Fixed{Hi: int64(r.word()), Lo: r.word()}
	}
	if has&hasMin != 0 {
		f.Min = new(r.float())
	}
	if has&hasMax != 0 {
		f.Max = new(r.float())
	}
	if has&hasLast != 0 {
		f.Last = &schemas.Last{Order: r.order(), Value: r.float()}
	}
	if has&hasBuckets != 0 {
		n := int(r.uvarint())
		f.Buckets = slices.Grow(room[:0], n)[:n]
		index := int64(0)
		for i := range f.Buckets {
			index += r.varint()
			f.Buckets[i] = schemas.Bucket{Index: int32(index), Count: r.varint()}
		}
	}
	return f
}

// packEvidence keeps of evidence what its exhibit does not say already.
func packEvidence(ev *schemas.Evidence) packed {
	b := make([]byte, 0, 128)
	b = appendText(b, ev.ID)
	b = appendText(b, ev.Trace)
	b = binary.AppendUvarint(b, uint64(len(ev.Fields)))
	for _, name := range slices.Sorted(maps.Keys(ev.Fields)) {
		b = appendText(b, name)
		b = appendText(b, ev.Fields[name])
	}
	return packed(b)
}

func (p packed) unpackEvidence() (ev schemas.Evidence) {
	r := reader(p)
	ev.ID, ev.Trace = r.text(), r.text()
	if n := r.uvarint(); n > 0 {
		ev.Fields = make(map[string]string, n)
		for range n {
			name := r.text()
			ev.Fields[name] = r.text()
		}
	}
	return ev
}

func appendFloat(b []byte, v float64) []byte {
	return binary.LittleEndian.AppendUint64(b, math.Float64bits(v))
}

func appendOrder(b []byte, o schemas.Order) []byte {
	b = binary.AppendVarint(b, o.Time)
	b = binary.AppendVarint(b, int64(o.Partition))
	b = binary.AppendUvarint(b, o.Seq)
	return binary.AppendUvarint(b, uint64(o.Index))
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// reader reads what was packed in this process, and so finds no mistakes.
type reader []byte

func (r *reader) varint() int64 {
	v, n := binary.Varint(*r)
	*r = (*r)[n:]
	return v
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(*r)
	*r = (*r)[n:]
	return v
}

func (r *reader) word() uint64 {
	v := binary.LittleEndian.Uint64(*r)
	*r = (*r)[8:]
	return v
}

func (r *reader) float() float64 { return math.Float64frombits(r.word()) }

func (r *reader) order() schemas.Order {
	return schemas.Order{
		Time: r.varint(), Partition: schemas.Partition(r.varint()), Seq: r.uvarint(), Index: int(r.uvarint()),
	}
}

func (r *reader) text() string {
	n := r.uvarint()
	s := string((*r)[:n])
	*r = (*r)[n:]
	return s
}
