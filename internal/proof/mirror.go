package proof

import (
	"bytes"
	"context"
	"fmt"
	"maps"

	"github.com/dermai/millrace/archive"
	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/schemas"
)

// readMax is how many messages are read at once.
const readMax = 64

// mirror reads what the broker holds of a stream, beside the archive.
type mirror struct {
	log     fence.Log
	info    fence.Info    // as it was before the archive was read
	chain   archive.Chain // in which it is archived; zero: in none
	stream  string
	next    uint64 // 0: not begun
	entries []fence.Entry
}

// holds tells whether the broker should still have an archived message.
func (m *mirror) holds(r *archive.Record) bool {
	return m != nil && r.Chain == m.chain && r.Seq >= m.info.First && r.Seq <= m.info.Last
}

// peek gives the next message of the stream, nil if there is none up to where it
// ended at the beginning.
func (m *mirror) peek(ctx context.Context) (*fence.Entry, error) {
	for {
		for len(m.entries) > 0 && m.entries[0].Seq < m.next {
			m.entries = m.entries[1:]
		}
		if len(m.entries) > 0 && m.entries[0].Seq <= m.info.Last {
			return &m.entries[0], nil
		}
		if len(m.entries) > 0 || m.next > m.info.Last {
			return nil, nil
		}
		var err error
		if m.entries, err = m.log.Read(ctx, m.stream, m.next, readMax); err != nil {
			return nil, err
		}
		if len(m.entries) == 0 {
			return nil, nil
		}
	}
}

// gone tells whether the stream was trimmed of a sequence meanwhile.
func (m *mirror) gone(ctx context.Context, seq uint64) (bool, error) {
	info, err := m.log.Info(ctx, m.stream)
	if err != nil {
		return false, err
	}
	if info.Created != m.info.Created {
		return false, fmt.Errorf("%s was made anew while it was read: run again", m.stream)
	}
	return info.First > seq, nil
}

// same tells whether the archive and the stream hold the same message. Segments
// give back what a payload decodes to.
func same(r *archive.Record, e *fence.Entry) bool {
	if r.Seq != e.Seq || r.Time != e.Time || r.Subject != e.Subject || !maps.Equal(r.Header, e.Header) {
		return false
	}
	if bytes.Equal(r.Payload, e.Data) {
		return true
	}
	a, err1 := schemas.Unpack(nil, r.Payload, schemas.FrameDecoded)
	b, err2 := schemas.Unpack(nil, e.Data, schemas.FrameDecoded)
	return err1 == nil && err2 == nil && bytes.Equal(a, b)
}
