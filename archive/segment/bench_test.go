package segment_test

import (
	"bytes"
	"io"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"

	"github.com/dermai/millrace/archive"
	"github.com/dermai/millrace/archive/segment"
	"github.com/dermai/millrace/internal/testenv"
	"github.com/dermai/millrace/internal/traffic"
	"github.com/dermai/millrace/schemas"
)

const (
	benchEvents = 200_000
	benchFrame  = 1000
	noon        = 1_790_000_000_000_000_000
)

var chain = archive.Chain{Class: "telemetry", Stream: "EVENTS_0", Epoch: archive.Epoch{Created: noon}}

// records are frames of the reference generator.
func records() (out []archive.Record, size int64) {
	g := traffic.New(traffic.Config{Seed: 1})
	var frame []byte
	for i := range benchEvents {
		now := noon + int64(i)*int64(100*time.Microsecond)
		at := len(frame)
		frame, _, _ = g.AppendLine(frame, now)
		if frame[len(frame)-1] != '\n' {
			frame = append(frame, '\n')
		}
		size += int64(len(frame) - at)
		if (i+1)%benchFrame == 0 {
			out = append(out, archive.Record{
				Chain: chain, Seq: uint64(len(out) + 1), Arrival: now, Time: now,
				Subject: "events.0.log.api.l1", Payload: schemas.Pack(nil, frame),
			})
			frame = frame[:0]
		}
	}
	return out, size
}

func write(tb testing.TB, w io.Writer, messages []archive.Record) segment.Summary {
	tb.Helper()
	s := segment.NewWriter(w, chain)
	for i := range messages {
		if err := s.Write(&messages[i]); err != nil {
			tb.Fatal(err)
		}
	}
	sum, err := s.Close()
	if err != nil {
		tb.Fatal(err)
	}
	return sum
}

func rate(b *testing.B, begun float64, size int64) {
	b.ReportMetric(float64(b.N)*benchEvents/b.Elapsed().Seconds(), "events/s")
	b.ReportMetric(float64(b.N)*benchEvents/(testenv.CPU()-begun), "events/core-s")
	b.ReportMetric(float64(size)/benchEvents, "B/event")
}

// BenchmarkWrite makes a segment of frames: it unpacks, decodes, and writes rows.
// BenchmarkStraight writes the same rows, made before, which is what it is measured
// against.
func BenchmarkWrite(b *testing.B) {
	messages, _ := records()
	var out bytes.Buffer
	begun := testenv.CPU()
	for b.Loop() {
		out.Reset()
		write(b, &out, messages)
	}
	rate(b, begun, int64(out.Len()))
}

func BenchmarkStraight(b *testing.B) {
	messages, _ := records()
	var out bytes.Buffer
	write(b, &out, messages)
	rows, err := parquet.Read[segment.Row](bytes.NewReader(out.Bytes()), int64(out.Len()))
	if err != nil {
		b.Fatal(err)
	}
	begun := testenv.CPU()
	for b.Loop() {
		out.Reset()
		w := parquet.NewGenericWriter[segment.Row](&out, segment.Options()...)
		for i := 0; i < len(rows); i += benchFrame {
			if _, err := w.Write(rows[i : i+benchFrame]); err != nil {
				b.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			b.Fatal(err)
		}
	}
	rate(b, begun, int64(out.Len()))
}

// BenchmarkRead reads the messages and what proves that all is there, BenchmarkMessages
// the messages alone.
func BenchmarkRead(b *testing.B) {
	benchRead(b, func(r *bytes.Reader) error {
		_, err := segment.Read(r, r.Size(), chain, nothing)
		return err
	})
}

func BenchmarkMessages(b *testing.B) {
	benchRead(b, func(r *bytes.Reader) error {
		f, err := segment.Open(r, r.Size(), chain, benchEvents)
		if err != nil {
			return err
		}
		return f.Messages(segment.Select{}, nothing)
	})
}

func nothing(*archive.Record) error { return nil }

func benchRead(b *testing.B, read func(*bytes.Reader) error) {
	messages, size := records()
	var out bytes.Buffer
	write(b, &out, messages)
	begun := testenv.CPU()
	for b.Loop() {
		if err := read(bytes.NewReader(out.Bytes())); err != nil {
			b.Fatal(err)
		}
	}
	rate(b, begun, int64(out.Len()))
	b.ReportMetric(float64(size)/benchEvents, "JSON-B/event")
}
