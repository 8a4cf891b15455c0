package archive

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"maps"
	"slices"

	"github.com/dermai/millrace/fence"
	"github.com/go-json-experiment/json"
)

// Index is the last part of an object: what it covers, and how it hangs in its
// chain. Fields are only ever added.
type Index struct {
	Format int    `json:"format"` // 1
	Class  string `json:"class"`
	Stream string `json:"stream"`
	Epoch  string `json:"epoch"`
	Day    string `json:"day"`
	// First and Last are the sequences that the object covers, Last = First-1 when
	// it only ends a day.
	First uint64 `json:"first"`
	Last  uint64 `json:"last"`
	Count uint64 `json:"count"` // messages in it, ticks too
	Ticks uint64 `json:"ticks,omitzero"`
	// Missing are the covered sequences that the stream no longer had, ascending.
	Missing []Missing `json:"missing,omitempty"`
	// ArrivalFrom and ArrivalTo are the running maximum of the broker's timestamps
	// before First and at Last, Unix ns.
	ArrivalFrom int64 `json:"arrival_from"`
	ArrivalTo   int64 `json:"arrival_to"`
	// Message is the last message in the chain up to here.
	Message Mark `json:"message"`
	// NextDay, if set, is the day of the next object; otherwise it has this Day.
	NextDay string `json:"next_day,omitempty"`
	// Prev is the hash of the object before, "" for a stream's first; for the first
	// of a later generation or a lost tail, of the last object of the generation before.
	Prev string `json:"prev,omitempty"`
	Body string `json:"body"` // SHA-256 of the bytes before the index, hex
	// Offsets leads into the object: its first message, and one about every
	// mebibyte.
	Offsets []Offset `json:"offsets,omitempty"`
}

// Missing is a range of sequences without messages.
type Missing struct {
	From   uint64 `json:"from"`
	To     uint64 `json:"to"`
	Reason string `json:"reason"` // see the Missing constants
}

// Why sequences are missing.
const (
	MissingExpired    = "expired"    // below the stream's first message before they were archived
	MissingDeleted    = "deleted"    // removed from the middle of the stream
	MissingGeneration = "generation" // in a generation before, since there the stream held the same
)

// Mark identifies a message. The zero Mark is none.
type Mark struct {
	Seq uint64 `json:"seq"`
	ID  string `json:"id"` // SHA-256 of all that the stream holds of it, hex
}

// Offset tells where a message begins.
type Offset struct {
	Seq     uint64 `json:"seq"`
	Arrival int64  `json:"arrival"` // Unix ns
	Offset  int64  `json:"offset"`  // bytes from the object's beginning
}

