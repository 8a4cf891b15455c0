package watermill_test

import (
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/tests"
	"github.com/dermai/millrace/pipeline"
	"github.com/dermai/millrace/pipeline/watermill"
	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/server"
)

// start runs a broker that does not sync every write: the suite is about the
// adapter, and stores tens of thousands of messages.
func start(t *testing.T) *server.Server {
	t.Helper()
	s, err := server.NewServer(&server.Options{
		DontListen: true, JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true,
		JetStreamMaxMemory: 64 << 20, JetStreamMaxStore: 2 << 30,
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	if !s.ReadyForConnections(time.Minute) {
		t.Fatal("the broker is not ready")
	}
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	return s
}

func connect(t *testing.T, s *server.Server) *pipeline.Conn {
	t.Helper()
	c, err := pipeline.Connect(t.Context(), pipeline.Config{InProcess: s})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func open(t *testing.T, tr watermill.Transport) (message.Publisher, message.Subscriber) {
	t.Helper()
	pub, err := watermill.NewPublisher(t.Context(), tr)
	if err != nil {
		t.Fatal(err)
	}
	sub, err := watermill.NewSubscriber(t.Context(), tr)
	if err != nil {
		t.Fatal(err)
	}
	return pub, sub
}

// features are what the transport promises.
var features = tests.Features{
	ConsumerGroups:                      true,
	GuaranteedOrderWithSingleSubscriber: true,
	Persistent:                          true,
}

// TestSuite is Watermill's own.
func TestSuite(t *testing.T) {
	c := connect(t, start(t))
	tests.TestPubSub(t, features,
		func(t *testing.T) (message.Publisher, message.Subscriber) {
			return open(t, watermill.Transport{Conn: c, Group: "all"})
		},
		func(t *testing.T, group string) (message.Publisher, message.Subscriber) {
			return open(t, watermill.Transport{Conn: c, Group: group})
		})
}

// TestStress is Watermill's own, with the counts of its short mode: ten of its
// suites at once.
func TestStress(t *testing.T) {
	c := connect(t, start(t))
	short := features
	short.ForceShort = true
	tests.TestPubSubStressTest(t, short,
		func(t *testing.T) (message.Publisher, message.Subscriber) {
			return open(t, watermill.Transport{Conn: c, Group: "all"})
		},
		func(t *testing.T, group string) (message.Publisher, message.Subscriber) {
			return open(t, watermill.Transport{Conn: c, Group: group})
		})
}

// TestOpaque sends what headers and subjects cannot hold as it is.
func TestOpaque(t *testing.T) {
	pub, sub := open(t, watermill.Transport{Conn: connect(t, start(t)), Group: "g"})
	m := message.NewMessage("id: 1\r\n", []byte{0, 255, '\n'})
	m.Metadata = message.Metadata{"a key:\n": "two\r\nlines ü", "": "empty", "Nats-Msg-Id": "x"}
	if err := pub.Publish("any topic.>", m); err != nil {
		t.Fatal(err)
	}
	out, err := sub.Subscribe(t.Context(), "any topic.>")
	if err != nil {
		t.Fatal(err)
	}
	got := <-out
	got.Ack()
	if got.UUID != m.UUID || string(got.Payload) != string(m.Payload) {
		t.Errorf("got %q with %q", got.UUID, got.Payload)
	}
	if diff := cmp.Diff(m.Metadata, got.Metadata); diff != "" {
		t.Errorf("metadata (-want +got):\n%s", diff)
	}
	if err := sub.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := sub.Subscribe(t.Context(), "x"); err == nil {
		t.Error("subscribed after Close")
	}
}
