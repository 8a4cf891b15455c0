package broker_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/pipeline"
	"github.com/dermai/millrace/schemas"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// deploy/nats.conf is a server that syncs always, whose publishers publish and
// read nothing.
func TestNATSConf(t *testing.T) {
	const operator, publisher = "operator-pass", "publisher-pass"
	t.Setenv("MILLRACE_NATS_PASSWORD", operator)
	t.Setenv("MILLRACE_NATS_PUBLISHER_PASSWORD", publisher)
	t.Setenv("MILLRACE_NATS_ADMIN_PASSWORD", "admin-pass")
	opts, err := server.ProcessConfigFile("../../deploy/nats.conf")
	if err != nil {
		t.Fatal(err)
	}
	if !opts.SyncAlways || opts.Host != "127.0.0.1" || opts.MaxPayload != 1<<20 {
		t.Errorf("sync always %t, host %s, max payload %d", opts.SyncAlways, opts.Host, opts.MaxPayload)
	}
	opts.Port, opts.HTTPPort, opts.StoreDir, opts.NoSigs, opts.NoLog = -1, 0, t.TempDir(), true, true
	ns, err := server.NewServer(opts)
	if err != nil {
		t.Fatal(err)
	}
	ns.Start()
	t.Cleanup(func() { ns.Shutdown(); ns.WaitForShutdown() })
	if !ns.ReadyForConnections(10 * time.Second) {
		t.Fatal("not ready")
	}
	url := func(user, password string) string {
		return "nats://" + user + ":" + password + "@" + ns.Addr().String()
	}
	connect := func(c pipeline.Config) *pipeline.Conn {
		t.Helper()
		c.Timeout = 500 * time.Millisecond
		conn, err := pipeline.Connect(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(conn.Close)
		return conn
	}
	if _, err := pipeline.Connect(t.Context(), pipeline.Config{URL: url("publisher", "wrong-pass")}); err == nil ||
		!strings.Contains(err.Error(), "check the credentials") || strings.Contains(err.Error(), "wrong-pass") {
		t.Errorf("connect with a wrong password: %v", err)
	}
	all := connect(pipeline.Config{URL: url("millrace", operator)})
	if _, err := pipeline.Apply(t.Context(), all, pipeline.Layout{Partitions: 1, Archived: true}, false); err != nil {
		t.Fatal(err)
	}

	service := connect(pipeline.Config{URL: url("publisher", publisher), Inbox: "_INBOX_publisher"})
	p, err := pipeline.NewPublisher(service, pipeline.PublisherConfig{Service: "shop", Partitions: 1})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range []schemas.Event{
		{Kind: schemas.KindLog, Level: "INFO", Message: "x"},
		{Kind: schemas.KindAudit, User: "u", Action: "a", Resource: "r"},
	} {
		if err := p.Publish(t.Context(), e); err != nil {
			t.Errorf("a service publishes %s: %v", e.Kind, err)
		}
	}
	if err := p.Close(t.Context()); err != nil {
		t.Error(err)
	}
	log := service.Log()
	defer log.Close()
	if _, err := log.Read(t.Context(), "EVENTS_0", 1, 1); err == nil {
		t.Error("a service reads events")
	}
	for _, subject := range []string{"partials.0", "control", "events.0.tick"} {
		if _, err := log.Append(t.Context(), fence.Message{Subject: subject}, 0); err == nil || !strings.Contains(err.Error(), "grant publish") {
			t.Errorf("a service appends to %s: %v", subject, err)
		}
	}

	// Nobody's answers but its own.
	denied := make(chan error, 1)
	nc, err := nats.Connect(url("publisher", publisher), nats.CustomInboxPrefix("_INBOX_publisher"),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { denied <- err }))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if _, err := nc.SubscribeSync("_INBOX.>"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	select {
	case err := <-denied:
		if !strings.Contains(strings.ToLower(err.Error()), "permissions violation for subscription") {
			t.Errorf("got %v", err)
		}
	case <-ctx.Done():
		t.Error("a service may read the answers that others get")
	}
}