// markOf identifies an entry of a stream.
func markOf(e *fence.Entry) Mark {
	h := sha256.New()
	var b []byte
	b = binary.AppendUvarint(b, e.Seq)
	b = binary.AppendVarint(b, e.Time)
	b = appendString(b, e.Subject)
	b = appendHeader(b, e.Header)
	h.Write(b)
	h.Write(e.Data)
	return Mark{e.Seq, sum(h)}
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendHeader(b []byte, h fence.Header) []byte {
	b = binary.AppendUvarint(b, uint64(len(h)))
	for _, name := range slices.Sorted(maps.Keys(h)) {
		b = appendString(appendString(b, name), h[name])
	}
	return b
}

func sum(h hash.Hash) string { return hex.EncodeToString(h.Sum(nil)) }

// Tip is the end of a chain, from which the next object's key follows.
type Tip struct {
	Name           // of the next object
	Arrival int64  // running maximum at the end, Unix ns
	Message Mark   // the last message
	Key     string // of the last object, "" for none
	Hash    string // of the last object, "" for none
}

// newTip is the beginning of a chain. The day is the stream's day of creation,
// so that it depends on nothing that archivers could see differently.
func newTip(c Chain, arrival int64, prev string) Tip {
	return Tip{Name: Name{c, dayOf(c.Epoch.Created), 1}, Arrival: arrival, Hash: prev}
}

// TipBefore is the end of the chain before its first object, as that says it.
func TipBefore(n Name, x *Index) Tip { return Tip{Name: n, Arrival: x.ArrivalFrom, Hash: x.Prev} }

// tipAfter is the end of the chain after an object.
func tipAfter(n Name, x *Index, hash string) Tip {
	t := Tip{Name: n, Arrival: x.ArrivalTo, Message: x.Message, Key: n.Key(), Hash: hash}
	t.First = x.Last + 1
	if x.NextDay != "" {
		t.Day = x.NextDay
	}
	return t
}

// Follow moves the tip behind an object, given its index and hash, and says what
// does not fit, if anything.
func (t *Tip) Follow(n Name, x *Index, hash string) error {
	switch {
	case n.Chain == t.Chain && n.First > t.First:
		return fmt.Errorf("the sequences %d to %d before it are in no object", t.First, n.First-1)
	case n != t.Name:
		return fmt.Errorf("it is not the next object of its chain, %s", t.Name.Key())
	case x.Prev != t.Hash:
		return fmt.Errorf("its index says that the object before it has hash %.12q, but that is %.12q", x.Prev, t.Hash)
	case x.ArrivalFrom != t.Arrival && t.Key != "":
		return fmt.Errorf("its arrivals begin at %d, but the object before it ends at %d", x.ArrivalFrom, t.Arrival)
	}
	if err := x.check(n); err != nil {
		return err
	}
	*t = tipAfter(n, x, hash)
	return nil
}

// check says what in an index contradicts itself or the object's name.
func (x *Index) check(n Name) error {
	covered := x.Count
	next := x.First
	for _, m := range x.Missing {
		if m.From < next || m.To < m.From || m.To > x.Last {
			return fmt.Errorf("its missing sequences %d to %d are out of order or outside of it", m.From, m.To)
		}
		next = m.To + 1
		covered += m.To - m.From + 1
	}
	switch {
	case x.Format != 1:
		return fmt.Errorf("its format is %d; this build reads 1", x.Format)
	case x.Class != n.Class || x.Stream != n.Stream || x.Epoch != n.Epoch.String() || x.Day != n.Day || x.First != n.First:
		return fmt.Errorf("its index is that of %s/%s/%s dt=%s %d", x.Class, x.Stream, x.Epoch, x.Day, x.First)
	case x.First == 0 || x.Last+1 < x.First || x.Last+1 == 0 || covered != x.Last+1-x.First:
		return fmt.Errorf("it covers %d to %d, but has %d messages and missing sequences", x.First, x.Last, covered)
	case x.Ticks > x.Count || x.ArrivalTo < x.ArrivalFrom || x.NextDay != "" && x.NextDay <= x.Day:
		return fmt.Errorf("its index contradicts itself: ticks, arrivals or next day")
	}
	return nil
}

// The end of an object: the index frame, and the locator, a skippable frame of
// fixed size with the index frame's offset and the hash of the index, which is
// the object's hash.
const (
	locatorMagic = "MRACEL0\x01"
	locatorSize  = 8 + len(locatorMagic) + 8 + sha256.Size
	maxIndex     = 16 << 20
)

func appendLocator(b []byte, index []byte, off int64) []byte {
	b = appendSkippable(b, locatorSize-8)
	b = append(b, locatorMagic...)
	b = binary.LittleEndian.AppendUint64(b, uint64(off))
	h := sha256.Sum256(index)
	return append(b, h[:]...)
}

func parseLocator(b []byte) (off int64, hash string, err error) {
	if len(b) != locatorSize || !bytes.Equal(b[:8], appendSkippable(nil, locatorSize-8)) || string(b[8:16]) != locatorMagic {
		return 0, "", fmt.Errorf("it does not end in a locator: it is cut off or no archive object")
	}
	return int64(binary.LittleEndian.Uint64(b[16:])), hex.EncodeToString(b[24:]), nil
}

// parseIndex reads an index whose hash is known.
func parseIndex(b []byte, hash string) (*Index, error) {
	if h := sha256.Sum256(b); hex.EncodeToString(h[:]) != hash {
		return nil, fmt.Errorf("its index does not have the hash that its locator names")
	}
	var x Index
	if err := json.Unmarshal(b, &x); err != nil {
		return nil, fmt.Errorf("its index: %w", err)
	}
	return &x, nil
}

// ReadIndex reads an object's index and hash without its body.
func ReadIndex(ctx context.Context, store Store, o Object) (*Index, string, error) {
	x, hash, err := readIndex(ctx, store, o)
	if err != nil {
		return nil, "", fmt.Errorf("object %s: %w", o.Key, err)
	}
	return x, hash, nil
}

func readIndex(ctx context.Context, store Store, o Object) (*Index, string, error) {
	if o.Size < int64(locatorSize) {
		return nil, "", &CorruptError{What: fmt.Sprintf("%d bytes are too few", o.Size)}
	}
	// One request reads the whole of most indexes.
	from := max(0, o.Size-64<<10)
	end, err := readRange(ctx, store, o.Key, from, o.Size-from)
	if err != nil {
		return nil, "", err
	}
	off, hash, err := parseLocator(end[len(end)-locatorSize:])
	if err != nil {
		return nil, "", &CorruptError{Offset: o.Size - int64(locatorSize), What: err.Error()}
	}
	size := o.Size - int64(locatorSize) - off
	if off < 0 || size < frameHead+1 || size > maxIndex+frameHead+1 {
		return nil, "", &CorruptError{Offset: o.Size - int64(locatorSize), What: fmt.Sprintf("its locator names the offset %d", off)}
	}
	if off < from {
		if end, err = readRange(ctx, store, o.Key, off, size); err != nil {
			return nil, "", err
		}
		from = off
	}
	frame := end[off-from:][:size]
	if !bytes.Equal(frame[:frameHead+1], append(appendSkippable(nil, int(size)-frameHead), typeIndex)) {
		return nil, "", &CorruptError{Offset: off, What: "there is no index where its locator says"}
	}
	x, err := parseIndex(frame[frameHead+1:], hash)
	if err != nil {
		return nil, "", &CorruptError{Offset: off, What: err.Error()}
	}
	return x, hash, nil
}

func readRange(ctx context.Context, store Store, key string, off, n int64) ([]byte, error) {
	r, err := store.Get(ctx, key, off, n)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, fmt.Errorf("read %d bytes at %d: %w", n, off, err)
	}
	return b, nil
}
