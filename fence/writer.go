package fence

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/dermai/millrace/internal/chaos"
	"github.com/dermai/millrace/schemas"
)

// HeaderToken carries who wrote a message: "<claim>/<epoch>/<n>".
const HeaderToken = "Millrace-Token"

// token names one append of one load of one writer. The claim is random and new
// at every load, not per process: a process that was fenced, loaded a stale
// head and reached the same epoch again must not take its own old append for
// the new one.
type token struct {
	claim string
	epoch uint64
	n     uint64
}

func (t token) String() string { return fmt.Sprintf("%s/%d/%d", t.claim, t.epoch, t.n) }

// parseToken reads the token of a head; a message without one (a genesis) has
// the zero token.
func parseToken(h Header) (token, error) {
	s, ok := h[HeaderToken]
	if !ok {
		return token{}, nil
	}
	claim, rest, _ := strings.Cut(s, "/")
	epoch, n, ok := strings.Cut(rest, "/")
	e, err1 := strconv.ParseUint(epoch, 10, 64)
	m, err2 := strconv.ParseUint(n, 10, 64)
	if !ok || claim == "" || err1 != nil || err2 != nil {
		return token{}, fmt.Errorf("header %s: %q is not <claim>/<epoch>/<n>", HeaderToken, s)
	}
	return token{claim, e, m}, nil
}

// answerWait is how long a writer waits for the answer to an append before it finds out
// what became of it. A server that is gone without a word gives none, and another one,
// elected meanwhile, would know; of a slow one the head is read, and at worst the same
// bytes are sent again, which it refuses if it has them.
const answerWait = time.Second

// Writer appends to one fenced subject. It is not safe for concurrent use.
type Writer struct {
	log     Log
	subject string
	claims  func() string

	created int64 // of the stream, Unix ns; 0: never loaded

	tok    token
	rev    uint64   // sequence of the subject's last message, as far as is known
	acked  uint64   // sequence of this writer's last message that is stored
	flight *Message // sent, outcome unknown
}

// NewWriter prepares a writer for a subject. claims gives a string that nobody
// else will ever use, at each call (rand.Text in production, seeded in a
// simulation).
func NewWriter(log Log, subject string, claims func() string) *Writer {
	return &Writer{log: log, subject: subject, claims: claims}
}

// Load reads the subject's head, forgets anything in flight and takes a new
// claim, which is in force once the first Append succeeded. A subject without a
// head is an incident, since a genesis message is written before the subject is
// opened: Load returns ErrNoHead and the process stops. So it is where the stream is
// not the one that this writer loaded from before (ErrRecreated), or has not what it
// was told to be stored (ErrRewound).
func (w *Writer) Load(ctx context.Context) (Entry, error) {
	head, err := w.log.Head(ctx, w.subject)
	if err != nil && !(errors.Is(err, ErrNoHead) && chaos.Bug("missing head taken as zero")) {
		return Entry{}, fmt.Errorf("load %s: %w", w.subject, err)
	}
	if err := w.guard(ctx); err != nil {
		return Entry{}, fmt.Errorf("load %s: %w", w.subject, err)
	}
	t, err := parseToken(head.Header)
	if err != nil {
		return Entry{}, fmt.Errorf("load %s: message %d: %w", w.subject, head.Seq, err)
	}
	if w.tok.claim == "" || !chaos.Bug("claim kept over a load") {
		w.tok.claim = w.claims()
	}
	w.tok = token{claim: w.tok.claim, epoch: t.epoch + 1}
	w.rev = head.Seq
	w.flight = nil
	return head, nil
}

// guard compares the stream with the one that was loaded from before.
func (w *Writer) guard(ctx context.Context) error {
	stream := schemas.StreamOf(w.subject)
	info, err := Extent(ctx, w.log, stream, w.acked)
	switch {
	case err != nil:
		return err
	case w.created != 0 && w.created != info.Created && !chaos.Bug("writer takes another stream"):
		return fmt.Errorf("%s: %w", stream, ErrRecreated)
	case info.Last < w.acked:
		return fmt.Errorf("%s: message %d was stored, and the last is %d: %w", stream, w.acked, info.Last, ErrRewound)
	}
	w.created = info.Created
	return nil
}

// Created is when the stream was created that was loaded from, Unix ns.
func (w *Writer) Created() int64 { return w.created }

// Append stores the next message. nil: it is stored, and Seq is its sequence.
// ErrUnknown or ErrFull: it is in flight, call Settle until that says nil or
// ErrFenced, and append nothing else before. ErrRewound: the subject has lost a
// message that this writer was told to be stored. Any other error is final and the
// caller must Load again.
func (w *Writer) Append(ctx context.Context, h Header, data []byte) error {
	if w.flight != nil {
		return fmt.Errorf("append to %s: an earlier append is not settled", w.subject)
	}
	header := Header{HeaderToken: w.tok.String()}
	maps.Copy(header, h)
	w.flight = &Message{Subject: w.subject, Header: header, Data: data}
	err := w.send(ctx)
	if refused := (*RefusedError)(nil); errors.As(err, &refused) {
		// Refusals are settled as unknown outcomes are: by the head.
		return fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	return err
}

// Unsettled tells that an append is in flight with an unknown outcome.
func (w *Writer) Unsettled() bool { return w.flight != nil }

// Seq is the sequence of the subject's last message, as far as is known.
func (w *Writer) Seq() uint64 { return w.rev }

// Settle finds out what became of the append in flight, and sends the same
// bytes again if they were not stored. nil: stored. ErrUnknown or ErrFull: call
// again. ErrFenced: another writer has the subject.
func (w *Writer) Settle(ctx context.Context) error {
	if w.flight == nil {
		return nil
	}
	head, err := w.log.Head(ctx, w.subject)
	if errors.Is(err, ErrNoHead) {
		return fmt.Errorf("settle %s: %w", w.subject, err)
	}
	if err != nil {
		return fmt.Errorf("settle %s: %w: %w", w.subject, ErrUnknown, err)
	}
	switch {
	case head.Header[HeaderToken] == w.tok.String(), chaos.Bug("zombie's append accepted"):
		return w.stored(head.Seq)
	case head.Seq == w.rev:
		err := w.send(ctx)
		if refused := (*RefusedError)(nil); errors.As(err, &refused) {
			return fmt.Errorf("%w: %w", ErrUnknown, err)
		}
		return err
	}
	w.flight = nil
	return fmt.Errorf("settle %s: message %d: %w", w.subject, head.Seq, ErrFenced)
}

func (w *Writer) send(ctx context.Context) error {
	ctx, done := context.WithTimeout(ctx, answerWait)
	defer done()
	seq, err := w.log.Append(ctx, *w.flight, w.rev)
	if err != nil {
		return fmt.Errorf("append to %s: %w", w.subject, err)
	}
	return w.stored(seq)
}

// stored goes on behind a message that is stored. A head may be stale; but what was
// appended behind it proves that it was the last, and that no message behind it that
// was stored before is there any more.
func (w *Writer) stored(seq uint64) error {
	last, acked := w.rev, w.acked
	w.rev, w.acked = seq, seq
	w.tok.n++
	w.flight = nil
	if last < acked && !chaos.Bug("lost commit not noticed") {
		return fmt.Errorf("%s: message %d was stored, and the last was %d: %w", w.subject, acked, last, ErrRewound)
	}
	return nil
}
