// Command gateway is an S3 store over a directory, for the runs of
// integration/chaos: versitygw, with one bucket that is made if it is not there.
//
// Usage:
//
//	AWS_ACCESS_KEY_ID=... AWS_SECRET_ACCESS_KEY=... gateway DIR ADDR BUCKET
//
// It runs until it is killed.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/dermai/millrace/integration/s3"
)

func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "gateway:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) != 3 {
		return errors.New("want a directory, an address and a bucket")
	}
	dir, err := filepath.Abs(args[0])
	if err != nil {
		return err
	}
	addr, bucket := args[1], args[2]
	access, secret := os.Getenv("AWS_ACCESS_KEY_ID"), os.Getenv("AWS_SECRET_ACCESS_KEY")
	done := make(chan error, 1)
	go func() { done <- s3.Serve(ctx, dir, addr, access, secret) }()
	if err := s3.Listening(addr, done); err != nil {
		return err
	}
	client, err := minio.New(addr, &minio.Options{Creds: credentials.NewStaticV4(access, secret, "")})
	if err != nil {
		return err
	}
	there, err := client.BucketExists(ctx, bucket)
	if err == nil && !there {
		err = client.MakeBucket(ctx, bucket, minio.MakeBucketOptions{})
	}
	if err != nil {
		return fmt.Errorf("bucket %s: %w", bucket, err)
	}
	return <-done
}
