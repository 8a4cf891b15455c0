package watermill

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/dermai/millrace/pipeline"
	"github.com/dermai/millrace/schemas"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Transport says where messages are kept and who shares them. Conn is required,
// and Group for subscribers.
type Transport struct {
	Conn *pipeline.Conn
	// Stream holds every topic, and is made if it is not there. "": WATERMILL.
	Stream string
	// Group shares messages between its subscribers, in all processes: each
	// message goes to one of them. Each group gets every message that is kept.
	Group string
	// MaxBytes of a stream that is made; one that is full refuses. 0: 256 MiB.
	MaxBytes int64
	// MaxAge of the messages in a stream that is made. 0: 72 h.
	MaxAge time.Duration
	// InFlight is how many messages a subscription gives out before the first is
	// acknowledged. 0: 1, which keeps the order of a topic with one subscriber.
	InFlight int
	// AckWait is the time without a sign of life of a subscriber's process after
	// which its messages go to others. 0: 30 s.
	AckWait time.Duration
	// Again is how long a message waits after Nack before it is given again. 0:
	// 100 ms.
	Again time.Duration
}

// Validate joins all faults of the transport.
func (t Transport) Validate() error {
	var faults []error
	if t.Conn == nil {
		faults = append(faults, errors.New("connection: missing"))
	}
	for name, v := range map[string]string{"stream": t.Stream, "group": t.Group} {
		if token, err := schemas.Token(v); v != "" && (err != nil || token != v) {
			faults = append(faults, fmt.Errorf("%s %q: 1 to %d letters, digits, _ and -", name, v, schemas.TokenBytes))
		}
	}
	if t.MaxBytes < 0 || t.MaxAge < 0 || t.InFlight < 0 || t.AckWait < 0 || t.Again < 0 {
		faults = append(faults, errors.New("bytes, age, in flight, ack wait and again: not below zero"))
	}
	return errors.Join(faults...)
}

func (t Transport) withDefaults() Transport {
	t.Stream = cmp.Or(t.Stream, "WATERMILL")
	t.MaxBytes = cmp.Or(t.MaxBytes, 256<<20)
	t.MaxAge = cmp.Or(t.MaxAge, 72*time.Hour)
	t.InFlight = cmp.Or(t.InFlight, 1)
	t.AckWait = cmp.Or(t.AckWait, 30*time.Second)
	t.Again = cmp.Or(t.Again, 100*time.Millisecond)
	return t
}

// open makes the stream if it is not there.
func (t Transport) open(ctx context.Context) (jetstream.JetStream, error) {
	js := t.Conn.JetStream()
	_, err := js.Stream(ctx, t.Stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		_, err = js.CreateStream(ctx, jetstream.StreamConfig{
			Name: t.Stream, Description: "messages of Watermill", Subjects: []string{strings.ToLower(t.Stream) + ".*"},
			Storage: jetstream.FileStorage, Discard: jetstream.DiscardNew, MaxBytes: t.MaxBytes, MaxAge: t.MaxAge,
		})
	}
	if err != nil {
		return nil, fmt.Errorf("stream %s: %w", t.Stream, err)
	}
	return js, nil
}

// subject of a topic.
func (t Transport) subject(topic string) (string, error) {
	token, err := schemas.Token(topic)
	if err != nil {
		return "", fmt.Errorf("topic: %w", err)
	}
	return strings.ToLower(t.Stream) + "." + token, nil
}

// The headers that carry a message's UUID and metadata. Names and values of
// metadata are escaped as in the query of a URL, so that they come back as they
// were.
const (
	headerUUID     = "Watermill-Uuid"
	headerMetadata = "Watermill-Meta-"
)

func encode(subject string, m *message.Message) *nats.Msg {
	out := &nats.Msg{Subject: subject, Data: m.Payload, Header: nats.Header{headerUUID: {url.QueryEscape(m.UUID)}}}
	for k, v := range m.Metadata {
		out.Header[headerMetadata+url.QueryEscape(k)] = []string{url.QueryEscape(v)}
	}
	return out
}

// decode makes a message of what was stored. One of a foreign client has no UUID.
func decode(h nats.Header, data []byte) *message.Message {
	uuid, _ := url.QueryUnescape(h.Get(headerUUID))
	m := message.NewMessage(uuid, data)
	for name, values := range h {
		key, ok := strings.CutPrefix(name, headerMetadata)
		if !ok || len(values) == 0 {
			continue
		}
		k, kerr := url.QueryUnescape(key)
		v, verr := url.QueryUnescape(values[0])
		if kerr == nil && verr == nil {
			m.Metadata.Set(k, v)
		}
	}
	return m
}
