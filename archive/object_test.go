package archive_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"github.com/dermai/millrace/archive"
	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/internal/testenv"
)

var update = flag.Bool("update", false, "add golden files that are missing")

// noon is a day's middle, Unix ns.
const noon = int64(1_790_000_000_000_000_000)

func tip() archive.Tip {
	return archive.Tip{
		Name: archive.Name{
			Chain: archive.Chain{Class: "telemetry", Stream: "EVENTS_0", Epoch: archive.Epoch{Created: noon - 1e9}},
			Day:   "2026-09-21", First: 7,
		},
		Arrival: noon - 5, Message: archive.Mark{Seq: 6, ID: "06"}, Key: "k", Hash: "aa",
	}
}

// rawFrame is a zstd frame of up to 255 bytes in one raw block, as any encoder
// may write it.
func rawFrame(text string) []byte {
	b := []byte{0x28, 0xb5, 0x2f, 0xfd, 0x20, byte(len(text))}
	h := uint32(len(text))<<3 | 1
	b = append(b, byte(h), byte(h>>8), byte(h>>16))
	return append(b, text...)
}

// sample has a message of each kind, and gaps.
func sample() []fence.Entry {
	return []fence.Entry{
		{Seq: 7, Time: noon, Subject: "events.0.log.api.l1", Header: fence.Header{"Millrace-Events": "2", "A": "\xff\x00"},
			Data: rawFrame("{\"a\":1}\n{\"a\":2}\n")},
		{Seq: 8, Time: noon - 100, Subject: "events.0.log.api.l1", Data: rawFrame(`{"a":3}`)},
		{Seq: 11, Time: noon + 1, Subject: "ingest.log.api", Data: []byte(`{"a":4}`)},
		{Seq: 12, Time: noon + 2, Subject: "events.0.tick"},
		{Seq: 13, Time: noon + 3, Subject: "ingest.log.\xe4", Header: fence.Header{"": ""}, Data: []byte("{\"a\":5}\n")},
		{Seq: 14, Time: noon + 4, Subject: "events.0.log.api.l1", Data: rawFrame("")},
	}
}

func write(tb testing.TB, tip archive.Tip, entries []fence.Entry, nextDay string) ([]byte, archive.Tip) {
	tb.Helper()
	var b bytes.Buffer
	w := archive.NewWriter(&b, tip)
	for _, e := range entries {
		if e.Seq > w.Next() {
			if err := w.Miss(e.Seq-1, archive.MissingDeleted); err != nil {
				tb.Fatal(err)
			}
		}
		if err := w.Write(&e); err != nil {
			tb.Fatal(err)
		}
	}
	next, err := w.Close(nextDay)
	if err != nil {
		tb.Fatal(err)
	}
	return b.Bytes(), next
}

func readObject(b []byte) (records []archive.Record, r *archive.Reader, err error) {
	r = archive.NewReader(bytes.NewReader(b))
	for {
		rec, err := r.Next()
		if err == io.EOF {
			return records, r, nil
		}
		if err != nil {
			return records, r, err
		}
		clone := *rec
		clone.Payload = bytes.Clone(rec.Payload)
		records = append(records, clone)
	}
}

// records is what entries must come back as, behind an arrival.
func wantRecords(chain archive.Chain, arrival int64, entries []fence.Entry) []archive.Record {
	var out []archive.Record
	for _, e := range entries {
		arrival = max(arrival, e.Time)
		out = append(out, archive.Record{Chain: chain, Seq: e.Seq, Arrival: arrival, Time: e.Time, Subject: e.Subject, Header: e.Header, Payload: e.Data})
	}
	return out
}

func diffRecords(want, got []archive.Record) string {
	text := func(rs []archive.Record) (out []string) {
		for _, r := range rs {
			out = append(out, fmt.Sprintf("%s %d %d %d %q %q %q", r.Chain, r.Seq, r.Arrival, r.Time, r.Subject, r.Header, r.Payload))
		}
		return out
	}
	return cmp.Diff(text(want), text(got))
}

