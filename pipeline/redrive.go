package pipeline

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"time"

	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/internal/chaos"
	"github.com/dermai/millrace/schemas"
	"github.com/nats-io/nats.go/jetstream"
)

// NotRedrivenError says why an item stays in quarantine: another attempt cannot
// succeed before something has changed.
type NotRedrivenError struct{ Reason string }

func (e *NotRedrivenError) Error() string { return e.Reason }

// Permanent is true: the same call will be refused again.
func (e *NotRedrivenError) Permanent() bool { return true }

func notRedriven(format string, args ...any) error {
	return &NotRedrivenError{fmt.Sprintf(format, args...)}
}

// Redrive gives an item back to where it was refused: an event to a lane of its
// own, a notification to the sender of its receiver, what a consumer refused to
// that consumer alone. It returns true when that is on disk, and false when it
// was done before: an item is given back once, whoever tries how often and
// whatever crashes between. The item itself stays until it expires.
//
// It refuses, with a *NotRedrivenError, what cannot be read still, what was given
// back schemas.MaxRedriven times already unless force is set, and an item whose
// bytes are gone. After any other error the call may be made again.
func (q *Quarantine) Redrive(ctx context.Context, e QuarantineEntry, force bool) (bool, error) {
	stored, err := q.redrive(ctx, e, force)
	if err != nil {
		return false, fmt.Errorf("redrive %s: %w", e.ID, err)
	}
	return stored, nil
}

func (q *Quarantine) redrive(ctx context.Context, e QuarantineEntry, force bool) (bool, error) {
	if e.Redriven >= schemas.MaxRedriven && !force {
		return false, notRedriven("it came back %d times; mend the cause, then force it", e.Redriven)
	}
	log := q.conn.Log()
	defer log.Close()
	sum := sha256.Sum256([]byte(e.ID))
	r := redriving{conn: q.conn, log: log, item: e.Quarantined, key: hex.EncodeToString(sum[:16])}
	switch e.Stage {
	case schemas.StageReduce, schemas.StagePublish:
		return r.event(ctx)
	case schemas.StageSend:
		return r.notification(ctx)
	case schemas.StageConsume:
		return r.consumer(ctx)
	}
	return false, notRedriven("nothing takes items of stage %q", e.Stage)
}

// redriving is one item on its way back.
type redriving struct {
	conn *Conn
	log  *Log
	item schemas.Quarantined
	key  string // of the item, as a token
}

// header is what every message carries that was taken out of quarantine.
func (r *redriving) header() fence.Header {
	return fence.Header{schemas.HeaderRedriven: strconv.Itoa(r.item.Redriven + 1)}
}

// once appends the first message of a subject. False: it was there already.
func (r *redriving) once(ctx context.Context, m fence.Message) (bool, error) {
	_, err := r.log.Append(ctx, m, 0)
	if refused := (*fence.RefusedError)(nil); errors.As(err, &refused) {
		if refused.Unnamed {
			return false, fmt.Errorf("%w: %w", fence.ErrUnknown, refused)
		}
		if chaos.Bug("redrive without dedup") {
			_, err = r.log.Append(ctx, m, refused.Last)
			return err == nil, err
		}
		return false, nil
	}
	return err == nil, err
}

// notification gives a notification to its sender. NOTIFY keeps a subject's last
// message, so that its subject is taken for ever.
func (r *redriving) notification(ctx context.Context) (bool, error) {
	if err := r.complete(ctx); err != nil {
		return false, err
	}
	var n schemas.Notification
	if err := schemas.DecodeInto(r.item.Data, &n); err != nil {
		return false, notRedriven("it still cannot be read: %v", err)
	}
	if t, err := schemas.Token(n.Receiver); err != nil || t != n.Receiver {
		return false, notRedriven("its receiver %q has no name", n.Receiver)
	}
	h := r.header()
	h[schemas.HeaderType] = schemas.TypeNotification
	return r.once(ctx, fence.Message{Subject: schemas.RedriveSubject(n.Receiver, r.key), Header: h, Data: r.item.Data})
}

// consumer gives an item to the consumer that refused it. REDRIVE keeps it for
// longer than the quarantine keeps the item.
func (r *redriving) consumer(ctx context.Context) (bool, error) {
	if t, err := schemas.Token(r.item.Consumer); err != nil || t != r.item.Consumer {
		return false, notRedriven("its consumer %q has no name", r.item.Consumer)
	}
	if err := r.complete(ctx); err != nil {
		return false, err
	}
	subject := schemas.ConsumerRedrive(r.item.Consumer, r.key)
	if r.item.Stream == schemas.StreamAlerts {
		subject = schemas.AlertRedrive(r.item.Consumer, r.key)
	}
	back := r.item
	back.Redriven++
	data, err := schemas.Encode(back)
	if err != nil {
		return false, err
	}
	return r.once(ctx, fence.Message{Subject: subject, Header: r.header(), Data: data})
}

