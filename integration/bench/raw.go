package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/dermai/millrace/schemas"
)

// rawStream is what plain nats.go writes to and reads from.
const rawStream = "RAW"

// frameMemory bounds the frames that are moved again, in bytes. They go round.
const frameMemory = 128 << 20

// pullBytes is what is asked for at once, in bytes: as much as Millrace's readers.
const pullBytes = 4 << 20

// rawFrame is a stored frame on its way through plain nats.go.
type rawFrame struct {
	msg    *nats.Msg
	events int64
}

// raw is the process that moves with plain nats.go what Millrace stored, with
// the least that nats.go can do.
func raw(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("raw", flag.ContinueOnError)
	url := flags.String("nats", "", "the broker")
	inFlight := flags.Int("in-flight", 0, "publish, this many at once (default: consume)")
	length := flags.Duration("for", time.Second, "how long to publish")
	if err := flags.Parse(args); err != nil {
		return err
	}
	conn, err := nats.Connect(*url)
	if err != nil {
		return err
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		return err
	}
	if *inFlight == 0 {
		return rawConsume(ctx, js, out)
	}
	return rawPublish(ctx, js, *inFlight, *length, out)
}

// rawPublish publishes the stored frames, with their subjects under another
// root and their headers, each with its acknowledgement waited for.
func rawPublish(ctx context.Context, js jetstream.JetStream, inFlight int, length time.Duration, out io.Writer) error {
	if _, err := js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
		Name: rawStream, Subjects: []string{"raw.>"}, Storage: jetstream.FileStorage,
	}); err != nil {
		return err
	}
	frames, err := storedFrames(ctx, js)
	if err != nil {
		return err
	}
	tell, err := newTeller(out)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, length)
	defer cancel()
	var next, sent, events, bytes atomic.Int64
	var g errgroup.Group
	for range inFlight {
		g.Go(func() error {
			for ctx.Err() == nil {
				f := &frames[next.Add(1)%int64(len(frames))]
				// A message is changed while it is published, so each has its own.
				msg := &nats.Msg{Subject: f.msg.Subject, Header: f.msg.Header, Data: f.msg.Data}
				if _, err := js.PublishMsg(context.WithoutCancel(ctx), msg); err != nil {
					return fmt.Errorf("publish %d bytes: %w", len(msg.Data), err)
				}
				sent.Add(1)
				events.Add(f.events)
				bytes.Add(int64(len(f.msg.Data)))
			}
			return nil
		})
	}
	err = g.Wait()
	return errors.Join(err, tell.tell(progress{Frames: sent.Load(), Events: events.Load(), Bytes: bytes.Load(), Done: true}))
}

// storedFrames reads the first frames of every stream of events.
func storedFrames(ctx context.Context, js jetstream.JetStream) ([]rawFrame, error) {
	var frames []rawFrame
	for _, p := range partitions() {
		size := 0
		err := consume(ctx, js, p.Stream(), func(m jetstream.Msg) bool {
			h := nats.Header{}
			first := map[string]string{}
			for k, v := range m.Headers() {
				if !strings.HasPrefix(k, "Nats-") {
					h[k], first[k] = v, v[0]
				}
			}
			if header, err := schemas.ParseFrameHeader(first); err == nil && header.Events > 0 {
				frames = append(frames, rawFrame{
					&nats.Msg{Subject: "raw." + m.Subject(), Header: h, Data: m.Data()}, int64(header.Events),
				})
			}
			size += len(m.Data())
			return size < frameMemory/len(partitions())
		})
		if err != nil {
			return nil, err
		}
	}
	if len(frames) == 0 {
		return nil, errors.New("no frames are stored")
	}
	return frames, nil
}

// rawConsume reads what rawPublish stored.
func rawConsume(ctx context.Context, js jetstream.JetStream, out io.Writer) error {
	tell, err := newTeller(out)
	if err != nil {
		return err
	}
	var p progress
	err = consume(ctx, js, rawStream, func(m jetstream.Msg) bool {
		var n int64
		if _, err := fmt.Sscan(m.Headers().Get(schemas.HeaderEvents), &n); err != nil {
			return false
		}
		p.Frames++
		p.Events += n
		p.Bytes += int64(len(m.Data()))
		return true
	})
	p.Done = true
	return errors.Join(err, tell.tell(p))
}

// consume gives each message that a stream holds now to fn, while that is true.
func consume(ctx context.Context, js jetstream.JetStream, stream string, fn func(jetstream.Msg) bool) error {
	s, err := js.Stream(ctx, stream)
	if err != nil {
		return err
	}
	last := s.CachedInfo().State.LastSeq
	if s.CachedInfo().State.Msgs == 0 {
		return nil
	}
	c, err := s.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{})
	if err != nil {
		return fmt.Errorf("consume %s: %w", stream, err)
	}
	// The default, 500 messages at once, is more than a server keeps for a client
	// where frames are large: it would close the connection.
	messages, err := c.Messages(jetstream.PullMaxBytes(pullBytes))
	if err != nil {
		return err
	}
	defer messages.Stop()
	for {
		m, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return fmt.Errorf("consume %s: %w", stream, err)
		}
		meta, err := m.Metadata()
		if err != nil {
			return err
		}
		if !fn(m) || meta.Sequence.Stream >= last {
			return nil
		}
	}
}
