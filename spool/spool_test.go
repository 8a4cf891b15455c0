package spool_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dermai/millrace/spool"
)

var update = flag.Bool("update", false, "write the golden file")

// atOnce compares data at once: byte by byte takes minutes.
var atOnce = cmp.Comparer(bytes.Equal)

func open(t testing.TB, c spool.Config) *spool.Spool {
	t.Helper()
	s, err := spool.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func record(lane string, batch uint64, size int) spool.Record {
	return spool.Record{
		Lane: lane, Batch: batch, Events: 1 + int(batch)%3, Source: fmt.Sprint("s", batch%2), Time: 1e18 + int64(batch),
		Data: bytes.Repeat(fmt.Appendf(nil, "%s/%d;", lane, batch), 1+size/10),
	}
}

func put(t testing.TB, s *spool.Spool, records ...spool.Record) {
	t.Helper()
	for _, r := range records {
		if err := s.Append(r); err != nil {
			t.Fatalf("append batch %d of %s: %v", r.Batch, r.Lane, err)
		}
	}
}

// all reads a lane to its end.
func all(t testing.TB, s *spool.Spool, lane string) []spool.Record {
	t.Helper()
	records, err := s.Peek(lane, func(*spool.Record) bool { return true })
	if err != nil {
		t.Fatal(err)
	}
	return records
}

// files lists what a spool consists of.
func files(t testing.TB, dir, ending string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*"+ending))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func read(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func write(t testing.TB, path string, b []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// What was appended comes back in order, lane by lane, over restarts, until it is
// done; and then nothing is left on the disk.
func TestSpool(t *testing.T) {
	c := spool.Config{Dir: filepath.Join(t.TempDir(), "a", "spool"), MaxBytes: 4 << 20}
	s := open(t, c)
	want := map[string][]spool.Record{}
	for i := range uint64(40) {
		for _, lane := range []string{"audit.b.X", "events.0.log.a.Y"} {
			r := record(lane, i+3, 50<<10*int(i%2))
			put(t, s, r)
			want[lane] = append(want[lane], r)
		}
	}
	if n := len(files(t, c.Dir, ".spool")); n < 2 {
		t.Errorf("%d segments: the test does not rotate", n)
	}
	if _, err := spool.Open(c); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("opened twice: %v", err)
	}
	for _, done := range []uint64{0, 5, 12} {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = open(t, c)
		if diff := cmp.Diff([]string{"audit.b.X", "events.0.log.a.Y"}, s.Lanes()); diff != "" {
			t.Error(diff)
		}
		s.Done("audit.b.X", done)
		left := want["audit.b.X"]
		for len(left) > 0 && left[0].Batch <= done {
			left = left[1:]
		}
		if diff := cmp.Diff(left, all(t, s, "audit.b.X"), atOnce); diff != "" {
			t.Fatalf("done up to %d: %s", done, diff)
		}
		if diff := cmp.Diff(want["events.0.log.a.Y"], all(t, s, "events.0.log.a.Y"), atOnce); diff != "" {
			t.Fatal(diff)
		}
		if n, first, d := s.Pending("audit.b.X"); n != len(left) || first != left[0].Batch || d != done {
			t.Errorf("done up to %d: %d records from %d on, done %d", done, n, first, d)
		}
	}
	within(t, "check sees the lanes and the mark", func() bool {
		report, err := spool.Check(c.Dir)
		return err == nil && len(report.Damaged) == 0 && len(report.Lanes) == 2 && report.Lanes[1].Records == 40 && report.Lanes[0].First == 13
	})
	s.Done("audit.b.X", 100)
	s.Done("events.0.log.a.Y", 42)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if st := s.Stats(); st != (spool.Stats{}) || len(files(t, c.Dir, ".spool")) != 0 {
		t.Errorf("left: %+v, %v", st, files(t, c.Dir, ".spool"))
	}
	if err := s.Append(record("l", 1, 1)); !errors.Is(err, spool.ErrClosed) {
		t.Errorf("append after close: %v", err)
	}
}

// Many callers share the syncs, and each finds its records.
func TestGroupCommit(t *testing.T) {
	c := spool.Config{Dir: t.TempDir()}
	s := open(t, c)
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			for b := range uint64(50) {
				put(t, s, record(fmt.Sprint("lane", i), b+1, 100))
			}
		})
	}
	wg.Wait()
	for i := range 16 {
		got := all(t, s, fmt.Sprint("lane", i))
		for b, r := range got {
			if r.Batch != uint64(b)+1 {
				t.Fatalf("batch %d at place %d", r.Batch, b)
			}
		}
		if len(got) != 50 {
			t.Errorf("lane %d has %d records", i, len(got))
		}
	}
}

// At its bound the spool refuses, writes nothing, and takes again when there is
// room.
func TestFull(t *testing.T) {
	s := open(t, spool.Config{Dir: t.TempDir(), MaxBytes: 2 << 20})
	batch := uint64(1)
	for ; ; batch++ {
		err := s.Append(record("l", batch, 100<<10))
		if errors.Is(err, spool.ErrFull) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if st := s.Stats(); st.Bytes > 2<<20 || st.Bytes < 1800<<10 || st.Records != int(batch)-1 {
		t.Errorf("full at %+v", st)
	}
	s.Done("l", batch-1)
	within(t, "room", func() bool { return s.Append(record("l", batch, 100<<10)) == nil })
}

// The first writers' bytes are read for ever.
func TestGolden(t *testing.T) {
	dir := t.TempDir()
	s := open(t, spool.Config{Dir: dir})
	want := []spool.Record{record("events.3.metric.shop.AB", 7, 10), record("events.3.metric.shop.AB", 8, 30)}
	put(t, s, want...)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	got := read(t, files(t, dir, ".spool")[0])
	golden := filepath.Join("testdata", "segment1.golden")
	if *update {
		write(t, golden, got)
	}
	old := read(t, golden)
	if !bytes.Equal(got, old) {
		t.Errorf("the format has changed: % x", got)
	}
	dir = t.TempDir()
	write(t, filepath.Join(dir, "0000000000000001.spool"), old)
	if diff := cmp.Diff(want, all(t, open(t, spool.Config{Dir: dir}), "events.3.metric.shop.AB")); diff != "" {
		t.Error(diff)
	}
}

func TestRefused(t *testing.T) {
	s := open(t, spool.Config{Dir: t.TempDir()})
	for _, r := range []spool.Record{
		{Batch: 1}, {Lane: "l"}, {Lane: strings.Repeat("l", 2000), Batch: 1}, {Lane: "l", Batch: 1, Data: make([]byte, 2<<20)},
		{Lane: "l", Batch: 1, Source: strings.Repeat("s", 5000)},
	} {
		if err := s.Append(r); err == nil {
			t.Errorf("%.40v was taken", r)
		}
	}
	for _, c := range []spool.Config{{}, {Dir: "x", MaxBytes: 1}} {
		if _, err := spool.Open(c); err == nil {
			t.Errorf("%+v was opened", c)
		}
	}
}
