package sources

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/dermai/millrace/schemas"
	"github.com/go-json-experiment/json/jsontext"
)

// The limits of one request.
const (
	maxWire   = 8 << 20  // bytes of the body as it comes
	maxBody   = 32 << 20 // bytes of the body decompressed
	maxRatio  = 200      // between the two, above freeRatio bytes; events compress 5:1 to 50:1
	freeRatio = 1 << 20
	maxFaults = 20 // bad events that are named
	maxLanes  = 64 // kinds and services, since each is stored on its own
)

// Fault says what is wrong with one event of a request.
type Fault struct {
	Index  int    `json:"index"`          // of the event in the request, from 0
	Line   int    `json:"line,omitempty"` // of NDJSON, from 1
	Field  string `json:"field,omitempty"`
	Reason string `json:"reason"`

	long bool // over the limit of one event
}

var (
	errInflated = fmt.Errorf("the body is over %d MiB decompressed, or compressed more than %d:1; split it", maxBody>>20, maxRatio)
	errNoGzip   = errors.New("the body is not gzip, as its Content-Encoding says")
)

// body is what a request holds.
type body struct {
	defaults Defaults
	// hold is asked before n more bytes are kept.
	hold func(n int) error

	frames   frames
	events   int // good and bad
	redacted int
	faults   []Fault
	scratch  []byte
}

// errFaults ends the reading of a body whose faults are enough.
var errFaults = errors.New("too many faults")

// readLines reads NDJSON: every line an event of its own, whatever the other
// lines are.
func (b *body) readLines(r io.Reader) error {
	s := newSplitter(0)
	n := 0
	each := func(l line) error {
		n++
		if l.long {
			return b.fault(n, errLong)
		}
		if blank(l.data) {
			return nil
		}
		return b.event(n, l.data)
	}
	buf := make([]byte, 64<<10)
	for {
		k, err := r.Read(buf)
		if err := s.feed(buf[:k], each); err != nil {
			return done(err)
		}
		if err == io.EOF {
			return done(s.finish(each))
		}
		if err != nil {
			return err
		}
	}
}

// readValues reads an array of events, or events one after the other with any
// blanks between them. After a fault of syntax nobody can tell where the next
// event begins.
func (b *body) readValues(r io.Reader) error {
	// The decoder only finds where events end; what is in them is checked, and
	// better explained, where they are decoded.
	in := &valueReader{r: r}
	d := jsontext.NewDecoder(in, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	in.d = d
	array := d.PeekKind() == '['
	if array {
		if _, err := d.ReadToken(); err != nil {
			return err
		}
	}
	for {
		if array && d.PeekKind() == ']' {
			if _, err := d.ReadToken(); err != nil {
				return err
			}
			array = false
			if d.PeekKind() != 0 {
				return done(b.fault(0, &schemas.DecodeError{Reason: "more text behind the array", Mend: "send one array"}))
			}
		}
		v, err := d.ReadValue()
		if err == io.EOF && !array {
			return nil
		}
		if in.long {
			return done(b.fault(0, errLong))
		}
		if err == nil {
			err = b.event(0, v)
		} else if syntax := (*jsontext.SyntacticError)(nil); errors.As(err, &syntax) {
			return done(b.fault(0, syntaxFault(syntax.ByteOffset, d.UnreadBuffer(), array || b.events > 0)))
		}
		if err != nil {
			return done(err)
		}
	}
}

// syntaxFault explains a fault of syntax in the event that rest begins with. others
// tells whether there may be more than this one event.
func syntaxFault(offset int64, rest []byte, others bool) *schemas.DecodeError {
	const syntax = "not valid JSON at byte "
	fault := &schemas.DecodeError{Reason: fmt.Sprintf("%s%d of the body", syntax, offset)}
	_, err := schemas.Decode(bytes.TrimLeft(rest, ", \t\r\n"), schemas.Origin{})
	if e, ok := errors.AsType[*schemas.DecodeError](err); ok && strings.HasPrefix(e.Reason, syntax) {
		fault.Field, fault.Mend = e.Field, e.Mend
	}
	if others {
		if fault.Mend != "" {
			fault.Mend += "; "
		}
		fault.Mend += "nothing behind it was read; send NDJSON as application/x-ndjson to see the faults of every line"
	}
	return fault
}

// valueReader stops a decoder that holds more than the longest event, since it
// would hold a body of one value whole.
type valueReader struct {
	r    io.Reader
	d    *jsontext.Decoder
	n    int64
	long bool
}

func (v *valueReader) Read(p []byte) (int, error) {
	if v.n-v.d.InputOffset() > 2*schemas.LineBytes {
		v.long = true
		return 0, errLong
	}
	n, err := v.r.Read(p)
	v.n += int64(n)
	return n, err
}

func done(err error) error {
	if err == errFaults {
		return nil
	}
	return err
}

// event takes in one event.
func (b *body) event(line int, text []byte) error {
	data, to, redacted, err := b.defaults.normalize(b.scratch[:0], text)
	if err != nil {
		return b.fault(line, err)
	}
	b.scratch = data
	b.redacted += redacted
	b.events++
	if len(b.faults) > 0 {
		return nil // nothing of the request will be stored
	}
	if err := b.hold(len(data)); err != nil {
		return err
	}
	b.frames.add(to, data)
	if len(b.frames.last) > maxLanes {
		return b.fault(line, fmt.Errorf("the request names more than %d kinds and services; split it", maxLanes))
	}
	return nil
}

func (b *body) fault(line int, err error) error {
	b.faults = append(b.faults, faultOf(err, b.events, line))
	b.events++
	if len(b.faults) == maxFaults {
		return errFaults
	}
	return nil
}

// inflate undoes a Content-Encoding and holds the limits.
func inflate(r io.Reader, encoding string) *inflater {
	in := &counter{r: r}
	out := &inflater{in: in, r: in}
	if encoding == "gzip" {
		out.r = &lazyGzip{in: in}
	}
	return out
}

type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

type inflater struct {
	in  *counter
	r   io.Reader
	n   int64
	err error // stays, whoever has read it
}

func (i *inflater) Read(p []byte) (n int, err error) {
	if i.err != nil {
		return 0, i.err
	}
	n, i.err = i.r.Read(p)
	i.n += int64(n)
	if i.n > maxBody || i.n > freeRatio && i.n > maxRatio*i.in.n {
		n, i.err = 0, errInflated
	}
	return n, i.err
}

// lazyGzip reads the header with the first Read, so that its faults come where
// the others do.
type lazyGzip struct {
	in io.Reader
	r  *gzip.Reader
}

func (g *lazyGzip) Read(p []byte) (int, error) {
	if g.r == nil {
		r, err := gzip.NewReader(g.in)
		if err != nil {
			return 0, gzipFault(err)
		}
		g.r = r
	}
	n, err := g.r.Read(p)
	return n, gzipFault(err)
}

// gzipFault tells what is wrong with the compressed text from what is wrong with
// the connection, which is passed on.
func gzipFault(err error) error {
	var corrupt flate.CorruptInputError
	if errors.Is(err, gzip.ErrHeader) || errors.Is(err, gzip.ErrChecksum) || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &corrupt) {
		return errNoGzip
	}
	return err
}

// faultOf names what is wrong with an event.
func faultOf(err error, index, line int) Fault {
	f := Fault{Index: index, Line: line, Reason: err.Error(), long: err == error(errLong)}
	if e, ok := errors.AsType[*schemas.DecodeError](err); ok {
		f.Field, f.Reason = e.Field, e.Reason
		if e.Mend != "" {
			f.Reason += "; " + e.Mend
		}
	}
	return f
}
