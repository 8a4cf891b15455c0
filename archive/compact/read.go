package compact

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/dermai/millrace/archive"
	"github.com/dermai/millrace/archive/segment"
)

// temp makes a file that has no name any more: it is gone with its process.
func temp(dir string) (*os.File, error) {
	f, err := os.CreateTemp(dir, "millrace-segment-")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// fetch copies an object into a temporary file.
func fetch(ctx context.Context, store archive.Store, key, dir string) (f *os.File, size int64, sha string, err error) {
	body, err := store.Get(ctx, key, 0, -1)
	if err != nil {
		return nil, 0, "", err
	}
	defer body.Close()
	if f, err = temp(dir); err != nil {
		return nil, 0, "", err
	}
	h := sha256.New()
	if size, err = io.Copy(io.MultiWriter(f, h), body); err != nil {
		f.Close()
		return nil, 0, "", fmt.Errorf("fetch %s: %w", key, err)
	}
	return f, size, fmt.Sprintf("%x", h.Sum(nil)), nil
}

// Segments reads the messages of whole segments, as archive.Options have it done.
func Segments(store archive.Store) func(context.Context, archive.Chain, archive.Segment, func(*archive.Record) error) error {
	return func(ctx context.Context, c archive.Chain, s archive.Segment, fn func(*archive.Record) error) error {
		file, size, sha, err := fetch(ctx, store, s.Key, "")
		if err != nil {
			return err
		}
		defer file.Close()
		if sha != s.SHA256 {
			return fmt.Errorf("segment %s is not as it was written", s.Key)
		}
		_, err = segment.Read(file, size, c, fn)
		return err
	}
}
