package archive

import (
	"encoding/binary"
	"fmt"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// All our skippable frames have this magic number; their first byte says what
// they are.
const (
	skippableMagic = 0x184D2A5A
	frameHead      = 8 // bytes of magic number and size

	typeMessage = 'M'
	typeIndex   = 'I'
)

func appendSkippable(b []byte, size int) []byte {
	b = binary.LittleEndian.AppendUint32(b, skippableMagic)
	return binary.LittleEndian.AppendUint32(b, uint32(size))
}

// newlineFrame is a zstd frame that holds one newline: a single segment of one
// byte, a last raw block of one byte.
const newlineFrame = "\x28\xB5\x2F\xFD\x20\x01\x09\x00\x00\n"

const (
	maxPayload = 64 << 20 // bytes; the most that a broker can be set to
	maxWindow  = 8 << 20  // bytes; what RFC 8878 asks every decoder to support
	maxDecoded = 8 << 20  // bytes; a payload that decodes to more is not kept as a frame
	maxHead    = maxPayload
)

// encoders and decoders keep memory between calls; they hold no state, so that what
// comes out does not depend on what went through before. The errors are about options
// only, and these are fixed.
var (
	encoders = sync.Pool{New: func() any {
		enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(1<<20))
		if err != nil {
			panic("archive: " + err.Error())
		}
		return enc
	}}
	foreign = newDecoders(maxDecoded) // for frames that clients sent
	own     = newDecoders(maxPayload)
)

// newDecoders makes decoders of frames with at most limit bytes of content.
func newDecoders(limit uint64) *sync.Pool {
	return &sync.Pool{New: func() any {
		dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1),
			zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderMaxMemory(limit))
		if err != nil {
			panic("archive: " + err.Error())
		}
		return dec
	}}
}

// decode decodes a frame into the memory of dst, or into new memory.
func decode(pool *sync.Pool, frame, dst []byte) ([]byte, error) {
	dec := pool.Get().(*zstd.Decoder)
	defer pool.Put(dec)
	return dec.DecodeAll(frame, dst[:0])
}

// codec compresses and decompresses payloads, and keeps the memory of the last. The
// zero value is ready. It is not safe for concurrent use.
type codec struct {
	buf []byte // decoded payload
	out []byte // encoded payload
}

// stored returns the zstd frame under which a payload is kept, valid until the
// next call: the payload itself if it is exactly one zstd frame that anybody can
// decode, otherwise the payload compressed. newline tells that what the frame
// decodes to is not empty and does not end in a newline.
func (c *codec) stored(payload []byte) (frame []byte, packed, newline bool) {
	text, ok := c.frame(payload)
	if ok {
		return payload, false, len(text) > 0 && text[len(text)-1] != '\n'
	}
	enc := encoders.Get().(*zstd.Encoder)
	defer encoders.Put(enc)
	c.out = enc.EncodeAll(payload, c.out[:0])
	return c.out, true, payload[len(payload)-1] != '\n'
}

// frame decodes a payload that is exactly one zstd frame without a dictionary,
// with a window and a content of at most 8 MiB. The content is valid until the
// next call.
func (c *codec) frame(payload []byte) (content []byte, ok bool) {
	var h zstd.Header
	if h.Decode(payload) != nil || h.Skippable || h.DictionaryID != 0 || h.HasFCS && h.FrameContentSize > maxDecoded {
		return nil, false
	}
	if frameLen(payload, &h) != len(payload) {
		return nil, false
	}
	content, err := decode(foreign, payload, c.buf)
	if err != nil {
		return nil, false
	}
	c.buf = content
	return content, true
}

// unpack decodes a payload that was compressed by stored. It is valid until the
// next call.
func (c *codec) unpack(frame []byte, size int) ([]byte, error) {
	b, err := decode(own, frame, c.buf)
	if err != nil {
		return nil, err
	}
	if len(b) != size {
		return nil, fmt.Errorf("%d bytes, not %d", len(b), size)
	}
	if cap(b) <= 2*maxDecoded { // one huge payload is no reason to keep its memory
		c.buf = b
	}
	return b, nil
}

// frameLen is the length of the zstd frame that b begins with, by its block
// headers (RFC 8878, 3.1.1.2), or -1 if it does not end within b.
func frameLen(b []byte, h *zstd.Header) int {
	i := h.HeaderSize
	for last := false; !last; {
		if len(b) < i+3 {
			return -1
		}
		block := uint32(b[i]) | uint32(b[i+1])<<8 | uint32(b[i+2])<<16
		last = block&1 != 0
		switch block >> 1 & 3 {
		case 0, 2: // raw, compressed
			i += 3 + int(block>>3)
		case 1: // one byte, repeated
			i += 3 + 1
		default:
			return -1
		}
	}
	if h.HasCheckSum {
		i += 4
	}
	if i > len(b) {
		return -1
	}
	return i
}
