package archive_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/dermai/millrace/archive"
	"github.com/dermai/millrace/fence"
)

func FuzzReader(f *testing.F) {
	body, _ := write(f, tip(), sample(), "")
	f.Add(body)
	f.Add(body[:60])
	empty, _ := write(f, tip(), nil, "2026-09-22")
	f.Add(empty)
	f.Fuzz(func(t *testing.T, b []byte) {
		records, r, err := readObject(b)
		var corrupt *archive.CorruptError
		if err != nil && !errors.As(err, &corrupt) {
			t.Fatalf("%v is not a CorruptError", err)
		}
		if err == nil && (r.Index() == nil || r.Index().Count != uint64(len(records))) {
			t.Fatalf("%d records under the index %v", len(records), r.Index())
		}
	})
}

func FuzzPayload(f *testing.F) {
	for _, p := range payloads(rand.New(rand.NewPCG(1, 1))) {
		if len(p) < 1<<16 {
			f.Add(p, "subject", "name", "value")
		}
	}
	f.Fuzz(func(t *testing.T, p []byte, subject, name, value string) {
		entries := []fence.Entry{{Seq: 7, Time: noon, Subject: subject, Header: fence.Header{name: value}, Data: p}}
		body, _ := write(t, tip(), entries, "")
		got, _, err := readObject(body)
		if err != nil {
			t.Fatal(err)
		}
		if diff := diffRecords(wantRecords(archive.Chain{}, tip().Arrival, entries), got); diff != "" {
			t.Fatalf("(-want +got):\n%s", diff)
		}
		// What is printed ends in a newline, if anything is.
		dec, err := zstd.NewReader(bytes.NewReader(body), zstd.WithDecoderConcurrency(1))
		if err != nil {
			t.Fatal(err)
		}
		defer dec.Close()
		text, err := io.ReadAll(dec)
		if err != nil || len(text) > 0 && text[len(text)-1] != '\n' {
			t.Fatalf("decodes to %q, %v", text, err)
		}
	})
}
