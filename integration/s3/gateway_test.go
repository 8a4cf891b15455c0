package s3_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/versity/versitygw/backend/meta"
	"github.com/versity/versitygw/backend/posix"
	"github.com/versity/versitygw/embedgw"
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
	root, sidecar, old := filepath.Join(dir, "root"), filepath.Join(dir, "meta"), filepath.Join(dir, "versions")
	for _, d := range []string{root, sidecar, old} {
		if err := os.Mkdir(d, 0o700); err != nil {
			return 0, err
		}
	}
	// The sidecar works where the file system has no extended attributes.
	store, err := meta.NewSideCar(sidecar)
	if err != nil {
		return 0, err
	}
	backend, err := posix.New(root, store, posix.PosixOpts{CopyObjectThreshold: 5 << 30, SideCarDir: sidecar, VersioningDir: old})
	if err != nil {
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
		done <- embedgw.RunVersityGW(ctx, backend, &embedgw.Config{
			RootUserAccess: accessKey, RootUserSecret: secretKey, Ports: []string{addr}, Quiet: true, KeepAlive: true,
			MaxConnections: 1000, MaxRequests: 1000, MultipartMaxParts: 10000,
		})
	}()
	if err := listening(addr, done); err == nil {
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

// listening waits until the gateway takes connections.
func listening(addr string, done <-chan error) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	patience := time.After(time.Minute)
	for {
		if c, err := net.Dial("tcp", addr); err == nil {
			return c.Close()
		}
		select {
		case err := <-done:
			return fmt.Errorf("the gateway ended: %w", err)
		case <-patience:
			return fmt.Errorf("the gateway does not listen on %s", addr)
		case <-tick.C:
		}
	}
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
