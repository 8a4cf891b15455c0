package schemas

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/go-json-experiment/json"
	jsonv1 "github.com/go-json-experiment/json/v1"
	"github.com/klauspost/compress/zstd"
)

const (
	packMin    = 1 << 10  // bytes below which nothing is compressed: small frames stay readable
	packWindow = 1 << 20  // what the compressor looks back, and its memory
	unpackMax  = 8 << 20  // the largest window that is accepted
	stageBytes = 64 << 20 // bytes of a stage message unpacked
)

var zstdMagic = []byte{0x28, 0xb5, 0x2f, 0xfd}

// encoders and decoders keep memory between calls; they hold no state. Their
// options are constants, so that making one cannot go wrong.
var (
	encoders = sync.Pool{New: func() any {
		return newEncoder(nil)
	}}
	decoders = sync.Pool{New: func() any {
		return newDecoder(nil)
	}}
)

func newEncoder(w io.Writer) *zstd.Encoder {
	enc, err := zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedFastest),
		zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(packWindow), zstd.WithLowerEncoderMem(true))
	if err != nil {
		panic("schemas: " + err.Error())
	}
	return enc
}

func newDecoder(r io.Reader) *zstd.Decoder {
	dec, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxWindow(unpackMax))
	if err != nil {
		panic("schemas: " + err.Error())
	}
	return dec
}

// Pack appends data to dst: as one zstd frame with its size and checksum if that
// saves a tenth or more of a kilobyte or more, otherwise as it is.
func Pack(dst, data []byte) []byte {
	if len(data) < packMin {
		return append(dst, data...)
	}
	enc := encoders.Get().(*zstd.Encoder)
	defer encoders.Put(enc)
	n := len(dst)
	packed := enc.EncodeAll(data, dst)
	if len(packed)-n > len(data)-len(data)/10 {
		return append(packed[:n], data...)
	}
	return packed
}

// Unpack undoes Pack. Plain data comes back as it is, the same memory; packed
// data is decoded into dst's memory from its beginning, or into new memory if
// that is too small. It refuses windows above 8 MiB and a result above limit
// bytes; before it knows, it may have made 8 MiB. Keep dst in a variable of its
// own: what comes back may be data's memory.
func Unpack(dst, data []byte, limit int) ([]byte, error) {
	if !bytes.HasPrefix(data, zstdMagic) {
		if len(data) > limit {
			return nil, tooLarge(limit)
		}
		return data, nil
	}
	dec := decoders.Get().(*zstd.Decoder)
	defer decoders.Put(dec)
	// The bound holds for the window too, which may be larger than the data.
	err := dec.ResetWithOptions(nil, zstd.WithDecoderMaxMemory(uint64(max(limit, unpackMax))))
	if err != nil {
		return nil, fmt.Errorf("unpack: %w", err)
	}
	out, err := dec.DecodeAll(data, dst[:0])
	switch {
	case errors.Is(err, zstd.ErrDecoderSizeExceeded), err == nil && len(out) > limit:
		return nil, tooLarge(limit)
	case err != nil:
		return nil, fmt.Errorf("unpack: %w", err)
	}
	return out, nil
}

// Packing packs what is written to it, of any length, as one frame. It is whole
// once the writer is closed.
func Packing(w io.Writer) io.WriteCloser { return newEncoder(w) }

// Unpacking reads what Pack or Packing wrote, of any length.
func Unpacking(r io.Reader) io.ReadCloser {
	b := bufio.NewReader(r)
	if magic, _ := b.Peek(len(zstdMagic)); !bytes.Equal(magic, zstdMagic) {
		return io.NopCloser(b)
	}
	return newDecoder(b).IOReadCloser()
}

func tooLarge(limit int) error {
	return fmt.Errorf("unpack: more than %d bytes", limit)
}

// Encode writes a stage message (Partial, Decision, ControlEntry, Notification,
// ...): the same value gives the same bytes.
func Encode(v any) ([]byte, error) {
	b, err := json.Marshal(v, json.Deterministic(true), jsonv1.FormatDurationAsNano(true))
	if err != nil {
		return nil, fmt.Errorf("encode %T: %w", v, err)
	}
	if len(b) > stageBytes {
		return nil, fmt.Errorf("encode %T: %d bytes, at most %d", v, len(b), stageBytes)
	}
	return Pack(nil, b), nil
}

// DecodeInto reads what Encode wrote. Members that v does not have are passed
// over: they are of a later version.
func DecodeInto(data []byte, v any) error {
	b, err := Unpack(nil, data, stageBytes)
	if err != nil {
		return fmt.Errorf("decode %T: %w", v, err)
	}
	if err := json.Unmarshal(b, v, jsonv1.FormatDurationAsNano(true)); err != nil {
		return fmt.Errorf("decode %T: %w", v, err)
	}
	return nil
}
