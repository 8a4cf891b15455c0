package archive

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/dermai/millrace/internal/chaos"
)

// FileStore is the Store in a directory: an object is a file whose path is its
// key. Files have mode 0600, directories 0700. Nothing outside the directory is
// touched, whatever symbolic links are in it.
//
// An object is written to a temporary file, synced, linked to its name, which
// fails if the name is taken, and the directories up to the root are synced.
// Temporary files lie in .tmp and are locked while they are written, so that
// the next OpenFileStore removes those of dead processes and no others.
type FileStore struct{ root *os.Root }

const tmpDir = ".tmp"

// OpenFileStore opens the store in dir and makes dir if it is not there. Several
// processes may have the same store open.
func OpenFileStore(dir string) (*FileStore, error) {
	if err := makeDurable(dir); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	s := &FileStore{root}
	if err := s.sweep(); err != nil {
		root.Close()
		return nil, fmt.Errorf("open store %s: remove leftovers: %w", dir, err)
	}
	return s, nil
}

// makeDurable makes dir and syncs the parent of each directory that it made.
func makeDurable(dir string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	var made []string
	for d := dir; ; d = filepath.Dir(d) {
		if _, err := os.Lstat(d); !errors.Is(err, fs.ErrNotExist) {
			break
		}
		made = append(made, d)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, d := range made {
		if err := syncDir(os.Open(filepath.Dir(d))); err != nil {
			return err
		}
	}
	return nil
}

func syncDir(d *os.File, err error) error {
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// sweep removes temporary files that nobody is writing.
func (s *FileStore) sweep() error {
	if err := s.root.MkdirAll(tmpDir, 0o700); err != nil {
		return err
	}
	entries, err := fs.ReadDir(s.root.FS(), tmpDir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := s.sweepFile(path.Join(tmpDir, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func (s *FileStore) sweepFile(name string) error {
	f, err := s.root.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil // its writer is alive
	}
	if err != nil {
		return fmt.Errorf("lock %s: %w", name, err)
	}
	return s.root.Remove(name)
}

// Close releases the directory. Objects that are open stay readable.
func (s *FileStore) Close() error { return s.root.Close() }

// Put implements Store.
func (s *FileStore) Put(ctx context.Context, key string, body io.Reader, size int64) error {
	if err := s.put(ctx, key, body, size); err != nil {
		return fmt.Errorf("put %s: %w", key, err)
	}
	return nil
}

func (s *FileStore) put(ctx context.Context, key string, body io.Reader, size int64) (err error) {
	if err := errors.Join(ctx.Err(), CheckKey(key)); err != nil {
		return err
	}
	dir := path.Dir(key)
	// The winner may have died between its link and its sync, so that whoever
	// finds an object syncs its directories before saying that it exists.
	if info, err := s.root.Lstat(key); err == nil {
		if !info.Mode().IsRegular() {
			return errors.New("there is something else than an object at the key")
		}
		return cmp.Or(s.syncUp(dir), ErrExists)
	}
	if err := s.root.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	tmp, f, err := s.temp()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.root.Remove(tmp), f.Close()) }()
	n, err := io.Copy(f, io.LimitReader(body, size+1))
	if err != nil {
		return err
	}
	if n != size {
		return fmt.Errorf("the body does not have the %d bytes that were announced", size)
	}
	if !chaos.Bug("no fsync") {
		if err := f.Sync(); err != nil {
			return err
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	err = s.root.Link(tmp, key)
	if errors.Is(err, fs.ErrExist) {
		err = ErrExists
	} else if err != nil {
		return err
	}
	return cmp.Or(s.syncUp(dir), err)
}

// temp creates a locked temporary file. The lock comes after the creation, so a
// sweep may take the file away in between; then there is another.
func (s *FileStore) temp() (string, *os.File, error) {
	for {
		name := path.Join(tmpDir, rand.Text())
		f, err := s.root.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return "", nil, err
		}
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
		if err == nil {
			_, err = s.root.Lstat(name)
		}
		if err == nil {
			return name, f, nil
		}
		f.Close()
		if !errors.Is(err, fs.ErrNotExist) {
			return "", nil, fmt.Errorf("lock %s: %w", name, err)
		}
	}
}

// syncUp syncs dir and every directory above it, since any of them may have been
// made a moment ago, by this process or another.
func (s *FileStore) syncUp(dir string) error {
	for {
		if err := syncDir(s.root.Open(dir)); err != nil {
			return err
		}
		if dir == "." {
			return nil
		}
		dir = path.Dir(dir)
	}
}

// Remove implements Remover.
func (s *FileStore) Remove(ctx context.Context, key string) error {
	err := errors.Join(ctx.Err(), Removable(key))
	if err == nil {
		if err = s.root.Remove(key); errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
			err = nil
		}
	}
	if err != nil {
		return fmt.Errorf("remove %s: %w", key, err)
	}
	return nil
}

// Get implements Store.
func (s *FileStore) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	r, err := s.get(ctx, key, off, n)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		err = ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", key, err)
	}
	return r, nil
}

func (s *FileStore) get(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	if err := errors.Join(ctx.Err(), CheckKey(key)); err != nil {
		return nil, err
	}
	if off < 0 {
		return nil, fmt.Errorf("offset %d is negative", off)
	}
	info, err := s.root.Lstat(key)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, ErrNotFound
	}
	f, err := s.root.Open(key)
	if err != nil {
		return nil, err
	}
	if n < 0 {
		n = max(info.Size()-off, 0)
	}
	return struct {
		io.Reader
		io.Closer
	}{io.NewSectionReader(f, off, n), f}, nil
}

// List implements Store.
func (s *FileStore) List(ctx context.Context, prefix, after string) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		s.list(ctx, "", prefix, after, yield)
	}
}

// list walks the directory dir, "" or ending in a slash, and reports whether to
// go on.
func (s *FileStore) list(ctx context.Context, dir, prefix, after string, yield func(Object, error) bool) bool {
	fail := func(err error) bool {
		yield(Object{}, fmt.Errorf("list %q: %w", prefix, err))
		return false
	}
	if err := ctx.Err(); err != nil {
		return fail(err)
	}
	entries, err := fs.ReadDir(s.root.FS(), path.Clean("./"+dir))
	if err != nil {
		return fail(err)
	}
	// Keys below a directory sort as the directory's name with a slash.
	name := func(e fs.DirEntry) string {
		if e.IsDir() {
			return e.Name() + "/"
		}
		return e.Name()
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(name(a), name(b)) })
	for _, e := range entries {
		key := dir + name(e)
		switch {
		case !validName(e.Name()):
		case e.IsDir():
			if !strings.HasPrefix(key, prefix) && !strings.HasPrefix(prefix, key) ||
				key <= after && !strings.HasPrefix(after, key) {
				continue
			}
			if !s.list(ctx, key, prefix, after, yield) {
				return false
			}
		case e.Type().IsRegular() && strings.HasPrefix(key, prefix) && key > after:
			info, err := e.Info()
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return fail(err)
			}
			if !yield(Object{key, info.Size()}, nil) {
				return false
			}
		}
	}
	return true
}
