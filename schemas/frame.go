package schemas

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// The limits of a frame.
const (
	FrameWire    = 512 << 10 // bytes of the message's body
	FrameDecoded = 4 << 20   // bytes of the body unpacked
	FrameEvents  = 5000      // events
	SourceBytes  = 1 << 10   // bytes of FrameHeader.Source as it is in the header
)

// The headers of a frame.
const (
	HeaderCounter = "Millrace-Counter"
	HeaderEvents  = "Millrace-Events"
	HeaderAcked   = "Millrace-Acked"
	HeaderSource  = "Millrace-Source"
	HeaderFinal   = "Millrace-Final"
	HeaderBatch   = "Millrace-Batch"
	HeaderAfter   = "Millrace-After"
)

// FrameHeader is what a lane says of a frame. The zero header is that of a frame
// without a lane: sent by a foreign client, or a tick.
type FrameHeader struct {
	Counter uint64 // of the frame in its lane: 1, 2, 3, ...
	Events  int    // how many events the frame has
	Acked   uint64 // every frame up to this one is acknowledged
	Source  string // position in the source up to which the lane covers it; any text
	Final   bool   // the lane ends here; there are no events in the frame
	// Batch is where the frame ends in the publisher's spool: all that the lane was
	// given up to this batch is in its frames up to this one, or was damaged in the
	// spool. 0: each frame is one batch.
	Batch uint64
	// After is the end of the lane before, where the stream lost frames of it that
	// were acknowledged. Only a lane's first frame has it.
	After LaneEnd
}

// LaneEnd is how far the frames of a lane were acknowledged.
type LaneEnd struct {
	Lane  string // its subject; "" for no lane
	Batch uint64 // FrameHeader.Batch of the last, or its counter where each frame is one batch
}

// LostBefore tells from the headers of a message whether it says that frames of
// another lane are lost which were in the stream, or in another of its class, before
// it.
func LostBefore(m map[string]string) bool { return m[HeaderAfter] != "" }

// Map gives the header as it is sent: values are printable ASCII, whatever is in
// Source. The zero header has no entries.
func (h FrameHeader) Map() map[string]string {
	m := map[string]string{}
	if h.Counter == 0 {
		return m
	}
	m[HeaderCounter] = strconv.FormatUint(h.Counter, 10)
	m[HeaderEvents] = strconv.Itoa(h.Events)
	m[HeaderAcked] = strconv.FormatUint(h.Acked, 10)
	if h.Source != "" {
		var b []byte
		for i := range len(h.Source) {
			b = appendEscaped(b, h.Source[i], isHeader(h.Source[i]))
		}
		m[HeaderSource] = string(b)
	}
	if h.Final {
		m[HeaderFinal] = "true"
	}
	if h.Batch > 0 {
		m[HeaderBatch] = strconv.FormatUint(h.Batch, 10)
	}
	if h.After.Lane != "" {
		m[HeaderAfter] = h.After.Lane + " " + strconv.FormatUint(h.After.Batch, 10)
	}
	return m
}

// isHeader tells which bytes stay in a header.
func isHeader(c byte) bool { return c > ' ' && c < 0x7f && c != '%' }

// ParseFrameHeader is the inverse of Map. It passes over headers that are not
// the frame's, and refuses a header that no lane sends.
func ParseFrameHeader(m map[string]string) (FrameHeader, error) {
	var h FrameHeader
	if _, ok := m[HeaderCounter]; !ok {
		for _, name := range []string{HeaderEvents, HeaderAcked, HeaderSource, HeaderFinal, HeaderBatch, HeaderAfter} {
			if _, ok := m[name]; ok {
				return h, fmt.Errorf("frame header: %s without %s", name, HeaderCounter)
			}
		}
		return h, nil
	}
	var err error
	if h.Counter, err = parseCount(m, HeaderCounter); err != nil {
		return FrameHeader{}, err
	}
	events, err := parseCount(m, HeaderEvents)
	if err != nil {
		return FrameHeader{}, err
	}
	if h.Acked, err = parseCount(m, HeaderAcked); err != nil {
		return FrameHeader{}, err
	}
	source, ok := unescape(m[HeaderSource], isHeader)
	if !ok || len(m[HeaderSource]) > SourceBytes {
		return FrameHeader{}, fmt.Errorf("frame header: %s: want at most %d bytes of printable ASCII", HeaderSource, SourceBytes)
	}
	h.Source = source
	switch m[HeaderFinal] {
	case "":
	case "true":
		h.Final = true
	default:
		return FrameHeader{}, fmt.Errorf("frame header: %s: want true or no header", HeaderFinal)
	}
	if _, ok := m[HeaderBatch]; ok {
		if h.Batch, err = parseCount(m, HeaderBatch); err != nil {
			return FrameHeader{}, err
		}
	}
	if after, ok := m[HeaderAfter]; ok {
		if h.After, err = parseLaneEnd(after); err != nil {
			return FrameHeader{}, err
		}
	}
	h.Events = int(min(events, FrameEvents+1))
	return h, h.validate()
}

