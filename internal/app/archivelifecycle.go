package app

import (
	"context"
	"errors"
	"strings"

	"github.com/dermai/millrace/archive/s3"
)

// archiveLifecycle prints or sets the lifecycle rules of the bucket of telemetry.
type archiveLifecycle struct {
	Apply bool `help:"Set them. Rules of others are not touched."`
}

// lifecycleRules is what was printed or set, as JSON.
type lifecycleRules struct {
	Bucket  string `json:"bucket"`
	Rules   string `json:"rules"` // XML, as the S3 API takes it
	Changed bool   `json:"changed"`
}

func (c *archiveLifecycle) Run(ctx context.Context, s *session) error {
	if s.config.Archive.S3.Endpoint == "" {
		return errors.New("the archive is a directory, which has no lifecycle rules: they are for archive.s3")
	}
	store, err := s.openS3()
	if err != nil {
		return err
	}
	defer store.Close()
	bucket, text, err := store.Lifecycle()
	if err != nil {
		return err
	}
	if c.Apply {
		return c.apply(ctx, s, store, lifecycleRules{Bucket: bucket, Rules: text})
	}
	if s.out.json {
		return s.out.print(lifecycleRules{Bucket: bucket, Rules: text})
	}
	for line := range strings.Lines(text) {
		if err := s.out.line([]byte(strings.TrimSuffix(line, "\n")), false); err != nil {
			return err
		}
	}
	return nil
}

func (c *archiveLifecycle) apply(ctx context.Context, s *session, store *s3.Store, r lifecycleRules) (err error) {
	if r.Changed, err = store.SetLifecycle(ctx); err != nil {
		return err
	}
	if r.Changed {
		return s.out.print(r, "bucket "+r.Bucket+" has the rules now")
	}
	return s.out.print(r, "bucket "+r.Bucket+" had the rules already")
}
