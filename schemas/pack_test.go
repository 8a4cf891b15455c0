package schemas_test

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"github.com/dermai/millrace/schemas"
)

func noise(n int) []byte {
	r := rand.NewChaCha8([32]byte{1})
	b := make([]byte, n)
	if _, err := r.Read(b); err != nil {
		panic(err)
	}
	return b
}

func packed(b []byte) bool { return bytes.HasPrefix(b, []byte{0x28, 0xb5, 0x2f, 0xfd}) }

func TestPack(t *testing.T) {
	for _, c := range []struct {
		name   string
		data   []byte
		packed bool
	}{
		{"nothing", nil, false},
		{"small", []byte(strings.Repeat("a", 1023)), false},
		{"a kilobyte", []byte(strings.Repeat("a", 1024)), true},
		{"noise", noise(100_000), false},
		{"a frame", []byte(strings.Repeat(line300+"\n", 1000)), true},
		{"a large stage message", []byte(strings.Repeat(line300, 60_000)), true},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := schemas.Pack([]byte("x"), c.data)
			if got[0] != 'x' || packed(got[1:]) != c.packed {
				t.Fatalf("packed %t, want %t", packed(got[1:]), c.packed)
			}
			if again := schemas.Pack(nil, c.data); !bytes.Equal(got[1:], again) {
				t.Error("packed in two ways")
			}
			back, err := schemas.Unpack(nil, got[1:], len(c.data))
			if err != nil || !bytes.Equal(back, c.data) {
				t.Errorf("unpacked %d of %d bytes, %v", len(back), len(c.data), err)
			}
			if len(c.data) > 0 {
				if back, err := schemas.Unpack(nil, got[1:], len(c.data)-1); err == nil {
					t.Errorf("unpacked %d bytes over the limit", len(back))
				}
			}
		})
	}
}

func TestUnpackInto(t *testing.T) {
	data := []byte(strings.Repeat("abc", 1000))
	dst := make([]byte, 10, 5000)
	got, err := schemas.Unpack(dst, schemas.Pack(nil, data), 1<<20)
	if err != nil || !bytes.Equal(got, data) || &got[0] != &dst[0] {
		t.Errorf("%d bytes, %v, in dst's memory: %t", len(got), err, &got[0] == &dst[0])
	}
	plain := []byte("plain")
	if got, err := schemas.Unpack(dst, plain, 5); err != nil || &got[0] != &plain[0] {
		t.Errorf("plain data was copied, or %v", err)
	}
}

// foreign packs as another client might: without the size in the header.
func foreign(t testing.TB, data []byte, o ...zstd.EOption) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := zstd.NewWriter(&b, append([]zstd.EOption{zstd.WithEncoderConcurrency(1)}, o...)...)
	if err != nil {
		t.Fatal(err)
	}
	for len(data) > 0 { // a size that is known at the first write goes into the header
		n := min(len(data), 100_000)
		if _, err := w.Write(data[:n]); err != nil {
			t.Fatal(err)
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		data = data[n:]
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestUnpackForeign(t *testing.T) {
	data := []byte(strings.Repeat(line300+"\n", 10_000)) // 3.4 MB, more than the first guess
	one := foreign(t, data)
	if got, err := schemas.Unpack(nil, one, schemas.FrameDecoded); err != nil || !bytes.Equal(got, data) {
		t.Errorf("without a size: %d bytes, %v", len(got), err)
	}
	two := append(schemas.Pack(nil, data[:3430]), one...)
	if got, err := schemas.Unpack(nil, two, schemas.FrameDecoded); err != nil || !bytes.Equal(got, append(data[:3430:3430], data...)) {
		t.Errorf("two in a row: %d bytes, %v", len(got), err)
	}
}

// TestUnpackRefuses: what is broken, or more than was allowed, costs a bounded
// amount of memory.
func TestUnpackRefuses(t *testing.T) {
	good := schemas.Pack(nil, []byte(strings.Repeat("abc", 1000)))
	flipped := bytes.Clone(good)
	flipped[len(flipped)-1] ^= 1 // of the checksum
	bomb := foreign(t, make([]byte, 64<<20))
	sized := schemas.Pack(nil, make([]byte, 30<<20))
	lying := bytes.Clone(sized)
	lying[6] = 0xff // of the size in the header
	for _, c := range []struct {
		name string
		data []byte
		want string
	}{
		{"only a magic", good[:4], "unpack: unexpected EOF"},
		{"cut off", good[:len(good)-3], "unpack: unexpected EOF"},
		{"checksum", flipped, "unpack: CRC check failed"},
		{"noise behind", append(bytes.Clone(good), "noise"...), "unpack: "},
		{"bomb", bomb, "unpack: more than 4194304 bytes"},
		{"bomb that says so", sized, "unpack: more than 4194304 bytes"},
		{"bomb that lies", lying, "unpack: more than 4194304 bytes"},
		{"bomb behind a frame", append(bytes.Clone(good), bomb...), "unpack: more than 4194304 bytes"},
		{"a little too much", foreign(t, make([]byte, schemas.FrameDecoded+1)), "unpack: more than 4194304 bytes"},
		{"window", foreign(t, noise(20<<20), zstd.WithWindowSize(16<<20)), "unpack: window size exceeded"},
		{"plain", make([]byte, schemas.FrameDecoded+1), "unpack: more than 4194304 bytes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			got, err := schemas.Unpack(nil, c.data, schemas.FrameDecoded)
			runtime.ReadMemStats(&after)
			if err == nil || !strings.HasPrefix(err.Error(), c.want) {
				t.Errorf("%d bytes, %v; want %s", len(got), err, c.want)
			}
			if used := after.TotalAlloc - before.TotalAlloc; used > 64<<20 {
				t.Errorf("used %d bytes", used)
			}
		})
	}
}

// TestUnpackWindow: the bound on windows holds where larger results are allowed.
func TestUnpackWindow(t *testing.T) {
	err := schemas.DecodeInto(foreign(t, noise(20<<20), zstd.WithWindowSize(16<<20)), new(schemas.Position))
	if err == nil || !strings.HasSuffix(err.Error(), "window size exceeded") {
		t.Error(err)
	}
}

func TestPackConcurrently(t *testing.T) {
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			var buf []byte
			for i := range 50 {
				data := bytes.Repeat(fmt.Appendf(nil, "%d-%d ", g, i), 1000+i)
				got, err := schemas.Unpack(buf, schemas.Pack(nil, data), schemas.FrameDecoded)
				if err != nil || !bytes.Equal(got, data) {
					t.Errorf("%d-%d: %d of %d bytes, %v", g, i, len(got), len(data), err)
				}
				buf = got
			}
		})
	}
	wg.Wait()
}

