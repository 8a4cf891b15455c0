package sources

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"strconv"
	"strings"

	"github.com/dermai/millrace/schemas"
)

// A mark says how far a followed file is stored, and travels as the source in
// the frame's header:
//
//	file:<path>#<fingerprint>@<offset>
//	file:<path>#<fingerprint>@<offset>/<kind>/<service>
//
// The first says that every event before the offset is stored; the second that
// every event of one kind and service is, which is all that can be said in the
// middle of a batch that became several frames. The fingerprint is a hash of the
// fingerprintBytes before the offset, so that a mark fits no other content: not
// that of a file which was truncated and has grown again, nor that of the next
// file of the same name, and it still fits the old file under its new name.
type mark struct {
	fingerprint string
	offset      int64
	lane        *lane // nil: every kind and service
}

const fingerprintBytes = 1024

// maxName bounds a path in a mark, since a source must fit in a header.
const maxName = 250

// markPrefix begins every mark of a file.
func markPrefix(path string) string {
	if len(path) > maxName {
		path = "..." + fingerprint([]byte(path))
	}
	return "file:" + path + "#"
}

func (m mark) source(prefix string) string {
	s := prefix + m.fingerprint + "@" + strconv.FormatInt(m.offset, 10)
	if m.lane != nil {
		token, _ := schemas.Token(m.lane.service) // every event's service has one
		s += "/" + string(m.lane.kind) + "/" + token
	}
	return s
}

// parseMark reads a source. Headers are whatever somebody stored, so what is no
// mark of this file is nothing to complain about.
func parseMark(source, prefix string) (mark, bool) {
	s, ok := strings.CutPrefix(source, prefix)
	if !ok {
		return mark{}, false
	}
	fingerprint, s, ok := strings.Cut(s, "@")
	if !ok || len(fingerprint) != 16 {
		return mark{}, false
	}
	digits, rest, partial := strings.Cut(s, "/")
	offset, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || offset <= 0 {
		return mark{}, false
	}
	m := mark{fingerprint: fingerprint, offset: offset}
	if partial {
		kind, service, ok := strings.Cut(rest, "/")
		if !ok {
			return mark{}, false
		}
		if service, err = schemas.Untoken(service); err != nil {
			return mark{}, false
		}
		m.lane = &lane{schemas.Kind(kind), service}
	}
	return m, true
}

// fits tells whether a file has the content that the mark was made of.
func (m mark) fits(r io.ReaderAt) (bool, error) {
	before, err := bytesBefore(r, m.offset)
	if err == io.EOF {
		return false, nil // the file is shorter
	}
	return err == nil && fingerprint(before) == m.fingerprint, err
}

// bytesBefore reads the last fingerprintBytes before an offset, or all if there
// are fewer. io.EOF: the file ends before the offset.
func bytesBefore(r io.ReaderAt, offset int64) ([]byte, error) {
	b := make([]byte, min(offset, fingerprintBytes))
	n, err := r.ReadAt(b, offset-int64(len(b)))
	if n == len(b) {
		return b, nil
	}
	return nil, err
}

func fingerprint(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:8])
}

// progress is what the marks say about one file.
type progress struct {
	offset int64          // everything before it is stored
	lanes  map[lane]int64 // stored further than offset
}

// learn takes in a mark. The marks may come in any order.
func (p *progress) learn(m mark, r io.ReaderAt) error {
	known := p.offset
	if m.lane != nil {
		known = max(known, p.lanes[*m.lane])
	}
	if m.offset <= known {
		return nil
	}
	switch ok, err := m.fits(r); {
	case err != nil || !ok:
		return err
	case m.lane == nil:
		p.offset = m.offset
	case p.lanes == nil:
		p.lanes = map[lane]int64{*m.lane: m.offset}
	default:
		p.lanes[*m.lane] = m.offset
	}
	return nil
}

// stored tells whether a line that ends at an offset is stored already.
func (p *progress) stored(l lane, end int64) bool {
	return end <= p.offset || end <= p.lanes[l]
}

// found tells whether any mark fitted.
func (p *progress) found() bool { return p.offset > 0 || len(p.lanes) > 0 }
