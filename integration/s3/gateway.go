package s3

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/versity/versitygw/backend/meta"
	"github.com/versity/versitygw/backend/posix"
	"github.com/versity/versitygw/embedgw"
)

// Serve runs the gateway over a directory until ctx ends, for whoever has the two
// keys. A process can have only one, and it changes the working directory.
func Serve(ctx context.Context, dir, addr, accessKey, secretKey string) error {
	root, sidecar, old := filepath.Join(dir, "root"), filepath.Join(dir, "meta"), filepath.Join(dir, "versions")
	for _, d := range []string{root, sidecar, old} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return err
		}
	}
	opts := posix.PosixOpts{CopyObjectThreshold: 5 << 30, VersioningDir: old}
	var store meta.MetadataStorer = meta.XattrMeta{}
	if err := (meta.XattrMeta{}).Test(root); err != nil { // the file system has no extended attributes
		if store, err = meta.NewSideCar(sidecar); err != nil {
			return err
		}
		opts.SideCarDir = sidecar
	}
	backend, err := posix.New(root, store, opts)
	if err != nil {
		return err
	}
	return embedgw.RunVersityGW(ctx, backend, &embedgw.Config{
		RootUserAccess: accessKey, RootUserSecret: secretKey, Ports: []string{addr}, Quiet: true, KeepAlive: true,
		MaxConnections: 1000, MaxRequests: 1000, MultipartMaxParts: 10000,
	})
}

// Listening waits until the gateway at addr takes connections; done says that it
// ended before.
func Listening(addr string, done <-chan error) error {
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
