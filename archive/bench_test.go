package archive_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/dermai/millrace/archive"
	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/schemas"
)

// frames are 40,000 events in frames of so many. They compress about 7:1.
func frames(events int) (packed [][]byte) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 40_000 / events {
		var b []byte
		for range events {
			b = fmt.Appendf(b, `{"timestamp":"2026-09-21T14:13:20.%06dZ","kind":"log","service":"api","level":"INFO","id":"%016x",`+
				`"trace_id":"%016x%016x","message":"API request","logger":"api.requests","attributes":{"method":"GET","path":"/v1/patients/%d",`+
				`"status_code":%d,"duration_ms":%d.%d,"client":"10.0.%d.%d"}}`+"\n",
				rng.IntN(1e6), rng.Uint64(), rng.Uint64(), rng.Uint64(), rng.IntN(1e4), 200+100*rng.IntN(4), rng.IntN(900), rng.IntN(10), rng.IntN(4), rng.IntN(255))
		}
		packed = append(packed, schemas.Pack(nil, b))
	}
	return packed
}

type counter int64

func (c *counter) Write(b []byte) (int, error) {
	*c += counter(len(b))
	return len(b), nil
}

// BenchmarkWriter keeps frames as they are; BenchmarkRecompress decodes the same
// frames and compresses one stream of all, which is what it is measured against.
func BenchmarkWriter(b *testing.B) {
	for _, events := range []int{1, 100, 1000} {
		packed := frames(events)
		b.Run(fmt.Sprintf("%d events a frame", events), func(b *testing.B) {
			var size counter
			w := archive.NewWriter(&size, tip())
			n := 0
			for b.Loop() {
				e := fence.Entry{Seq: w.Next(), Time: noon, Subject: eventSubject, Data: packed[n%len(packed)]}
				if err := w.Write(&e); err != nil {
					b.Fatal(err)
				}
				n++
			}
			report(b, n*events, int64(size))
		})
	}
}

func BenchmarkRecompress(b *testing.B) {
	for _, events := range []int{1, 100, 1000} {
		packed := frames(events)
		b.Run(fmt.Sprintf("%d events a frame", events), func(b *testing.B) {
			var size counter
			enc, err := zstd.NewWriter(&size, zstd.WithEncoderConcurrency(1))
			if err != nil {
				b.Fatal(err)
			}
			var buf []byte
			n := 0
			for b.Loop() {
				if n%len(packed) == 0 { // another object
					if err := enc.Close(); err != nil {
						b.Fatal(err)
					}
					enc.Reset(&size)
				}
				if buf, err = schemas.Unpack(buf, packed[n%len(packed)], 64<<20); err != nil {
					b.Fatal(err)
				}
				if _, err := enc.Write(buf); err != nil {
					b.Fatal(err)
				}
				n++
			}
			if err := enc.Close(); err != nil {
				b.Fatal(err)
			}
			report(b, n*events, int64(size))
		})
	}
}

func BenchmarkReader(b *testing.B) {
	packed := frames(100)
	var entries []fence.Entry
	for i, p := range packed {
		entries = append(entries, fence.Entry{Seq: tip().First + uint64(i), Time: noon, Subject: eventSubject, Data: p})
	}
	body, _ := write(b, tip(), entries, "")
	n := 0
	for b.Loop() {
		if _, _, err := readObject(body); err != nil && err != io.EOF {
			b.Fatal(err)
		}
		n += len(entries)
	}
	report(b, n*100, int64(len(body))*int64(n/len(entries)))
}

func report(b *testing.B, events int, size int64) {
	b.ReportMetric(float64(events)/b.Elapsed().Seconds(), "events/s")
	b.ReportMetric(float64(size)/float64(events), "B/event")
	b.ReportMetric(0, "ns/op")
}