// event makes a frame of an event again, or a whole frame, in a lane of its own.
//
// The lane's subject is taken while its frame is in the stream, at least for the
// ReplayWindow. A mark in REDRIVE, which outlives the item, says before the
// append that it begins, and after it that it is done. An append that began
// longer ago than half the window and whose end is not recorded may be stored
// and forgotten, so it is not made again.
func (r *redriving) event(ctx context.Context) (bool, error) {
	mark := schemas.RedriveMark(r.item.Stage, r.key)
	head, err := r.log.Head(ctx, mark)
	switch {
	case errors.Is(err, fence.ErrNoHead):
	case err != nil:
		return false, err
	case head.Header[schemas.HeaderType] == schemas.RedriveDone:
		return false, nil
	case time.Since(time.Unix(0, head.Time)) > ReplayWindow/2:
		return false, notRedriven("an attempt of %s may have stored it, and its end was not recorded; publish its data anew if it is missing",
			time.Unix(0, head.Time).UTC().Format(time.RFC3339))
	}
	frame, err := r.frame(ctx)
	if err != nil {
		return false, err
	}
	if head.Seq == 0 {
		if head.Seq, err = r.log.Append(ctx, r.mark(mark, schemas.RedriveBegun), 0); err != nil {
			return false, err // by somebody else at the same time, too: the next call sees what became of it
		}
	}
	stored, err := r.once(ctx, frame)
	if err != nil {
		return false, err
	}
	if err := r.final(ctx, frame.Subject); err != nil {
		return false, err
	}
	_, err = r.log.Append(ctx, r.mark(mark, schemas.RedriveDone), head.Seq)
	if refused := (*fence.RefusedError)(nil); errors.As(err, &refused) {
		err = nil // somebody else did the same
	}
	return stored && err == nil, err
}

func (r *redriving) mark(subject, what string) fence.Message {
	h := r.header()
	h[schemas.HeaderType] = what
	return fence.Message{Subject: subject, Header: h, Data: []byte(r.item.ID)}
}

// final ends the lane, so that its end is known.
func (r *redriving) final(ctx context.Context, subject string) error {
	head, err := r.log.Head(ctx, subject)
	if err != nil {
		return err
	}
	if head.Header[schemas.HeaderFinal] != "" {
		return nil
	}
	h := schemas.FrameHeader{Counter: 2, Acked: 1, Final: true}
	_, err = r.log.Append(ctx, fence.Message{Subject: subject, Header: h.Map()}, head.Seq)
	if refused := (*fence.RefusedError)(nil); errors.As(err, &refused) {
		return nil
	}
	return err
}

// frame makes the message that gives an event back.
func (r *redriving) frame(ctx context.Context) (fence.Message, error) {
	if err := r.complete(ctx); err != nil {
		return fence.Message{}, err
	}
	var at schemas.Subject
	if r.item.Subject != "" {
		var err error
		if at, err = schemas.ParseSubject(r.item.Subject); err != nil || at.Tick {
			return fence.Message{}, notRedriven("it came on %s, which is no subject of events", r.item.Subject)
		}
	}
	body, err := schemas.Unpack(nil, r.item.Data, schemas.FrameDecoded)
	if err != nil {
		return fence.Message{}, notRedriven("it still cannot be read: %v", err)
	}
	n := 0
	for i, line := range schemas.Lines(body) {
		e, err := schemas.Decode(line, schemas.Origin{Kind: at.Kind, Service: at.Service})
		if err != nil && r.item.Index < 0 && at.Kind != "" {
			n++ // one of a frame: the others are worth it
			continue
		}
		if err == nil && at.Kind == "" {
			at = schemas.Subject{Kind: e.Kind, Service: e.Service}
			if e.Kind == schemas.KindAudit {
				at.Partition = schemas.Audit
			}
		}
		if err == nil {
			_, err = schemas.Token(at.Service)
		}
		if err != nil {
			return fence.Message{}, notRedriven("event %d still cannot be read: %v", i, err)
		}
		n++
	}
	if n == 0 || n > schemas.FrameEvents {
		return fence.Message{}, notRedriven("it has %d events; a frame has 1 to %d", n, schemas.FrameEvents)
	}
	subject, err := schemas.FrameSubject(at.Partition, at.Kind, at.Service, r.key)
	if err != nil {
		return fence.Message{}, notRedriven("%v", err)
	}
	m := fence.Message{Subject: subject, Header: r.header(), Data: r.item.Data}
	maps.Copy(m.Header, schemas.FrameHeader{Counter: 1, Events: n}.Map())
	return m, nil
}

// complete puts all bytes of the item in place of those that were copied.
func (r *redriving) complete(ctx context.Context) error {
	q := &r.item
	if len(q.Data) >= q.Size {
		return nil
	}
	gone := notRedriven("only %d of its %d bytes were kept, and message %d of %s has the others no more", len(q.Data), q.Size, q.Seq, q.Stream)
	if q.Stream == "" || q.Seq == 0 {
		return notRedriven("only %d of its %d bytes were kept; publish it anew from its source", len(q.Data), q.Size)
	}
	s, err := r.log.stream(ctx, q.Stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return gone
	}
	if err != nil {
		return err
	}
	reading, finish := r.conn.within(ctx)
	defer finish()
	m, err := s.GetMsg(reading, q.Seq)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return gone
	}
	if err != nil {
		return fmt.Errorf("read message %d of %s: %w", q.Seq, q.Stream, err)
	}
	data := m.Data
	if q.Index >= 0 {
		data, err = pick(m, q.Index)
		if err != nil {
			return gone
		}
	}
	if len(data) != q.Size || !bytes.HasPrefix(data, q.Data) {
		return gone // the stream was made anew
	}
	q.Data = data
	return nil
}

// pick finds one item in a message, as a consumer or a reducer counts them.
func pick(m *jetstream.RawStreamMsg, index int) ([]byte, error) {
	h := &held{data: m.Data, name: m.Subject, header: m.Header}
	if schemas.StreamOf(m.Subject) == schemas.StreamAlerts {
		openAlerts(h)
	} else {
		openEvents(h)
	}
	if h.bad != nil || index >= len(h.lines) {
		return nil, errors.New("there is no such item")
	}
	return h.lines[index], nil
}