func (h FrameHeader) validate() error {
	switch {
	case h.Counter == 0:
		return errors.New("frame header: " + HeaderCounter + ": counters begin at 1")
	case h.Acked >= h.Counter:
		return errors.New("frame header: " + HeaderAcked + ": the frame acknowledges itself or a later one")
	case h.Events > FrameEvents:
		return fmt.Errorf("frame header: %s: more than %d", HeaderEvents, FrameEvents)
	case h.Final && h.Events > 0:
		return errors.New("frame header: " + HeaderFinal + ": a final frame has no events")
	case h.After.Lane != "" && h.Counter > 1:
		return errors.New("frame header: " + HeaderAfter + ": only a lane's first frame has it")
	case !h.Final && h.Events == 0:
		return errors.New("frame header: " + HeaderEvents + ": only a final frame has no events")
	}
	return nil
}

func parseLaneEnd(s string) (LaneEnd, error) {
	lane, batch, _ := strings.Cut(s, " ")
	subject, err := ParseSubject(lane)
	n, wrong := strconv.ParseUint(batch, 10, 64)
	if err != nil || subject.Lane == "" || wrong != nil || n == 0 {
		return LaneEnd{}, fmt.Errorf("frame header: %s: %q is not a lane's subject and a number", HeaderAfter, cut(s, 200))
	}
	return LaneEnd{lane, n}, nil
}

func parseCount(m map[string]string, name string) (uint64, error) {
	n, err := strconv.ParseUint(m[name], 10, 64)
	if err != nil || strconv.FormatUint(n, 10) != m[name] {
		return 0, fmt.Errorf("frame header: %s: %q is not a whole number", name, cut(m[name], 40))
	}
	return n, nil
}

// Lines gives the events of an unpacked frame, numbered from 0: its lines,
// without line ends; blank lines are passed over and have no number. A body that
// is one JSON object over several lines is one event. An array is not valid on
// the wire: it comes as one line, which Decode refuses.
func Lines(decoded []byte) iter.Seq2[int, []byte] {
	return func(yield func(int, []byte) bool) {
		rest := decoded
		for i := 0; len(rest) > 0; {
			var line []byte
			line, rest, _ = bytes.Cut(rest, []byte{'\n'})
			line = bytes.Trim(line, " \t\r")
			if len(line) == 0 {
				continue
			}
			if i == 0 && line[len(line)-1] != '}' && jsontext.Value(decoded).IsValid() {
				yield(0, bytes.Trim(decoded, " \t\r\n"))
				return
			}
			if !yield(i, line) {
				return
			}
			i++
		}
	}
}

// FrameID is a fingerprint of a stored message: 16 hex digits of the SHA-256 of
// its timestamp (Unix ns), subject and body. It tells whether a sequence still
// holds the message that was read, or the stream lost its tail and used the
// sequence again.
func FrameID(ts int64, subject string, data []byte) string {
	h := sha256.New()
	var n [16]byte
	binary.BigEndian.PutUint64(n[:8], uint64(ts))
	binary.BigEndian.PutUint64(n[8:], uint64(len(subject)))
	h.Write(n[:])
	h.Write([]byte(subject))
	h.Write(data)
	return hex.EncodeToString(h.Sum(nil)[:8])
}
