package archive_test

import (
	"context"
	"io"
	"iter"
	"sync/atomic"

	"github.com/dermai/millrace/archive"
)

// twoStores sends each call to one of two stores over the same objects, in turn.
type twoStores struct {
	*archive.FileStore
	other *archive.FileStore
	turn  atomic.Int64
}

func (s *twoStores) next() archive.Store {
	if s.turn.Add(1)%2 == 0 {
		return s.other
	}
	return s.FileStore
}

func (s *twoStores) Put(ctx context.Context, key string, body io.Reader, size int64) error {
	return s.next().Put(ctx, key, body, size)
}

func (s *twoStores) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	return s.next().Get(ctx, key, off, n)
}

func (s *twoStores) List(ctx context.Context, prefix, after string) iter.Seq2[archive.Object, error] {
	return s.next().List(ctx, prefix, after)
}

// hookedStore asks before and after each put, and breaks it if told to.
type hookedStore struct {
	archive.Store
	before, after func(key string) error
}

func (s *hookedStore) Put(ctx context.Context, key string, body io.Reader, size int64) error {
	if s.before != nil {
		if err := s.before(key); err != nil {
			return err
		}
	}
	err := s.Store.Put(ctx, key, body, size)
	if s.after != nil {
		if broken := s.after(key); broken != nil {
			return broken
		}
	}
	return err
}
