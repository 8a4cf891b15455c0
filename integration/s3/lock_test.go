package s3_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/dermai/millrace/archive"
	"github.com/dermai/millrace/archive/s3"
)

// lockedBucket makes an empty bucket with Object Lock.
func lockedBucket(t *testing.T) (*minio.Client, string) {
	t.Helper()
	client, err := minio.New(endpoint, &minio.Options{Creds: credentials.NewStaticV4(accessKey, secretKey, "")})
	if err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("locked-%d", made.Add(1))
	if err := client.MakeBucket(t.Context(), name, minio.MakeBucketOptions{ObjectLocking: true}); err != nil {
		t.Fatal(err)
	}
	return client, name
}

// versions lists the versions of a key.
func versions(t *testing.T, client *minio.Client, bucket, key string) (out []minio.ObjectInfo) {
	t.Helper()
	for v := range client.ListObjectsIter(t.Context(), bucket, minio.ListObjectsOptions{Prefix: key, Recursive: true, WithVersions: true}) {
		if v.Err != nil {
			t.Fatal(v.Err)
		}
		out = append(out, v)
	}
	return out
}

// TestLock: what is of the audit trail can be removed by nobody until its lock ends,
// and then goes with all its versions; telemetry beside it is not locked.
func TestLock(t *testing.T) {
	const (
		audit     = "l0/audit/AUDIT/1/dt=2026-09-21/00000000000000000001.jsonl.zst"
		telemetry = "l0/telemetry/EVENTS_0/1/dt=2026-09-21/00000000000000000001.jsonl.zst"
	)
	for _, mode := range []string{"GOVERNANCE", "COMPLIANCE"} {
		client, bucket := lockedBucket(t)
		c := config(t)
		c.Bucket, c.Lock = bucket, mode
		var arrived time.Time
		until := time.Now().Add(4 * time.Second)
		c.LockUntil = func(at time.Time) time.Time { arrived = at; return until }
		store := open(t, c)
		for _, key := range []string{audit, telemetry} {
			if err := store.Put(t.Context(), key, strings.NewReader("x"), 1); err != nil {
				t.Fatal(err)
			}
			if err := store.Put(t.Context(), key, strings.NewReader("y"), 1); !errors.Is(err, archive.ErrExists) {
				t.Errorf("%s: put twice: %v", mode, err)
			}
		}
		if want := time.Date(2026, 9, 22, 0, 0, 0, 0, time.UTC); !arrived.Equal(want) {
			t.Errorf("%s: it is locked from %s on; want %s", mode, arrived, want)
		}
		if err := store.Remove(t.Context(), telemetry); err != nil {
			t.Errorf("%s: %v", mode, err)
		}
		err := store.Remove(t.Context(), audit)
		direct := client.RemoveObject(t.Context(), bucket, audit, minio.RemoveObjectOptions{VersionID: versions(t, client, bucket, audit)[0].VersionID})
		if (err == nil || direct == nil) && time.Now().Before(until) {
			t.Fatalf("%s: removed although it is locked: %v, %v", mode, err, direct)
		}
		if b, err := archive.ReadAll(t.Context(), store, audit); err != nil || string(b) != "x" {
			t.Errorf("%s: it reads %q, %v", mode, b, err)
		}
		tick := time.NewTicker(100 * time.Millisecond)
		for err = store.Remove(t.Context(), audit); err != nil; err = store.Remove(t.Context(), audit) {
			select {
			case <-t.Context().Done():
				t.Fatal(err)
			case <-tick.C:
			}
		}
		tick.Stop()
		if time.Now().Before(until.Truncate(time.Second)) {
			t.Errorf("%s: it went before its lock ended", mode)
		}
		if left := versions(t, client, bucket, "l0/"); len(left) > 0 {
			t.Errorf("%s: %d versions are left", mode, len(left))
		}
	}
}

// TestLockRefused: a bucket that cannot lock is found before anything is stored.
func TestLockRefused(t *testing.T) {
	c := config(t)
	c.Lock, c.LockUntil = "GOVERNANCE", func(at time.Time) time.Time { return at.AddDate(6, 0, 30) }
	store, err := s3.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Probe(t.Context()); !errors.Is(err, s3.ErrUnlocked) {
		t.Errorf("a bucket without locks: %v", err)
	}
	c.Lock = "FOREVER"
	if _, err := s3.Open(c); err == nil {
		t.Error("an unknown lock was taken")
	}
}
