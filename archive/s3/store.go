package s3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/dermai/millrace/archive"
)

// ErrUnconditional says that a store takes a second object under a key although
// it was asked not to. Nothing that archivers promise holds on it.
var ErrUnconditional = errors.New("the store ignores If-None-Match: it would let one archiver replace what another stored; use another store")

// Store is the archive.Store in one or two buckets.
type Store struct {
	buckets []*bucket // the second, if any, is that of the audit trail
}

// bucket is one bucket.
type bucket struct {
	core   minio.Core
	name   string
	prefix string // "" or ending in a slash
	stall  time.Duration
	lock   *lock // nil: objects are not locked

	cold     string // storage class of old segments of telemetry, "" for none
	coldDays int

	mu     sync.Mutex
	proven bool // the store was seen to refuse a second put
}

// probeKey is no key of an archive, so that no listing shows it.
const probeKey = ".probe"

// Open prepares the store. Nothing is asked of it yet: one that cannot be reached
// shows at the first use.
func Open(c Config) (*Store, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("open s3 store: %w", err)
	}
	client, err := c.client()
	if err != nil {
		return nil, fmt.Errorf("open s3 store: %w", err)
	}
	prefix := strings.TrimSuffix(c.Prefix, "/")
	if prefix != "" {
		prefix += "/"
	}
	s := &Store{}
	for _, name := range []string{c.Bucket, c.AuditBucket} {
		if name == "" || len(s.buckets) > 0 && name == c.Bucket {
			continue
		}
		s.buckets = append(s.buckets, &bucket{core: minio.Core{Client: client}, name: name, prefix: prefix, stall: c.stall()})
	}
	s.buckets[0].cold, s.buckets[0].coldDays = c.ColdClass, c.ColdDays
	if c.Lock != "" {
		s.buckets[len(s.buckets)-1].lock = &lock{minio.RetentionMode(c.Lock), c.LockUntil}
	}
	return s, nil
}

// Close implements io.Closer. There is nothing to release.
func (s *Store) Close() error { return nil }

// Probe puts one object twice into each bucket, and looks whether the bucket can lock
// what is to be locked. ErrUnconditional: the store does not refuse the second
// object. ErrUnlocked: it cannot. Another error: it could not be found out, and every Put
// tries again before it stores anything.
func (s *Store) Probe(ctx context.Context) error {
	for _, b := range s.buckets {
		if err := b.probe(ctx); err != nil {
			return err
		}
		if err := b.probeLock(ctx); err != nil {
			return err
		}
	}
	return nil
}

// of is the bucket in which a key is.
func (s *Store) of(key string) *bucket {
	if part := strings.SplitN(key, "/", 3); len(part) == 3 && part[1] == archive.ClassAudit {
		return s.buckets[len(s.buckets)-1]
	}
	return s.buckets[0]
}

// Put implements archive.Store. A body that is an io.ReadSeeker and io.ReaderAt
// is sent as it is, another is read into memory first.
func (s *Store) Put(ctx context.Context, key string, body io.Reader, size int64) error {
	err := errors.Join(ctx.Err(), archive.CheckKey(key))
	if err == nil {
		body, err = exactly(body, size)
	}
	b := s.of(key)
	if err == nil {
		err = b.probe(ctx)
	}
	if err == nil {
		err = b.put(ctx, key, body, size)
	}
	if err != nil {
		return fmt.Errorf("put %s: %w", key, err)
	}
	return nil
}

