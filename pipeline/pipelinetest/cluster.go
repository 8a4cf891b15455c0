package pipelinetest

import (
	"fmt"
	"net/url"
	"path/filepath"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/dermai/millrace/internal/testenv"
)

// StartCluster runs three servers that replicate and end with the test, and returns the
// URL of one.
func StartCluster(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	var routes []*url.URL
	for range 3 {
		routes = append(routes, &url.URL{Scheme: "nats", Host: testenv.FreeAddr(t)})
	}
	var servers []*server.Server
	for i, route := range routes {
		name := fmt.Sprintf("nats-%d", i+1)
		s, err := server.NewServer(&server.Options{
			ServerName: name, Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true,
			JetStream: true, StoreDir: filepath.Join(dir, name), SyncAlways: true,
			Cluster: server.ClusterOpts{Name: "three", Host: "127.0.0.1", Port: port(t, route)}, Routes: routes,
		})
		if err != nil {
			t.Fatal(err)
		}
		s.Start()
		t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
		servers = append(servers, s)
	}
	Within(t, "the cluster has a leader", func() bool {
		led, current := false, true
		for _, s := range servers {
			led, current = led || s.JetStreamIsLeader(), current && s.JetStreamIsCurrent()
		}
		return led && current
	})
	// A leader places replicas once it has heard of the peers' resources, which no
	// state of a server shows.
	js, done := connect(t, servers[0].ClientURL())
	defer done()
	Within(t, "three replicas are placed", func() bool {
		_, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "PLACED", Replicas: 3})
		return err == nil
	})
	if err := js.DeleteStream(t.Context(), "PLACED"); err != nil {
		t.Fatal(err)
	}
	return servers[0].ClientURL()
}

func port(t testing.TB, u *url.URL) (n int) {
	t.Helper()
	if _, err := fmt.Sscan(u.Port(), &n); err != nil {
		t.Fatal(err)
	}
	return n
}
