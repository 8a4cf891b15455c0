package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/dermai/millrace/fence"
)

// What a restored stream says of itself, in its metadata.
const (
	metaCreated   = "millrace-created"   // of the stream that was lost, Unix ns: it is that stream
	metaLostFrom  = "millrace-lost-from" // sequences that it had given and that nobody had archived
	metaLostTo    = "millrace-lost-to"
	metaRestoring = "millrace-restoring" // who restores it; it is not whole, and nobody uses it
)

// Restoration is a stream as it was.
type Restoration struct {
	Stream  string
	Created int64 // of the stream that was lost, Unix ns
	// First is the first sequence that is restored, and End the last that the stream
	// had given as far as is known. The sequences behind Archived up to it are lost.
	First, Archived, End uint64
	Messages             uint64 // that Entries gives
	Bytes                int64  // of them, by StoredBytes
	// Entries gives the messages from First to Archived, ascending. They may be used
	// until the next one is asked for.
	Entries iter.Seq2[*fence.Entry, error]
	// Progress, if set, is told how many messages were sent.
	Progress func(messages uint64)
}

// ErrRestored says that a stream is as it was already.
var ErrRestored = errors.New("the stream was restored already")

// Restorable tells whether a stream is not there, or was never used, or is what an
// interrupted restoration left, so that Restore may make it. An error that is
// ErrRestored says that one of a stream of that creation has been there before.
func Restorable(ctx context.Context, c *Conn, stream string, created int64) error {
	if err := restores(c.nats.ConnectedServerVersion()); err != nil {
		return err
	}
	s, err := c.stream(ctx, stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return restorable(s.CachedInfo(), created)
}

func restorable(info *jetstream.StreamInfo, created int64) error {
	meta, name := info.Config.Metadata, info.Config.Name
	switch {
	case meta[metaRestoring] != "":
		return nil
	case meta[metaCreated] == strconv.FormatInt(created, 10):
		return fmt.Errorf("%s: %w: it goes from %d to %d", name, ErrRestored, info.State.FirstSeq, info.State.LastSeq)
	case info.State.LastSeq > 0:
		return fmt.Errorf("stream %s is there and has given sequences up to %d: only a stream that is gone or was never used is restored, "+
			"so that nothing is replaced; if what is in it can go, delete it: nats stream rm %s", name, info.State.LastSeq, name)
	}
	return nil
}

// Restore makes a stream as it was: same sequences, times, subjects and headers,
// and the layout's configuration. It uses the restore of nats-server 2.15. Until all
// is there the stream takes no messages, and Log refuses to read it; a restoration
// that was interrupted is begun again. Who read the stream that was lost reads on:
// Log gives the same creation, and no sequence that was given is given again up to
// r.End. Let one process at a time restore a stream.
func Restore(ctx context.Context, c *Conn, layout Layout, r Restoration) error {
	if err := c.restore(ctx, layout.withDefaults(), r); err != nil {
		return fmt.Errorf("restore %s: %w", r.Stream, err)
	}
	return nil
}

func (c *Conn) restore(ctx context.Context, layout Layout, r Restoration) error {
	if err := restores(c.nats.ConnectedServerVersion()); err != nil {
		return err
	}
	streams := layout.streams()
	i := slices.IndexFunc(streams, func(s jetstream.StreamConfig) bool { return s.Name == r.Stream })
	if i < 0 {
		return errors.New("it is not in the layout: set partitions as they were")
	}
	whole := streams[i]
	if room := whole.MaxBytes / 100 * 95; r.Bytes > room {
		return fmt.Errorf("its messages need %d bytes, and it may hold %d: give it more, or restore less of it with a later --since", r.Bytes, room)
	}
	whole.Metadata = map[string]string{metaCreated: strconv.FormatInt(r.Created, 10)}
	if r.End > r.Archived {
		whole.Metadata[metaLostFrom] = strconv.FormatUint(r.Archived+1, 10)
		whole.Metadata[metaLostTo] = strconv.FormatUint(r.End, 10)
	}
	part := aside(whole, nats.NewInbox())
	if err := c.clear(ctx, r, part); err != nil {
		return err
	}
	err := c.fill(ctx, part, r)
	if err == nil {
		err = c.copied(ctx, r)
	}
	if err != nil {
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.timeout)
		defer cancel()
		return errors.Join(err, c.drop(last, part))
	}
	return c.open(ctx, whole, part, r)
}

// aside is a stream's configuration while it takes no messages.
func aside(c jetstream.StreamConfig, claim string) jetstream.StreamConfig {
	c.Subjects = []string{"restore." + c.Name}
	c.Metadata = maps.Clone(c.Metadata)
	if c.Metadata == nil {
		c.Metadata = map[string]string{}
	}
	c.Metadata[metaRestoring] = claim
	return c
}

