package s3_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	integration "github.com/dermai/millrace/integration/s3"
)

const (
	accessKey = "millrace-test"
	secretKey = "not-a-secret-of-anybody"
)

// endpoint is where the one gateway of this process listens in clear.
var endpoint string

// TestMain runs the gateway: a process can have only one, and it changes the
// working directory.
func TestMain(m *testing.M) {
	code, err := runAll(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func runAll(m *testing.M) (code int, err error) {
	dir, err := os.MkdirTemp("", "millrace-s3-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	scratch = dir
	if module, err = filepath.Abs("../.."); err != nil {
		return 0, err
	}
	addr, err := freeAddr()
	if err != nil {
		return 0, err
	}
	endpoint = addr
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- integration.Serve(ctx, dir, addr, accessKey, secretKey)
	}()
	if err := integration.Listening(addr, done); err == nil {
		code = m.Run()
	} else {
		code = 1
		fmt.Fprintln(os.Stderr, err)
	}
	stop()
	<-done // an error, if connections were still open
	return code, nil
}

// freeAddr is a port of loopback that nobody listened on a moment ago.
func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

var made atomic.Int64

// newBucket makes an empty bucket.
func newBucket(t *testing.T) string {
	t.Helper()
	client, err := minio.New(endpoint, &minio.Options{Creds: credentials.NewStaticV4(accessKey, secretKey, "")})
	if err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("bucket-%d", made.Add(1))
	if err := client.MakeBucket(t.Context(), name, minio.MakeBucketOptions{}); err != nil {
		t.Fatal(err)
	}
	return name
}
