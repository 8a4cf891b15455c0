package pipeline

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/internal/chaos"
	"github.com/dermai/millrace/schemas"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

var (
	_ fence.Log     = (*Log)(nil)
	_ fence.Trimmer = (*Log)(nil)
)

// Log is the fenced log on JetStream. Each machine has one of its own: the
// methods are not safe for concurrent use, except for Changed. Close it to end
// its readers.
type Log struct {
	conn    *Conn
	streams map[string]jetstream.Stream
	readers map[string]*reader
	created map[string]int64 // of each stream, when it was last asked for, or first read
	changed chan struct{}
}

// Log returns a new log that shares the connection.
func (c *Conn) Log() *Log {
	return &Log{
		conn:    c,
		streams: map[string]jetstream.Stream{},
		readers: map[string]*reader{},
		created: map[string]int64{},
		changed: make(chan struct{}, 1),
	}
}

// Changed receives after messages arrived for a stream that is being read, or
// its reader has an error to tell, so that a machine may sleep until then. One
// value may stand for many changes.
func (l *Log) Changed() <-chan struct{} { return l.changed }

// Close ends all readers and waits for them.
func (l *Log) Close() {
	for name := range l.readers {
		l.closeReader(name)
	}
}

// Append implements fence.Log. Besides its outcomes it reports a message that
// the broker takes never: too large, or on a subject that is not permitted.
func (l *Log) Append(ctx context.Context, m fence.Message, prev uint64) (uint64, error) {
	msg := &nats.Msg{Subject: m.Subject, Header: make(nats.Header, len(m.Header)+1), Data: m.Data}
	for k, v := range m.Header {
		msg.Header[k] = []string{v}
	}
	ctx, done := l.conn.within(ctx)
	defer done()
	start := time.Now()
	stream := schemas.StreamOf(m.Subject)
	chaos.Die(chaos.BeforeAppend, stream)
	opts := []jetstream.PublishOpt{jetstream.WithExpectLastSequencePerSubject(prev), jetstream.WithRetryAttempts(0)}
	if chaos.Bug("fence off") {
		opts = opts[1:]
	}
	ack, err := l.conn.js.PublishMsg(ctx, msg, opts...)
	chaos.Die(chaos.AfterAppend, stream)
	l.conn.metrics.appendSeconds.Observe(time.Since(start).Seconds())
	if err == nil {
		l.conn.metrics.appends.WithLabelValues(stream, outcomeStored).Inc()
		return ack.Sequence, nil
	}
	err, outcome := appendError(err, m.Subject, prev)
	if outcome == outcomeUnknown && l.conn.isDenied(m.Subject) {
		err, outcome = fmt.Errorf("append to %s: the credentials do not permit it; grant publish on the subject", m.Subject), outcomeError
	}
	l.conn.metrics.appends.WithLabelValues(stream, outcome).Inc()
	return 0, err
}

// Codes of nats-server (server/errors.json) that nats.go does not name.
const (
	codeAccountResources    jetstream.ErrorCode = 10002
	codeClusterNotAvailable jetstream.ErrorCode = 10008
	codeResources           jetstream.ErrorCode = 10023
	codeMemoryResources     jetstream.ErrorCode = 10028
	codeStorageResources    jetstream.ErrorCode = 10047
	codeStoreFailed         jetstream.ErrorCode = 10077
	codeTooManyRequests     jetstream.ErrorCode = 10167
	codeHeaderTooLarge      jetstream.ErrorCode = 10097
	codeStreamSealed        jetstream.ErrorCode = 10109
	codeMessageTTLDisabled  jetstream.ErrorCode = 10166
)

// appendError tells what an error of a publish means for the message. Whatever
// is not known to be a refusal is an unknown outcome.
func appendError(err error, subject string, prev uint64) (error, string) {
	where := "append to " + subject
	if errors.Is(err, nats.ErrMaxPayload) {
		return fmt.Errorf("%s: the message is larger than the server takes: %w; set its max_payload to 1 MiB or more", where, err), outcomeError
	}
	if errors.Is(err, nats.ErrBadSubject) {
		return fmt.Errorf("%s: %w", where, err), outcomeError
	}
	if errors.Is(err, jetstream.ErrNoStreamResponse) {
		return fmt.Errorf("%s: %w: no stream answers: create it with millrace apply, unless the broker is just starting", where, fence.ErrUnknown), outcomeUnknown
	}
	var api *jetstream.APIError
	if !errors.As(err, &api) {
		return fmt.Errorf("%s: %w: %w", where, fence.ErrUnknown, err), outcomeUnknown
	}
	switch api.ErrorCode {
	case jetstream.JSErrCodeStreamWrongLastSequence, jetstream.JSErrCodeStreamWrongLastSequenceConstant:
		return refused(api, subject, prev), outcomeRefused
	case codeStoreFailed:
		// The server's words; other failures to store give no answer at all.
		if strings.HasPrefix(api.Description, "maximum ") {
			return fmt.Errorf("%s: %w: %s", where, fence.ErrFull, api.Description), outcomeFull
		}
		return fmt.Errorf("%s: %w", where, err), outcomeError
	case codeAccountResources, codeResources, codeMemoryResources, codeStorageResources, codeTooManyRequests:
		return fmt.Errorf("%s: %w: %s", where, fence.ErrFull, api.Description), outcomeFull
	case jetstream.JSErrCodeStreamMessageExceedsMaximum, codeHeaderTooLarge, codeStreamSealed, codeMessageTTLDisabled:
		return fmt.Errorf("%s: %w", where, err), outcomeError
	}
	return fmt.Errorf("%s: %w: %w", where, fence.ErrUnknown, err), outcomeUnknown
}

