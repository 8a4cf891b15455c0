package spool_test

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dermai/millrace/internal/testenv"
	"github.com/dermai/millrace/spool"
)

func within(t testing.TB, what string, holds func() bool) {
	t.Helper()
	deadline := time.NewTimer(10 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("not within ten seconds: %s", what)
		}
	}
}

// segment gives the bytes of one segment with records 1 to n of a lane, and where
// each record begins.
func segment(t testing.TB, n, size int) ([]byte, []spool.Record, []int) {
	t.Helper()
	dir := t.TempDir()
	s := open(t, spool.Config{Dir: dir})
	var records []spool.Record
	starts := []int{16}
	for i := range n {
		r := record("events.0.log.a.L", uint64(i)+1, size)
		put(t, s, r)
		records = append(records, r)
		starts = append(starts, int(s.Stats().Bytes))
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return read(t, files(t, dir, ".spool")[0]), records, starts
}

// Wherever a loss of power cuts the last record, the ones before it are read, and
// the place of the cut is named.
func TestCutAtEveryByte(t *testing.T) {
	whole, records, starts := segment(t, 4, 10)
	for cut := starts[3]; cut < len(whole); cut++ {
		for _, tail := range [][]byte{nil, make([]byte, len(whole)-cut)} { // ext4 may leave zeros
			dir := t.TempDir()
			write(t, filepath.Join(dir, "0000000000000001.spool"), append(slices.Clone(whole[:cut]), tail...))
			s := open(t, spool.Config{Dir: dir})
			want := records[:3]
			if string(whole[:cut])+string(tail) == string(whole) { // what was cut off was zero
				want = records
			}
			if diff := cmp.Diff(want, all(t, s, "events.0.log.a.L")); diff != "" {
				t.Fatalf("cut at %d: %s", cut, diff)
			}
			damage := s.Damage()
			if cut == starts[3] && tail == nil {
				if len(damage) > 0 {
					t.Errorf("cut between records: %v", damage)
				}
			} else if len(damage) != 1 || damage[0].Offset != int64(starts[3]) || !damage[0].Tail {
				t.Fatalf("cut at %d: %v", cut, damage)
			}
			// It goes on with a new segment, behind what was cut.
			put(t, s, record("events.0.log.a.L", 9, 10))
			if n, _, _ := s.Pending("events.0.log.a.L"); n != len(want)+1 {
				t.Fatalf("cut at %d: %d records", cut, n)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// Whichever bit flips, exactly the record that holds it is lost, and it is named.
func TestEveryFlippedBit(t *testing.T) {
	whole, records, starts := segment(t, 3, 30)
	for bit := range len(whole) * 8 {
		b := slices.Clone(whole)
		b[bit/8] ^= 1 << (bit % 8)
		dir := t.TempDir()
		write(t, filepath.Join(dir, "0000000000000001.spool"), b)
		report, err := spool.Check(dir)
		if err != nil {
			t.Fatal(err)
		}
		hit := 0 // the segment's own beginning
		for hit < 3 && bit/8 >= starts[hit] {
			hit++
		}
		want := records
		if hit > 0 {
			want = slices.Delete(slices.Clone(records), hit-1, hit)
		}
		if n := report.Lanes[0].Records; n != len(want) {
			t.Fatalf("bit %d: %d records, want %d", bit, n, len(want))
		}
		if len(report.Damaged) != 1 || report.Damaged[0].Offset > int64(bit/8) || report.Damaged[0].Offset+report.Damaged[0].Length <= int64(bit/8) {
			t.Fatalf("bit %d at byte %d: %v", bit, bit/8, report.Damaged)
		}
		if bit%61 == 0 { // the spool itself sees what Check sees
			s := open(t, spool.Config{Dir: dir})
			if diff := cmp.Diff(want, all(t, s, "events.0.log.a.L")); diff != "" {
				t.Fatalf("bit %d: %s", bit, diff)
			}
			if diff := cmp.Diff(report.Damaged, s.Damage()); diff != "" {
				t.Fatalf("bit %d: %s", bit, diff)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// Damage behind an open spool's back is skipped, counted and kept for a look.
func TestDamagedWhileOpen(t *testing.T) {
	dir := t.TempDir()
	s := open(t, spool.Config{Dir: dir})
	for b := range uint64(20) {
		put(t, s, record("l", b+1, 500))
	}
	path := files(t, dir, ".spool")[0]
	b := read(t, path)
	rng := rand.New(rand.NewPCG(1, 2))
	b[len(b)/20*10+rng.IntN(100)] ^= 4
	write(t, path, b)
	got := all(t, s, "l")
	if len(got) != 19 || s.Stats().Damaged != 1 || s.Damage()[0].Batch != 11 {
		t.Errorf("%d records, damage %v", len(got), s.Damage())
	}
	s.Done("l", 20)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	report, err := spool.Check(dir)
	if err != nil || len(report.Damaged) != 1 || len(report.Lanes) != 0 {
		t.Errorf("afterwards: %+v, %v", report, err)
	}
	if len(files(t, dir, ".damaged")) != 1 || len(files(t, dir, ".spool")) != 0 {
		t.Errorf("kept: %v", files(t, dir, ""))
	}
}

// Lost marks cost nothing but reading again.
func TestDamagedMarks(t *testing.T) {
	dir := t.TempDir()
	s := open(t, spool.Config{Dir: dir})
	put(t, s, record("l", 1, 1), record("l", 2, 1))
	s.Done("l", 1)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	marks := read(t, filepath.Join(dir, "done"))
	marks[len(marks)-1] ^= 1
	write(t, filepath.Join(dir, "done"), marks)
	s = open(t, spool.Config{Dir: dir})
	if n, first, done := s.Pending("l"); n != 2 || first != 1 || done != 0 {
		t.Errorf("%d records from %d on, done %d", n, first, done)
	}
}

// A full disk is a full spool: nothing is half written, and all goes on when
// there is room.
func TestDiskFull(t *testing.T) {
	dir := testenv.Tmpfs(t, "1m")
	s := open(t, spool.Config{Dir: filepath.Join(dir, "spool"), MaxBytes: 1 << 30})
	ballast := filepath.Join(dir, "ballast")
	write(t, ballast, make([]byte, 200<<10))
	var want []spool.Record
	refused := 0
	for batch := uint64(1); len(want) < 20 || refused < 3; batch++ {
		r := record("l", batch, 30<<10)
		switch err := s.Append(r); {
		case err == nil:
			want = append(want, r)
		case errors.Is(err, spool.ErrFull):
			refused++
			if refused == 3 {
				if err := os.Remove(ballast); err != nil {
					t.Fatal(err)
				}
			}
		default:
			t.Fatal(err)
		}
		if batch > 100 {
			t.Fatalf("%d taken, %d refused", len(want), refused)
		}
	}
	for range 3 { // behind the ballast's room
		r := record("l", 200+uint64(len(want)), 10<<10)
		put(t, s, r)
		want = append(want, r)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, spool.Config{Dir: filepath.Join(dir, "spool"), MaxBytes: 1 << 30})
	if diff := cmp.Diff(want, all(t, s, "l"), atOnce); diff != "" {
		t.Error(diff)
	}
	if d := s.Damage(); len(d) > 0 {
		t.Errorf("damage: %v", d)
	}
}

// A file system that became read-only refuses every record, and an old spool on
// it can be looked at but not opened.
func TestReadOnly(t *testing.T) {
	dir := testenv.Tmpfs(t, "8m")
	c := spool.Config{Dir: filepath.Join(dir, "spool")}
	s := open(t, c)
	put(t, s, record("l", 1, 10))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("", dir, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := spool.Open(c); !errors.Is(err, syscall.EROFS) {
		t.Errorf("open: %v", err)
	}
	report, err := spool.Check(c.Dir)
	if err != nil || len(report.Lanes) != 1 {
		t.Errorf("check: %+v, %v", report, err)
	}
}