// TestGolden: objects that were ever written stay readable, and the newest one is
// what is written now. When a new zstd library compresses otherwise, add a file;
// never change one.
func TestGolden(t *testing.T) {
	body, _ := write(t, tip(), sample(), "2026-09-22")
	newest := filepath.Join("testdata", "l0-1.jsonl.zst")
	if _, err := os.Stat(newest); *update && errors.Is(err, os.ErrNotExist) {
		if err := errors.Join(os.MkdirAll("testdata", 0o755), os.WriteFile(newest, body, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	golden, err := os.ReadFile(newest)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(golden, body) {
		t.Errorf("%s is not what is written now:\nwant %q\n got %q", newest, golden, body)
	}
	files, err := filepath.Glob(filepath.Join("testdata", "*.jsonl.zst"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		body, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		records, r, err := readObject(body)
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		text, err := json.MarshalIndent(map[string]any{"records": records, "index": r.Index(), "hash": r.Hash()}, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		text = append(text, '\n')
		if _, err := os.Stat(file + ".json"); *update && errors.Is(err, os.ErrNotExist) {
			if err := os.WriteFile(file+".json", text, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file + ".json")
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), string(text)); diff != "" {
			t.Errorf("%s reads otherwise (-want +got):\n%s", file, diff)
		}
	}
}

func TestKeys(t *testing.T) {
	name := tip().Name
	name.Epoch = archive.Epoch{Created: 1_790_000_000_000_000_000, Generation: 2}
	key := name.Key()
	if want := "l0/telemetry/EVENTS_0/dll21jtdksu8-2/dt=2026-09-21/00000000000000000007.jsonl.zst"; key != want {
		t.Errorf("key %q, want %q", key, want)
	}
	if got, err := archive.ParseKey(key); err != nil || got != name {
		t.Errorf("parse %q: %v, %v", key, got, err)
	}
	for _, bad := range []string{
		"", "l0", "l1" + key[2:], key + "x", strings.Replace(key, "dt=", "", 1), strings.Replace(key, "-2", "-02", 1),
		strings.Replace(key, "-2", "-0", 1), strings.Replace(key, "-2", "--2", 1), strings.Replace(key, "09-21", "09-31", 1),
		strings.Replace(key, "0007", "007", 1), strings.Replace(key, "dll2", "DLL2", 1), strings.Replace(key, "EVENTS_0/", "", 1),
	} {
		if got, err := archive.ParseKey(bad); err == nil {
			t.Errorf("parse %q: %v; want an error", bad, got)
		}
	}
}

// payloads are what clients may send, good and bad.
func payloads(rng *rand.Rand) [][]byte {
	line := func() string { return fmt.Sprintf("{\"n\":%d,\"text\":\"%x\"}\n", rng.IntN(100), rng.Uint64()) }
	text := []byte(strings.Repeat(line(), 1+rng.IntN(500)) + line())
	enc, _ := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	noCRC, _ := zstd.NewWriter(nil, zstd.WithEncoderCRC(false), zstd.WithSingleSegment(true))
	var streamed bytes.Buffer
	s, _ := zstd.NewWriter(&streamed)
	s.Write(text)
	s.Flush()
	s.Write(text)
	s.Close()
	frame := enc.EncodeAll(text, nil)
	huge := enc.EncodeAll(make([]byte, 9<<20), nil)
	return [][]byte{
		nil, []byte("x"), []byte("\n"), text, text[:len(text)-1], frame, noCRC.EncodeAll(text, nil), streamed.Bytes(), huge,
		enc.EncodeAll(text[:len(text)-1], nil), append(bytes.Clone(frame), frame...), append(bytes.Clone(frame), "\n"...),
		frame[:len(frame)-1], frame[:4], frame[:7], {0x50, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 'x'}, {0x5a, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 'M'},
		rawFrame(""), rawFrame("a"), rawFrame("a\n"), {0xff, 0xfe},
		{0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xff, 1, 0, 0}, // a window far too large
	}
}

func TestRoundTrip(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 1))
		var entries []fence.Entry
		seq := tip().First
		for _, p := range payloads(rng) {
			if rng.IntN(4) == 0 {
				seq += rng.Uint64N(5)
			}
			e := fence.Entry{Seq: seq, Time: noon + rng.Int64N(2e9) - 1e9, Subject: "ingest.log.x", Data: p}
			for range rng.IntN(3) {
				if e.Header == nil {
					e.Header = fence.Header{}
				}
				e.Header[fmt.Sprint("H", rng.IntN(10))] = strings.Repeat("v", rng.IntN(300))
			}
			entries = append(entries, e)
			seq++
		}
		body, next := write(t, tip(), entries, "")
		got, r, err := readObject(body)
		if err != nil {
			t.Fatal(err)
		}
		if diff := diffRecords(wantRecords(archive.Chain{}, tip().Arrival, entries), got); diff != "" {
			t.Fatalf("seed %d (-want +got):\n%.2000s", seed, diff)
		}
		if next.First != seq || r.Hash() != next.Hash {
			t.Fatalf("the chain goes on at %d behind %s, want %d behind %s", next.First, next.Hash, seq, r.Hash())
		}
	}
}

// TestZstdcat: the zstd program prints an object as NDJSON, whatever frames
// clients sent: a frame that it would refuse must not be kept as it is.
func TestZstdcat(t *testing.T) {
	program := testenv.Need(t, "zstd")
	cat := func(body []byte) (string, error) {
		cmd := exec.CommandContext(t.Context(), program, "-dcq")
		cmd.Stdin = bytes.NewReader(body)
		out, err := cmd.Output()
		return string(out), err
	}
	body, _ := write(t, tip(), sample(), "")
	got, err := cat(body)
	if want := "{\"a\":1}\n{\"a\":2}\n{\"a\":3}\n{\"a\":4}\n{\"a\":5}\n"; err != nil || got != want {
		t.Errorf("zstd -dc: %q, %v; want %q", got, err, want)
	}

	rng := rand.New(rand.NewPCG(1, 2))
	var entries []fence.Entry
	add := func(p []byte) {
		entries = append(entries, fence.Entry{Seq: tip().First + uint64(len(entries)), Time: noon, Subject: "s", Data: p})
	}
	for len(entries) < 3000 {
		for _, p := range payloads(rng) {
			if len(p) > 1<<20 {
				continue
			}
			for range 20 {
				m := bytes.Clone(p)
				for range 1 + rng.IntN(2) {
					if len(m) > 0 {
						m[rng.IntN(min(len(m), 40))] ^= 1 << rng.IntN(8)
					}
				}
				add(m)
			}
		}
	}
	body, _ = write(t, tip(), entries, "")
	if got, err := cat(body); err != nil {
		t.Errorf("zstd -dc refuses an object with damaged frames in it: %v, after %d bytes", err, len(got))
	}
	records, _, err := readObject(body)
	if err != nil {
		t.Fatal(err)
	}
	if diff := diffRecords(wantRecords(archive.Chain{}, tip().Arrival, entries), records); diff != "" {
		t.Errorf("damaged frames (-want +got):\n%.2000s", diff)
	}
}

// TestDamage flips, cuts, adds and moves bytes of an object: each is noticed and
// named, and no message is given out other than it was written.
func TestDamage(t *testing.T) {
	body, _ := write(t, tip(), sample(), "")
	want := wantRecords(archive.Chain{}, tip().Arrival, sample())
	damaged := func(what string, b []byte) {
		t.Helper()
		records, _, err := readObject(b)
		if corrupt, ok := errors.AsType[*archive.CorruptError](err); !ok {
			t.Errorf("%s: %v; want a CorruptError", what, err)
		} else if corrupt.Offset < 0 || corrupt.Offset > int64(len(b)) || corrupt.What == "" {
			t.Errorf("%s: names no place: %v", what, err)
		}
		if diff := diffRecords(want[:min(len(records), len(want))], records); diff != "" {
			t.Errorf("%s: gave out (-want +got):\n%s", what, diff)
		}
	}
	for i := range body {
		for bit := range 8 {
			b := bytes.Clone(body)
			b[i] ^= 1 << bit
			damaged(fmt.Sprintf("bit %d of byte %d flipped", bit, i), b)
		}
		damaged(fmt.Sprintf("cut to %d bytes", i), body[:i])
	}
	damaged("a byte more", append(bytes.Clone(body), 0))
	damaged("twice", append(bytes.Clone(body), body...))
	lie := binary.LittleEndian.AppendUint32([]byte{0x5a, 0x2a, 0x4d, 0x18}, 60<<20)
	damaged("a length that is a lie", append(lie, 'M', 1, 2, 3))

	// The index of this object over the messages of others, each whole in itself.
	index := body[bytes.LastIndex(body[:len(body)-60], []byte{0x5a, 0x2a, 0x4d, 0x18}):]
	altered := sample()
	altered[1].Data = rawFrame(`{"a":9}`)
	for what, entries := range map[string][]fence.Entry{"altered": altered, "fewer": sample()[1:]} {
		other, _ := write(t, tip(), entries, "")
		other = other[:bytes.LastIndex(other[:len(other)-60], []byte{0x5a, 0x2a, 0x4d, 0x18})]
		if _, _, err := readObject(append(other, index...)); err == nil {
			t.Errorf("the index over %s messages: no error", what)
		}
	}
}

// bomb is a frame without a size that repeats one byte n times 128 KiB.
func bomb(n int) []byte {
	b := []byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, 7 << 3} // a window of 128 KiB
	for i := range n {
		h := uint32(128<<10)<<3 | 1<<1
		if i == n-1 {
			h |= 1
		}
		b = append(b, byte(h), byte(h>>8), byte(h>>16), 'x')
	}
	return b
}

