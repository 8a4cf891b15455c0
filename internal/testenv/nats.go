package testenv

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// natsConf is deploy/nats.conf without passwords and TLS, which tests of their own
// look at.
const natsConf = `listen: %q
max_payload: 1MB
jetstream { store_dir: %q, max_memory_store: 64MB, max_file_store: 20GB, sync_interval: always }
`

// NATS starts a server on a free port, of the program that Build made of
// NATSServer, which stores in a directory. It returns its URL too.
func NATS(tb testing.TB, path, dir string) (*Process, string) {
	tb.Helper()
	addr := FreeAddr(tb)
	conf := filepath.Join(dir, "nats.conf")
	if err := os.WriteFile(conf, fmt.Appendf(nil, natsConf, addr, filepath.Join(dir, "nats")), 0o600); err != nil {
		tb.Fatal(err)
	}
	return Program{Path: path, Args: []string{"-c", conf}, Dir: dir}.Start(tb), "nats://" + addr
}
