package pipeline

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// restores tells whether a server of a version, such as 2.15.2, takes a backup in which
// each message has a sequence and a time of its own.
func restores(version string) error {
	var major, minor int
	_, err := fmt.Sscanf(version, "%d.%d", &major, &minor)
	if err == nil && (major > 2 || major == 2 && minor >= 15) {
		return nil
	}
	return fmt.Errorf("the broker is nats-server %s, and 2.15 or later is needed to restore a stream: "+
		"bring each server of it up to date, one after the other, and run this again", version)
}

const (
	abandonedTime = 30 * time.Second
	abandonedLook = 250 * time.Millisecond
)

// begin asks the server to take in a stream that is not there. A cluster keeps the name
// of one whose restoration broke off: it says that there is no such stream, and that its
// name is in use. To delete it ends that.
func (c *Conn) begin(ctx context.Context, stream string, body any) (*restoreReply, error) {
	ends := time.Now().Add(abandonedTime)
	for {
		reply, err := c.request(ctx, "$JS.API.STREAM.RESTORE."+stream, body)
		if refused := (*jetstream.APIError)(nil); !errors.As(err, &refused) || refused.ErrorCode != errNameInUse || time.Now().After(ends) {
			return reply, err
		}
		if _, there := c.stream(ctx, stream); !errors.Is(there, jetstream.ErrStreamNotFound) {
			return nil, err
		}
		_ = c.delete(ctx, stream) // whether the name is free then, the next request tells
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(abandonedLook):
		}
	}
}

// errNameInUse is JSStreamNameExistRestoreFailedErr of nats-server.
const errNameInUse = 10130

const (
	copyLook  = 50 * time.Millisecond
	copyStall = time.Minute
)

// copied waits until every server that is there and keeps a copy of a restored stream
// has its messages. The leader takes them in alone. For a while the others have nothing,
// although they are called current, and a consumer is on any of them: it would pass over
// what its server does not have yet. By what consumers see it is known.
func (c *Conn) copied(ctx context.Context, r Restoration) error {
	has, grown := map[string]uint64{}, time.Now()
	for {
		lacks, err := c.lacking(ctx, r, has)
		if err != nil || len(lacks) == 0 {
			return err
		}
		server, messages, err := c.seen(ctx, r.Stream)
		if err == nil && messages > has[server] {
			has[server], grown = messages, time.Now()
			continue
		}
		if time.Since(grown) > copyStall {
			return errors.Join(fmt.Errorf("%s did not copy the stream from the server that took it in: look after them and restore it again", strings.Join(lacks, ", ")), err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(copyLook):
		}
	}
}

// lacking names the servers that have less than all messages, as far as is known. A
// stream with one copy has none.
func (c *Conn) lacking(ctx context.Context, r Restoration, has map[string]uint64) (names []string, err error) {
	s, err := c.stream(ctx, r.Stream)
	if err != nil {
		return nil, err
	}
	cluster := s.CachedInfo().Cluster
	if cluster == nil || len(cluster.Replicas) == 0 {
		return nil, nil
	}
	names = append(names, cluster.Leader)
	for _, peer := range cluster.Replicas {
		if !peer.Offline {
			names = append(names, peer.Name)
		}
	}
	return slices.DeleteFunc(names, func(name string) bool { return has[name] >= r.Messages }), nil
}

// seen asks a server, any of those that keep a copy, how many messages it has.
func (c *Conn) seen(ctx context.Context, stream string) (server string, messages uint64, err error) {
	ctx, done := c.within(ctx)
	defer done()
	consumer, err := c.js.CreateConsumer(ctx, stream, jetstream.ConsumerConfig{
		DeliverPolicy: jetstream.DeliverAllPolicy, AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, Replicas: 1,
		InactiveThreshold: consumerIdle,
	})
	if err != nil {
		return "", 0, err
	}
	info := consumer.CachedInfo()
	if info.Cluster != nil {
		server = info.Cluster.Leader
	}
	return server, info.NumPending, c.js.DeleteConsumer(ctx, stream, info.Name)
}