// TestKeptAsTheyAre: one frame that anybody can decode is not compressed again,
// everything else is.
func TestKeptAsTheyAre(t *testing.T) {
	text := []byte(strings.Repeat("{\"a\":1}\n", 100))
	encode := func(text []byte, o ...zstd.EOption) []byte {
		enc, err := zstd.NewWriter(nil, o...)
		if err != nil {
			t.Fatal(err)
		}
		return enc.EncodeAll(text, nil)
	}
	frame := encode(text)
	wide := append([]byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, 14 << 3}, 3<<3|1, 0, 0, 'a', 'b', '\n') // a window of 16 MiB
	for _, c := range []struct {
		what    string
		payload []byte
		want    bool
	}{
		{"a frame", frame, true},
		{"without checksum", encode(text, zstd.WithEncoderCRC(false)), true},
		{"without size", encode([]byte("short\n")), true},
		{"8 MiB", encode(make([]byte, 8<<20), zstd.WithWindowSize(1<<20)), true},
		{"more than 8 MiB", encode(make([]byte, 8<<20+1), zstd.WithWindowSize(1<<20)), false},
		{"a wide window", wide, false},
		{"a bomb that does not tell its size", bomb(100), false},
		{"a harmless one", bomb(10), true},
		{"two frames", append(bytes.Clone(frame), frame...), false},
		{"something behind it", append(bytes.Clone(frame), '\n'), false},
		{"cut", frame[:len(frame)-1], false},
		{"text", text, false},
	} {
		entries := []fence.Entry{{Seq: 7, Time: noon, Data: c.payload}}
		body, _ := write(t, tip(), entries, "")
		head := 8 + binary.LittleEndian.Uint32(body[4:])
		if got := bytes.HasPrefix(body[head:], c.payload); got != c.want {
			t.Errorf("%s: kept as it is: %v, want %v", c.what, got, c.want)
		}
		got, _, err := readObject(body)
		if err != nil {
			t.Fatalf("%s: %v", c.what, err)
		}
		if diff := diffRecords(wantRecords(archive.Chain{}, tip().Arrival, entries), got); diff != "" {
			t.Errorf("%s (-want +got):\n%.500s", c.what, diff)
		}
	}
}

func TestWriterRefuses(t *testing.T) {
	w := archive.NewWriter(io.Discard, tip())
	for what, e := range map[string]fence.Entry{
		"a sequence too far": {Seq: 8, Time: noon},
		"a sequence again":   {Seq: 6, Time: noon},
		"the next day":       {Seq: 7, Time: noon + 24*3600*1e9},
		"too large":          {Seq: 7, Time: noon, Data: make([]byte, 64<<20+1)},
	} {
		if err := w.Write(&e); err == nil {
			t.Errorf("%s: no error", what)
		}
	}
	if err := w.Miss(6, archive.MissingDeleted); err == nil {
		t.Error("missing sequences that were covered: no error")
	}
}
