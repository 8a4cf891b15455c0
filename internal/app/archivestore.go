package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/dermai/millrace/archive"
	"github.com/dermai/millrace/archive/s3"
	"github.com/dermai/millrace/internal/app/config"
)

// archiveStore is where the archive is, a directory or buckets.
type archiveStore interface {
	archive.Store
	io.Closer
}

// archiveDir is where the archive is if it is not on S3.
func archiveDir(cfg *config.Config) string {
	if cfg.Archive.Dir != "" {
		return string(cfg.Archive.Dir)
	}
	return filepath.Join(string(cfg.Data), "archive")
}

// openArchive opens the archive for an archiver. It is not asked whether it can
// be reached: an archiver waits for it.
func (s *session) openArchive(ctx context.Context) (archiveStore, error) {
	if s.config.Archive.S3.Endpoint == "" {
		return archive.OpenFileStore(archiveDir(&s.config.Config))
	}
	store, err := s.openS3()
	if err != nil {
		return nil, err
	}
	if err := store.Probe(ctx); errors.Is(err, s3.ErrUnconditional) || errors.Is(err, s3.ErrUnlocked) {
		return nil, fmt.Errorf("archive: %w", err)
	} else if err != nil {
		s.log.Warn().Err(err).Msg("the archive's store does not answer; what arrives waits in the streams")
	}
	return store, nil
}

// readArchive opens the archive and makes none where there is none.
func (s *session) readArchive() (archiveStore, error) {
	if s.config.Archive.S3.Endpoint != "" {
		return s.openS3()
	}
	dir := archiveDir(&s.config.Config)
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("archive: there is none in %s: name its directory with --data or archive.dir", dir)
	}
	return archive.OpenFileStore(dir)
}

func (s *session) openS3() (*s3.Store, error) {
	c := s.config.Archive.S3
	lock := ""
	if c.Lock != "none" {
		lock = strings.ToUpper(c.Lock)
	}
	store, err := s3.Open(s3.Config{
		Lock: lock, LockUntil: s.config.Archive.Retention.Audit.After,
		Endpoint: c.Endpoint, Bucket: c.Bucket, AuditBucket: c.AuditBucket, Region: c.Region, Prefix: c.Prefix,
		ColdClass: c.ColdClass, ColdDays: c.ColdAfter.AtLeast(),
		AccessKey: c.AccessKey.Reveal(), SecretKey: c.SecretKey, CA: string(c.CA),
	})
	if err != nil {
		return nil, fmt.Errorf("archive.s3: %w", err)
	}
	return store, nil
}
