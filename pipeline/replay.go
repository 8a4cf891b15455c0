package pipeline

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/dermai/millrace/schemas"
)

// EnsureReplay creates the stream for what is replayed from the archive, if it is
// not there. Nothing of Millrace reads it, and it is nobody's to keep: delete it
// when it has served.
func EnsureReplay(ctx context.Context, c *Conn, replicas int, maxBytes int64) error {
	ctx, done := c.within(ctx)
	defer done()
	_, err := c.js.CreateStream(ctx, jetstream.StreamConfig{
		Name: schemas.StreamReplay, Description: "what was replayed from the archive", Subjects: []string{"replay.*"},
		Retention: jetstream.LimitsPolicy, Storage: jetstream.FileStorage, Discard: jetstream.DiscardNew,
		MaxBytes: maxBytes, MaxMsgs: -1, MaxMsgsPerSubject: -1, MaxMsgSize: -1, MaxConsumers: -1, Replicas: replicas,
	})
	if err == nil || errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
		return nil
	}
	return fmt.Errorf("create stream %s: %w", schemas.StreamReplay, err)
}