// refused reads which sequence the broker names: "wrong last sequence: 7". On
// replicated streams it says less while another append of the subject is on
// its way.
func refused(api *jetstream.APIError, subject string, prev uint64) error {
	e := &fence.RefusedError{Subject: subject, Prev: prev, Unnamed: true}
	if _, s, ok := strings.Cut(api.Description, ": "); ok {
		if last, err := strconv.ParseUint(s, 10, 64); err == nil {
			e.Last, e.Unnamed = last, false
		}
	}
	return e
}

// Head implements fence.Log. The stream's leader answers.
func (l *Log) Head(ctx context.Context, subject string) (fence.Entry, error) {
	stream, err := l.stream(ctx, schemas.StreamOf(subject))
	if err != nil {
		return fence.Entry{}, fmt.Errorf("head of %s: %w", subject, err)
	}
	m, err := ask(ctx, l.conn, askAgain, func(ctx context.Context) (*jetstream.RawStreamMsg, error) {
		return stream.GetLastMsgForSubject(ctx, subject)
	})
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return fence.Entry{}, fmt.Errorf("head of %s: %w", subject, fence.ErrNoHead)
	}
	if err != nil {
		return fence.Entry{}, fmt.Errorf("head of %s: %w", subject, err)
	}
	return fence.Entry{Seq: m.Sequence, Time: m.Time.UnixNano(), Subject: m.Subject, Header: header(m.Header), Data: m.Data}, nil
}

// Info implements fence.Log.
func (l *Log) Info(ctx context.Context, stream string) (fence.Info, error) {
	return l.Extent(ctx, stream, 0)
}

// Extent implements fence.Extender.
func (l *Log) Extent(ctx context.Context, stream string, read uint64) (fence.Info, error) {
	s, err := l.stream(ctx, stream)
	if err != nil {
		return fence.Info{}, fmt.Errorf("extent of %s: %w", stream, err)
	}
	info, err := l.conn.extent(ctx, s, read)
	if err != nil {
		return info, err
	}
	l.created[stream] = info.Created
	if r := l.readers[stream]; r != nil && r.stale(info) {
		l.closeReader(stream) // what it has is of the stream before
	}
	return info, err
}

// Trim implements fence.Trimmer.
func (l *Log) Trim(ctx context.Context, stream, subject string, seq uint64) error {
	if seq <= 1 {
		return nil // to the broker 0 is everything
	}
	s, err := l.stream(ctx, stream)
	if err != nil {
		return fmt.Errorf("trim %s: %w", stream, err)
	}
	opts := []jetstream.StreamPurgeOpt{jetstream.WithPurgeSequence(seq)}
	if subject != "" {
		opts = append(opts, jetstream.WithPurgeSubject(subject))
	}
	ctx, done := l.conn.within(ctx)
	defer done()
	if err := s.Purge(ctx, opts...); err != nil {
		return fmt.Errorf("trim %s below %d: %w", stream, seq, err)
	}
	return nil
}

// stream gives the handle of a stream.
func (l *Log) stream(ctx context.Context, name string) (jetstream.Stream, error) {
	if s, ok := l.streams[name]; ok {
		return s, nil
	}
	s, err := l.conn.stream(ctx, name)
	if err == nil {
		l.streams[name] = s
	}
	return s, err
}

func (c *Conn) stream(ctx context.Context, name string) (jetstream.Stream, error) {
	if name == "" {
		return nil, errors.New("the subject belongs to no stream of Millrace")
	}
	s, err := ask(ctx, c, askAgain, func(ctx context.Context) (jetstream.Stream, error) { return c.js.Stream(ctx, name) })
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, fmt.Errorf("no stream %s; create it with millrace apply: %w", name, err)
	}
	return s, err
}

// extent asks how far a stream goes that was read up to a sequence. Where several
// servers have it, an answer that falls short of what is known is an error until
// it has been the same for a while.
func (c *Conn) extent(ctx context.Context, s jetstream.Stream, read uint64) (fence.Info, error) {
	name := s.CachedInfo().Config.Name
	si, err := ask(ctx, c, askAgain, func(ctx context.Context) (*jetstream.StreamInfo, error) { return s.Info(ctx) })
	if err != nil {
		return fence.Info{}, fmt.Errorf("extent of %s: %w", name, err)
	}
	info := fence.Info{Created: si.Created.UnixNano(), First: si.State.FirstSeq, Last: si.State.LastSeq}
	if si.State.Msgs == 0 {
		info.First = info.Last + 1
	}
	if err := restored(&info, si.Config); err != nil {
		return fence.Info{}, fmt.Errorf("extent of %s: %w", name, err)
	}
	if si.Cluster == nil || len(si.Cluster.Replicas) == 0 {
		return info, nil
	}
	c.reaching.Lock()
	defer c.reaching.Unlock()
	known := c.reach[name]
	if known == nil {
		known = new(reach)
		c.reach[name] = known
	}
	if err := known.judge(info, read, c.doubt, time.Now()); err != nil {
		return fence.Info{}, fmt.Errorf("extent of %s: %w", name, err)
	}
	return info, nil
}

// header takes the first value of each name, without what the client library
// added to carry the expected sequence.
func header(h nats.Header) fence.Header {
	out := make(fence.Header, len(h))
	for k, v := range h {
		if len(v) > 0 && !strings.HasPrefix(k, "Nats-Expected-") {
			out[k] = v[0]
		}
	}
	return out
}
