package s3

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/dermai/millrace/archive"
)

// ErrUnlocked says that a bucket cannot lock objects.
var ErrUnlocked = errors.New("the bucket cannot lock objects: Object Lock is set when a bucket is made; make another, or set no lock")

// lock is how objects of the audit trail are locked.
type lock struct {
	mode  minio.RetentionMode
	until func(arrived time.Time) time.Time
}

// set asks for an object's lock. What is of a day is locked from its end on,
// anything else from now on.
func (l *lock) set(opts *minio.PutObjectOptions, key string) {
	if l == nil || !strings.Contains(key, "/"+archive.ClassAudit+"/") {
		return
	}
	arrived := time.Now()
	if _, rest, ok := strings.Cut(key, "/dt="); ok {
		day, _, _ := strings.Cut(rest, "/")
		if begin, err := time.Parse(time.DateOnly, day); err == nil {
			arrived = begin.AddDate(0, 0, 1)
		}
	}
	until := l.until(arrived)
	if !until.After(time.Now()) {
		return // it is past its time already
	}
	opts.Mode, opts.RetainUntilDate = l.mode, until
}

// probeLock looks whether the bucket can lock objects.
func (b *bucket) probeLock(ctx context.Context) error {
	if b.lock == nil {
		return nil
	}
	enabled, _, _, _, err := b.core.GetObjectLockConfig(ctx, b.name) //nolint:dogsled // what a bucket does by default does not matter
	if err != nil && minio.ToErrorResponse(err).Code != "ObjectLockConfigurationNotFoundError" {
		return fmt.Errorf("probe the lock of bucket %s: %w", b.name, err)
	}
	if enabled != "Enabled" {
		return fmt.Errorf("probe bucket %s: %w", b.name, ErrUnlocked)
	}
	return nil
}

// remove removes an object. A bucket with locks keeps versions, and all are removed:
// otherwise nothing would be gone.
func (b *bucket) remove(ctx context.Context, key string) error {
	if b.lock == nil {
		return b.core.RemoveObject(ctx, b.name, b.prefix+key, minio.RemoveObjectOptions{})
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for v := range b.core.ListObjectsIter(ctx, b.name, minio.ListObjectsOptions{Prefix: b.prefix + key, Recursive: true, WithVersions: true}) {
		if v.Err != nil {
			return v.Err
		}
		if v.Key != b.prefix+key {
			continue
		}
		if err := b.core.RemoveObject(ctx, b.name, v.Key, minio.RemoveObjectOptions{VersionID: v.VersionID}); err != nil {
			return err
		}
	}
	return ctx.Err()
}
