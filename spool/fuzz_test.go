package spool_test

import (
	"path/filepath"
	"testing"

	"github.com/dermai/millrace/spool"
)

// Whatever is in a segment, all of it is either a record or named as damage, and
// what was read can be written again.
func FuzzSegment(f *testing.F) {
	whole, _, starts := segment(f, 3, 40)
	f.Add(whole)
	f.Add(whole[:starts[2]+9])
	f.Add(whole[starts[1]:])
	f.Add([]byte("millrace spool 1"))
	f.Fuzz(func(t *testing.T, b []byte) {
		dir := t.TempDir()
		write(t, filepath.Join(dir, "0000000000000001.spool"), b)
		report, err := spool.Check(dir)
		if err != nil {
			t.Fatal(err)
		}
		covered := int64(0)
		for _, d := range report.Damaged {
			covered += d.Length
		}
		s := open(t, spool.Config{Dir: dir})
		again := open(t, spool.Config{Dir: t.TempDir()})
		for _, lane := range s.Lanes() {
			put(t, again, all(t, s, lane)...)
		}
		for _, l := range report.Lanes {
			covered += l.Bytes
		}
		if magic := int64(len(b)) - covered; magic != 0 && magic != 16 {
			t.Errorf("%d of %d bytes are neither a record nor damage", magic, len(b))
		}
		if err := again.Close(); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	})
}
