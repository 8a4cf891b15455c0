package fence

import (
	"context"
	"errors"
	"fmt"

	"github.com/dermai/millrace/internal/chaos"
	"github.com/dermai/millrace/schemas"
)

// Header of a message: one value a name.
type Header map[string]string

// Message is what a stage appends.
type Message struct {
	Subject string
	Header  Header
	Data    []byte
}

// Entry is a stored message.
type Entry struct {
	Seq     uint64 // in its stream
	Time    int64  // the broker's timestamp, Unix ns; may step back between entries
	Subject string
	Header  Header
	Data    []byte
}

// Info tells the extent of a stream.
type Info struct {
	Created int64  // Unix ns
	First   uint64 // sequence of the first message still kept; Last+1 when none is
	Last    uint64 // the highest sequence ever given
	// LostFrom and LostTo are the sequences that a stream which was restored had
	// given, and that nobody had archived; 0: none are known.
	LostFrom, LostTo uint64
}

// Lost tells whether a message was lost when its stream was.
func (i *Info) Lost(seq uint64) bool { return i.LostFrom > 0 && i.LostFrom <= seq && seq <= i.LostTo }

// Log is a set of streams, each an ordered sequence of messages on subjects.
// Implementations are used by one machine at a time and never retry by
// themselves: who calls decides. fencetest.Conformance is the contract as code.
type Log interface {
	// Append stores m durably as the next message of its subject, if prev is the
	// sequence of that subject's last message (0: the subject has none). A nil
	// error means that the message is on disk. *RefusedError, ErrFull and other
	// errors mean that this attempt stored nothing; ErrUnknown that it may have,
	// now or later.
	Append(ctx context.Context, m Message, prev uint64) (seq uint64, err error)
	// Head returns the last message of a subject, ErrNoHead if there is none.
	// It may be stale: an older message than the last.
	Head(ctx context.Context, subject string) (Entry, error)
	// Read returns up to max messages of a stream that are there, from sequence
	// from on, ascending, without waiting for new ones. Missing sequences are
	// skipped, so the first entry may be later than from. An empty result means that
	// there was nothing from there on when the first Read of these began, each of
	// which goes on where the one before ended; what is stored meanwhile may show up
	// a moment later.
	// ErrRewound if from is beyond the sequence that comes next, and where what was
	// read before it is known to be another message now; ErrRecreated where the stream
	// is known to be another than the one that Info told of last, or that was read.
	Read(ctx context.Context, stream string, from uint64, max int) ([]Entry, error)
	// Info returns the extent of a stream.
	Info(ctx context.Context, stream string) (Info, error)
}

// Extender is a Log whose servers may answer without having caught up.
type Extender interface {
	// Extent is Info of a stream that was read up to a sequence. An answer that
	// ends before it is an error until it is sure.
	Extent(ctx context.Context, stream string, read uint64) (Info, error)
}

// Extent returns the extent of a stream that was read up to a sequence. If it ends
// before it, the stream did lose its tail.
func Extent(ctx context.Context, log Log, stream string, read uint64) (Info, error) {
	if l, ok := log.(Extender); ok {
		return l.Extent(ctx, stream, read)
	}
	return log.Info(ctx, stream)
}

// Recognise returns the extent of a stream that was read up to a marked message. It is
// ErrRecreated if it is another stream, and ErrRewound if it has not that message, or
// another in its place. What of the mark is not known, or not kept, is not compared.
func Recognise(ctx context.Context, log Log, stream string, m schemas.Mark) (Info, error) {
	info, err := Extent(ctx, log, stream, m.Seq)
	switch {
	case err != nil:
		return info, err
	case chaos.Bug("mark not compared"):
		return info, nil
	case m.Created != 0 && m.Created != info.Created:
		return info, fmt.Errorf("%s: message %d of another was read: %w", stream, m.Seq, ErrRecreated)
	case m.Seq > info.Last:
		return info, fmt.Errorf("%s: it was read up to message %d, and ends at %d: %w", stream, m.Seq, info.Last, ErrRewound)
	case m.Time == 0 || m.Seq < info.First || info.Lost(m.Seq):
		return info, nil
	}
	found, err := log.Read(ctx, stream, m.Seq, 1)
	if err != nil {
		return info, err
	}
	if len(found) > 0 && found[0].Seq == m.Seq && found[0].Time != m.Time {
		return info, fmt.Errorf("%s: message %d is another than the one that was read: %w", stream, m.Seq, ErrRewound)
	}
	return info, nil
}

// Trimmer forgets the beginning of a stream or of one of its subjects.
type Trimmer interface {
	// Trim removes the messages with sequences below seq: those of the subject, or
	// of the whole stream where subject is "". Doing it twice does no harm.
	Trim(ctx context.Context, stream, subject string, seq uint64) error
}

// goOn says where to read on.
const goOn = "; how to go on: docs/troubleshooting.md, A stream was lost"

// The outcomes of Append and Head that callers tell apart.
var (
	// ErrUnknown: no answer came; the message may be stored, now or later.
	ErrUnknown = errors.New("outcome unknown")
	// ErrFull: the stream takes no more; nothing was stored. Try later.
	ErrFull = errors.New("stream is full")
	// ErrNoHead: the subject has no message.
	ErrNoHead = errors.New("subject has no message")
	// ErrRewound: the stream has not what was read from it. It lost its tail and
	// gives sequences again, which is an incident.
	ErrRewound = errors.New("the stream lost its tail" + goOn)
	// ErrRecreated: the stream is not the one that was read. It was deleted, and
	// another made that gives its sequences again, which is an incident.
	ErrRecreated = errors.New("the stream was deleted and made again" + goOn)
	// ErrFenced: another writer has claimed the subject. The caller drops all
	// state that it holds for the subject and loads again.
	ErrFenced = errors.New("fenced: the subject has another writer")
)

// RefusedError says that the compare-and-swap failed: the subject's last
// message is not the expected one.
type RefusedError struct {
	Subject string
	Prev    uint64 // expected
	Last    uint64 // there; 0: the subject has none
	Unnamed bool   // the broker did not say what is there
}

func (e *RefusedError) Error() string {
	if e.Unnamed {
		return fmt.Sprintf("append to %s: expected last sequence %d, there is another", e.Subject, e.Prev)
	}
	return fmt.Sprintf("append to %s: expected last sequence %d, there is %d", e.Subject, e.Prev, e.Last)
}