// exactly gives a body of which it is known that it has size bytes.
func exactly(body io.Reader, size int64) (io.Reader, error) {
	wrong := fmt.Errorf("the body does not have the %d bytes that were announced", size)
	type seeker interface {
		io.ReadSeeker
		io.ReaderAt
	}
	if r, ok := body.(seeker); ok {
		at, err1 := r.Seek(0, io.SeekCurrent)
		end, err2 := r.Seek(0, io.SeekEnd)
		if err := errors.Join(err1, err2); err != nil {
			return nil, err
		}
		if end-at != size {
			return nil, wrong
		}
		return io.NewSectionReader(r, at, size), nil
	}
	b, err := io.ReadAll(io.LimitReader(body, size+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) != size {
		return nil, wrong
	}
	return bytes.NewReader(b), nil
}

func (b *bucket) probe(ctx context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.proven {
		return nil
	}
	const body = "Millrace puts this twice to see that it is refused once.\n"
	for range 2 {
		err := b.put(ctx, probeKey, strings.NewReader(body), int64(len(body)))
		if errors.Is(err, archive.ErrExists) {
			b.proven = true
			return nil
		}
		if err != nil {
			return fmt.Errorf("probe bucket %s: %w", b.name, err)
		}
	}
	return fmt.Errorf("probe bucket %s: %w", b.name, ErrUnconditional)
}

// put stores an object if there is none. It is one request whatever the size: a
// multipart upload of the client forgets its condition.
func (b *bucket) put(ctx context.Context, key string, body io.Reader, size int64) error {
	ctx, progress := b.watch(ctx)
	defer progress(0)
	opts := minio.PutObjectOptions{
		DisableMultipart: true, SendContentMd5: true, ContentType: "application/octet-stream", Progress: progress,
	}
	opts.SetMatchETagExcept("*")
	b.lock.set(&opts, key)
	_, err := b.core.Client.PutObject(ctx, b.name, b.prefix+key, body, size, opts)
	if err == nil {
		return nil
	}
	switch res := minio.ToErrorResponse(err); {
	case res.StatusCode == http.StatusPreconditionFailed || res.Code == minio.PreconditionFailed:
		return archive.ErrExists
	case res.StatusCode == http.StatusConflict, res.StatusCode == 0 && ctx.Err() == nil:
		// Another put was under way, or the connection broke, as it does when a store
		// refuses a large object at once. Is there an object?
		if _, stat := b.core.StatObject(ctx, b.name, b.prefix+key, minio.StatObjectOptions{}); stat == nil {
			return archive.ErrExists
		}
	}
	return cause(ctx, err)
}

// Remove implements archive.Remover.
func (s *Store) Remove(ctx context.Context, key string) error {
	err := errors.Join(ctx.Err(), archive.Removable(key))
	if err == nil {
		err = s.of(key).remove(ctx, key)
	}
	if err != nil {
		return fmt.Errorf("remove %s: %w", key, err)
	}
	return nil
}

// Get implements archive.Store.
func (s *Store) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	err := errors.Join(ctx.Err(), archive.CheckKey(key))
	if err == nil && off < 0 {
		err = fmt.Errorf("offset %d is negative", off)
	}
	var r io.ReadCloser
	if err == nil {
		r, err = s.of(key).get(ctx, key, off, n)
	}
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", key, err)
	}
	return r, nil
}

func (b *bucket) get(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	ctx, progress := b.watch(ctx)
	var opts minio.GetObjectOptions
	if n > 0 {
		opts.Set("Range", fmt.Sprintf("bytes=%d-%d", off, off+n-1))
	} else if off > 0 {
		opts.Set("Range", fmt.Sprintf("bytes=%d-", off))
	}
	body, _, _, err := b.core.GetObject(ctx, b.name, b.prefix+key, opts)
	if err != nil {
		err = cause(ctx, err)
		progress(0)
		switch res := minio.ToErrorResponse(err); {
		case res.StatusCode == http.StatusNotFound && res.Code != minio.NoSuchBucket:
			return nil, archive.ErrNotFound
		case res.StatusCode == http.StatusRequestedRangeNotSatisfiable:
			return io.NopCloser(strings.NewReader("")), nil // it is shorter
		}
		return nil, err
	}
	r := &reading{ctx, body, progress}
	if n == 0 {
		return io.NopCloser(strings.NewReader("")), r.Close()
	}
	return r, nil
}