// clear removes a stream that was never used, or what an earlier restoration left.
// It takes the subjects away first, so that nothing is stored in it meanwhile.
func (c *Conn) clear(ctx context.Context, r Restoration, part jetstream.StreamConfig) error {
	s, err := c.stream(ctx, r.Stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	is := s.CachedInfo()
	if err := restorable(is, r.Created); err != nil {
		return err
	}
	if is.Config.Metadata[metaRestoring] == "" {
		callCtx, done := c.within(ctx)
		is, err = c.updated(callCtx, aside(is.Config, part.Metadata[metaRestoring]))
		done()
		if err != nil {
			return err
		}
		if is.State.LastSeq > 0 {
			return fmt.Errorf("a message came just now; it is in the stream, whose subjects are %q now: apply sets them right", is.Config.Subjects)
		}
	}
	return c.delete(ctx, r.Stream)
}

// updated changes a stream's configuration and gives what it is then.
func (c *Conn) updated(ctx context.Context, config jetstream.StreamConfig) (*jetstream.StreamInfo, error) {
	s, err := c.js.UpdateStream(ctx, config)
	if err != nil {
		return nil, err
	}
	return s.Info(ctx)
}

func (c *Conn) delete(ctx context.Context, stream string) error {
	ctx, done := c.within(ctx)
	defer done()
	if err := c.js.DeleteStream(ctx, stream); err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
		return fmt.Errorf("delete what is there of it: %w", err)
	}
	return nil
}

// drop removes what this restoration has made.
func (c *Conn) drop(ctx context.Context, part jetstream.StreamConfig) error {
	s, err := c.stream(ctx, part.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil
	}
	if err == nil && s.CachedInfo().Config.Metadata[metaRestoring] == part.Metadata[metaRestoring] {
		err = c.delete(ctx, part.Name)
	}
	return err
}

// open looks whether all is there, and lets the stream take messages.
func (c *Conn) open(ctx context.Context, whole, part jetstream.StreamConfig, r Restoration) error {
	ctx, done := c.within(ctx)
	defer done()
	s, err := c.js.Stream(ctx, r.Stream)
	if err != nil {
		return err
	}
	is := s.CachedInfo()
	if is.Config.Metadata[metaRestoring] != part.Metadata[metaRestoring] {
		return errors.New("another process restores it, too: let one of them do it")
	}
	if is.State.Msgs != r.Messages || is.State.LastSeq != r.End {
		return fmt.Errorf("the server has %d messages up to %d, not %d up to %d: restore it again", is.State.Msgs, is.State.LastSeq, r.Messages, r.End)
	}
	_, err = c.js.UpdateStream(ctx, whole)
	return err
}

// fill sends the messages to the server.
func (c *Conn) fill(ctx context.Context, part jetstream.StreamConfig, r Restoration) error {
	state := backupState{Messages: r.Messages, Bytes: uint64(r.Bytes), First: r.First, Last: r.End}
	reply, err := c.begin(ctx, part.Name, struct {
		Config jetstream.StreamConfig `json:"config"`
		State  backupState            `json:"state"`
	}{part, state})
	if err != nil {
		return err
	}
	w := newBackupWriter(func(chunk []byte) error {
		answer, err := c.chunk(ctx, reply.Deliver, chunk)
		if err == nil && len(answer) > 0 {
			_, err = restoreAnswer(answer)
		}
		return err
	})
	if err := w.write(r, state); err != nil {
		return err
	}
	// An empty chunk ends it, and is answered once all is stored.
	answer, err := c.chunk(ctx, reply.Deliver, nil)
	if err == nil {
		_, err = restoreAnswer(answer)
	}
	return err
}

// chunkTime is how long the server may take over a chunk, each of whose messages it
// may have to sync.
const chunkTime = time.Minute

func (c *Conn) chunk(ctx context.Context, subject string, data []byte) ([]byte, error) {
	ctx, done := context.WithTimeout(ctx, chunkTime)
	defer done()
	m, err := c.nats.RequestWithContext(ctx, subject, data)
	if err != nil {
		return nil, fmt.Errorf("send: %w", err)
	}
	return m.Data, nil
}

func (c *Conn) request(ctx context.Context, subject string, body any) (*restoreReply, error) {
	data, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	ctx, done := c.within(ctx)
	defer done()
	m, err := c.nats.RequestWithContext(ctx, subject, data)
	if err != nil {
		return nil, fmt.Errorf("ask the server: %w", err)
	}
	return restoreAnswer(m.Data)
}

type restoreReply struct {
	Error   *jetstream.APIError `json:"error"`
	Deliver string              `json:"deliver_subject"`
}

func restoreAnswer(data []byte) (*restoreReply, error) {
	var r restoreReply
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, fmt.Errorf("the server's answer: %w", err)
	}
	if r.Error != nil {
		return nil, r.Error
	}
	return &r, nil
}

// restored makes what is told of a stream that of the one that it was restored from.
func restored(info *fence.Info, config jetstream.StreamConfig) error {
	meta := config.Metadata
	if meta[metaRestoring] != "" {
		return errors.New("it is being restored; if nobody does that, run millrace archive restore " + config.Name + " again")
	}
	created := meta[metaCreated]
	if created == "" {
		return nil
	}
	var err1, err2, err3 error
	info.Created, err1 = strconv.ParseInt(created, 10, 64)
	if meta[metaLostTo] != "" {
		info.LostFrom, err2 = strconv.ParseUint(meta[metaLostFrom], 10, 64)
		info.LostTo, err3 = strconv.ParseUint(meta[metaLostTo], 10, 64)
	}
	if err := errors.Join(err1, err2, err3); err != nil {
		return fmt.Errorf("its metadata: %w", err)
	}
	return nil
}
