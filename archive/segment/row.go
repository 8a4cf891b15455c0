package segment

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"strings"

	"github.com/go-json-experiment/json"

	"github.com/dermai/millrace/archive"
	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/schemas"
)

// Row is an event as it stands in the file. Columns are only ever added.
type Row struct {
	Stream   string `parquet:"stream,dict"`
	Sequence int64  `parquet:"sequence,delta"`
	// Index is the event's number in its message, from 0; -1 for what is no event: a
	// tick, a blank line.
	Index int32  `parquet:"index,delta"`
	Lane  string `parquet:"lane,dict"`
	// Arrival is the running maximum of Stored, the broker's timestamp; EventTime
	// what the event says, or Arrival if it says nothing.
	Arrival   int64 `parquet:"arrival,delta,timestamp(nanosecond)"`
	Stored    int64 `parquet:"stored,delta,timestamp(nanosecond)"`
	EventTime int64 `parquet:"event_time,delta,timestamp(nanosecond)"`
	// Kind is log, metric, audit, tick, or empty for what is no event.
	Kind     string `parquet:"kind,dict"`
	Service  string `parquet:"service,dict"`
	Level    string `parquet:"level,dict"`
	User     string `parquet:"user,dict"`
	Resource string `parquet:"resource,dict"`
	Action   string `parquet:"action,dict"`
	TraceID  string `parquet:"trace_id"`
	// Payload is the event as its service sent it.
	Payload []byte `parquet:"payload"`
	// Form tells how the message is put together again.
	Form    int32  `parquet:"form,dict"`
	Subject string `parquet:"subject,dict"`
	// Header is the message's, in its first row: a JSON object, or where names or
	// values are no text, an array of pairs in base64.
	Header string `parquet:"header,dict"`
}

// The forms of a payload.
const (
	formLine  = iota // a line of the message; a newline follows it
	formLast         // the last line; no newline follows
	formRaw          // the whole message, which cannot be unpacked
	formEmpty        // the message has no payload
)

// Bloom filters: what is looked for by exact value.
var blooms = []string{"user", "resource", "trace_id"}

// splitter makes rows of messages. It holds one message at a time.
type splitter struct {
	chain archive.Chain
	buf   []byte
	event schemas.Event
	digest
}

// rows appends the rows of a message. They are valid until the next call.
func (s *splitter) rows(out []Row, r *archive.Record) ([]Row, error) {
	head, err := encodeHeader(r.Header)
	if err != nil {
		return nil, fmt.Errorf("headers of sequence %d: %w", r.Seq, err)
	}
	base := Row{
		Stream: s.chain.Stream, Sequence: int64(r.Seq), Index: -1, Arrival: r.Arrival, Stored: r.Time, EventTime: r.Arrival,
		Subject: r.Subject, Header: head,
	}
	subject, unknown := schemas.ParseSubject(r.Subject)
	base.Lane, base.Service = subject.Lane, subject.Service
	if len(r.Payload) == 0 {
		base.Form = formEmpty
		if subject.Tick {
			base.Kind = "tick"
		}
		s.add(r, head, formEmpty, nil)
		return append(out, base), nil
	}
	content, ok := s.unpack(r.Payload)
	if !ok {
		base.Form, base.Payload = formRaw, r.Payload
		s.add(r, head, formRaw, r.Payload)
		return append(out, base), nil
	}
	s.add(r, head, formLine, content)
	event := func(row *Row, line []byte, index int) {
		if unknown != nil || subject.Tick {
			return
		}
		row.Index = int32(index)
		e := &s.event
		if err := e.Skim(line, schemas.Origin{
			Kind: subject.Kind, Service: subject.Service, Arrival: r.Arrival, Stream: s.chain.Stream, Seq: r.Seq, Index: index,
		}); err != nil {
			return // its author's fault, which the reducer reports
		}
		row.EventTime, row.Kind, row.Service, row.Level = e.Time, string(e.Kind), e.Service, e.Level
		row.User, row.Resource, row.Action, row.TraceID = e.User, e.Resource, e.Action, e.TraceID
	}
	if single(content) {
		base.Form, base.Payload = formLast, content
		event(&base, bytes.Trim(content, " \t\r\n"), 0)
		return append(out, base), nil
	}
	for index, rest := 0, content; ; {
		row := base
		line, more, cut := bytes.Cut(rest, []byte{'\n'})
		row.Payload = line
		if !cut {
			row.Form = formLast
		}
		if text := bytes.Trim(line, " \t\r"); len(text) > 0 {
			event(&row, text, index)
			index++
		}
		out = append(out, row)
		if rest = more; len(rest) == 0 {
			return out, nil
		}
		base.Header = ""
	}
}

// unpack gives what a payload decodes to, if it does.
func (s *splitter) unpack(payload []byte) (content []byte, ok bool) {
	content, err := schemas.Unpack(s.buf, payload, schemas.FrameDecoded)
	if err == nil && len(content) > 0 && &content[0] != &payload[0] {
		s.buf = content
	}
	return content, err == nil
}

// single tells whether a message is one event over several lines.
func single(content []byte) bool {
	for _, line := range schemas.Lines(content) {
		return bytes.IndexByte(line, '\n') >= 0
	}
	return false
}

// digest is the hash of messages, whatever packs them.
type digest struct {
	h    hash.Hash
	head []byte
}

func newDigest() digest { return digest{h: sha256.New()} }

func (d *digest) add(r *archive.Record, header string, form int, content []byte) {
	b := binary.AppendUvarint(d.head[:0], r.Seq)
	b = binary.AppendVarint(b, r.Arrival)
	b = binary.AppendVarint(b, r.Time)
	b = binary.AppendUvarint(b, uint64(len(r.Subject)))
	b = append(b, r.Subject...)
	b = binary.AppendUvarint(b, uint64(len(header)))
	b = append(b, header...)
	b = append(b, byte(form))
	b = binary.AppendUvarint(b, uint64(len(content)))
	d.h.Write(b)
	d.h.Write(content)
	d.head = b
}

func (d *digest) String() string { return fmt.Sprintf("%x", d.h.Sum(nil)) }

func encodeHeader(h fence.Header) (string, error) {
	if len(h) == 0 {
		return "", nil
	}
	b, err := json.Marshal(map[string]string(h), json.Deterministic(true))
	if err == nil {
		return string(b), nil
	}
	var pairs [][2][]byte
	for _, name := range sortedNames(h) {
		pairs = append(pairs, [2][]byte{[]byte(name), []byte(h[name])})
	}
	b, err = json.Marshal(pairs)
	return string(b), err
}

func decodeHeader(s string) (fence.Header, error) {
	if s == "" {
		return nil, nil
	}
	h := fence.Header{}
	if strings.HasPrefix(s, "{") {
		return h, json.Unmarshal([]byte(s), (*map[string]string)(&h))
	}
	var pairs [][2][]byte
	err := json.Unmarshal([]byte(s), &pairs)
	for _, p := range pairs {
		h[string(p[0])] = string(p[1])
	}
	return h, err
}