// reading tells its watch of every part that arrives.
type reading struct {
	ctx      context.Context
	body     io.ReadCloser
	progress watch
}

func (r *reading) Read(p []byte) (int, error) {
	n, err := r.body.Read(p)
	if n > 0 {
		r.progress(n)
	}
	if err != nil && err != io.EOF {
		err = cause(r.ctx, err)
	}
	return n, err
}

func (r *reading) Close() error {
	r.progress(0)
	return r.body.Close()
}

// watch is told of bytes that moved, and ends what it watches when none did for
// too long; 0 bytes end it.
type watch func(n int)

// Read makes a watch the progress of an upload.
func (w watch) Read(p []byte) (int, error) {
	if len(p) > 0 {
		w(len(p))
	}
	return len(p), nil
}

var errStalled = errors.New("the store makes no progress")

func (b *bucket) watch(ctx context.Context) (context.Context, watch) {
	ctx, cancel := context.WithCancelCause(ctx)
	t := time.AfterFunc(b.stall, func() { cancel(errStalled) })
	return ctx, func(n int) {
		if n == 0 {
			t.Stop()
			cancel(nil)
			return
		}
		t.Reset(b.stall)
	}
}

// cause is why a request failed: that it was ended, if it was.
func cause(ctx context.Context, err error) error {
	if why := context.Cause(ctx); why != nil {
		return why
	}
	return err
}

// List implements archive.Store.
func (s *Store) List(ctx context.Context, prefix, after string) iter.Seq2[archive.Object, error] {
	class := strings.SplitN(prefix, "/", 3)
	if len(s.buckets) == 1 || len(class) == 3 {
		return s.of(prefix).list(ctx, prefix, after)
	}
	return merge(s.buckets[0].list(ctx, prefix, after), s.buckets[1].list(ctx, prefix, after))
}

func (b *bucket) list(ctx context.Context, prefix, after string) iter.Seq2[archive.Object, error] {
	return func(yield func(archive.Object, error) bool) {
		if err := ctx.Err(); err != nil {
			yield(archive.Object{}, fmt.Errorf("list %q: %w", prefix, err))
			return
		}
		if strings.Trim(prefix, archive.KeyBytes) != "" || strings.HasPrefix(prefix, ".") {
			return // no key begins so
		}
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		opts := minio.ListObjectsOptions{Prefix: b.prefix + prefix, Recursive: true}
		if after != "" {
			opts.StartAfter = b.prefix + after
		}
		last := after
		for info := range b.core.ListObjectsIter(ctx, b.name, opts) {
			key, ok := strings.CutPrefix(info.Key, b.prefix)
			switch {
			case info.Err != nil:
				yield(archive.Object{}, fmt.Errorf("list %q: %w", prefix, cause(ctx, info.Err)))
				return
			case !ok || archive.CheckKey(key) != nil || key <= after:
				continue
			case key <= last:
				yield(archive.Object{}, fmt.Errorf("list %q: the store lists %s behind %s: it does not keep the order of keys, use another", prefix, key, last))
				return
			}
			last = key
			if !yield(archive.Object{Key: key, Size: info.Size}, nil) {
				return
			}
		}
		if err := ctx.Err(); err != nil {
			yield(archive.Object{}, fmt.Errorf("list %q: %w", prefix, err))
		}
	}
}

// merge gives the objects of two listings in order.
func merge(a, b iter.Seq2[archive.Object, error]) iter.Seq2[archive.Object, error] {
	return func(yield func(archive.Object, error) bool) {
		next, stop := iter.Pull2(b)
		defer stop()
		o, err, more := next()
		for p, errA := range a {
			for errA == nil && more && (err != nil || o.Key < p.Key) {
				if !yield(o, err) || err != nil {
					return
				}
				o, err, more = next()
			}
			if !yield(p, errA) || errA != nil {
				return
			}
		}
		for more {
			if !yield(o, err) || err != nil {
				return
			}
			o, err, more = next()
		}
	}
}