func TestEncode(t *testing.T) {
	many := map[string]int64{}
	for i := range 200 {
		many[fmt.Sprintf("instance-%d", i)] = int64(i)
	}
	p := schemas.Partial{Partition: 3, TooLate: many, Events: math.MaxInt64}
	first, err := schemas.Encode(p)
	if err != nil || !packed(first) {
		t.Fatalf("packed %t, %v", packed(first), err)
	}
	for range 20 {
		if again, err := schemas.Encode(p); err != nil || !bytes.Equal(first, again) {
			t.Fatalf("the same value gave other bytes, or %v", err)
		}
	}
	var got schemas.Partial
	if err := schemas.DecodeInto(first, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(p, got); diff != "" {
		t.Errorf("partial (-want +got):\n%s", diff)
	}
	if b, err := schemas.Encode(schemas.Last{Value: math.NaN()}); err == nil {
		t.Errorf("NaN became %s", b)
	}
	if b, err := schemas.Encode(strings.Repeat("x", 64<<20)); err == nil {
		t.Errorf("%d bytes over the limit", len(b))
	}
}

func TestDecodeInto(t *testing.T) {
	var p schemas.Position
	if err := schemas.DecodeInto([]byte(`{"seq":18446744073709551615,"index":2,"of a later version":{"x":[]}}`), &p); err != nil || p != (schemas.Position{Seq: math.MaxUint64, Index: 2}) {
		t.Errorf("%+v, %v", p, err)
	}
	for _, s := range []string{``, `{`, `[]`, `{"seq":1,"seq":2}`, `{"seq":-1}`, `{"seq":1.5}`, `{"seq":"1"}`, "{\"seq\":1}{}", "{\"x\":\"\xff\"}", "\x28\xb5\x2f\xfd"} {
		if err := schemas.DecodeInto([]byte(s), new(schemas.Position)); err == nil || !strings.HasPrefix(err.Error(), "decode *schemas.Position: ") {
			t.Errorf("%q: %v", s, err)
		}
	}
}

func FuzzUnpack(f *testing.F) {
	f.Add([]byte("plain"))
	f.Add(schemas.Pack(nil, []byte(strings.Repeat("abc", 1000))))
	f.Add(foreign(f, noise(2000)))
	f.Fuzz(func(t *testing.T, data []byte) {
		const limit = 64 << 10
		if got, err := schemas.Unpack(nil, data, limit); err == nil && len(got) > limit {
			t.Fatalf("%d bytes", len(got))
		}
		if len(data) > limit {
			return
		}
		got, err := schemas.Unpack(nil, schemas.Pack(nil, data), limit)
		if packed(data) {
			return // what looks packed already is not JSON, and nobody packs it
		}
		if err != nil || !bytes.Equal(got, data) {
			t.Fatalf("%d of %d bytes, %v", len(got), len(data), err)
		}
	})
}

func BenchmarkPack(b *testing.B) {
	data := []byte(strings.Repeat(line300+"\n", 1000))
	var dst []byte
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		dst = schemas.Pack(dst[:0], data)
	}
}

func BenchmarkUnpack(b *testing.B) {
	data := schemas.Pack(nil, []byte(strings.Repeat(line300+"\n", 1000)))
	var dst []byte
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if dst, err = schemas.Unpack(dst, data, schemas.FrameDecoded); err != nil {
			b.Fatal(err)
		}
	}
}
