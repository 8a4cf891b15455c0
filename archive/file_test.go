package archive_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/dermai/millrace/archive"
	"github.com/dermai/millrace/archive/archivetest"
)

func openStore(tb testing.TB, dir string) *archive.FileStore {
	tb.Helper()
	s, err := archive.OpenFileStore(dir)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { s.Close() })
	return s
}

func TestFileStoreConformance(t *testing.T) {
	archivetest.Conformance(t, func(t *testing.T) archive.Store { return openStore(t, t.TempDir()) })
}

// Two stores over one directory are two processes to each other.
func TestFileStoreConformanceOfTwo(t *testing.T) {
	archivetest.Conformance(t, func(t *testing.T) archive.Store {
		dir := t.TempDir()
		return &twoStores{FileStore: openStore(t, dir), other: openStore(t, dir)}
	})
}

func TestFileStoreModes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "store")
	s := openStore(t, dir)
	if err := s.Put(t.Context(), "a/b/c", strings.NewReader("x"), 1); err != nil {
		t.Fatal(err)
	}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		want := fs.FileMode(0o600)
		if e.IsDir() {
			want = 0o700
		}
		if info.Mode().Perm() != want {
			t.Errorf("%s has mode %o, want %o", path, info.Mode().Perm(), want)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(filepath.Join(dir, ".tmp")); len(left) > 0 {
		t.Errorf("a put left %v", left)
	}
}

func TestFileStoreSweepsDeadWriters(t *testing.T) {
	dir := t.TempDir()
	openStore(t, dir)
	dead, alive := filepath.Join(dir, ".tmp", "dead"), filepath.Join(dir, ".tmp", "alive")
	for _, name := range []string{dead, alive} {
		if err := os.WriteFile(name, []byte("half an obj"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f, err := os.Open(alive)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	openStore(t, dir)
	if _, err := os.Stat(dead); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the leftover of a dead writer is still there: %v", err)
	}
	if _, err := os.Stat(alive); err != nil {
		t.Errorf("the file of a live writer is gone: %v", err)
	}
}

func TestFileStoreStaysInside(t *testing.T) {
	outside := t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "secret"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	s := openStore(t, dir)
	for name, target := range map[string]string{"out": outside, "file": filepath.Join(outside, "secret")} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, key := range []string{"out/secret", "file"} {
		if r, err := s.Get(t.Context(), key, 0, -1); err == nil {
			r.Close()
			t.Errorf("get %s left the store", key)
		}
	}
	if err := s.Put(t.Context(), "out/new", strings.NewReader("x"), 1); err == nil {
		t.Error("put out/new left the store")
	}
	for o, err := range s.List(t.Context(), "", "") {
		t.Errorf("listed %v, %v", o, err)
	}
	if left, _ := os.ReadDir(outside); len(left) != 1 {
		t.Errorf("outside of the store there is now %v", left)
	}
}
