package replay

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/dermai/millrace/archive"
	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/schemas"
)

// The headers that say which archived message a replayed one is. Its own headers
// stand beside them, those of the broker (Nats-...) behind HeaderPrefix.
const (
	HeaderPrefix  = "Archive-"
	HeaderStream  = "Archive-Stream"
	HeaderEpoch   = "Archive-Epoch"
	HeaderSeq     = "Archive-Seq"
	HeaderTime    = "Archive-Time"    // by the broker, Unix ns
	HeaderArrival = "Archive-Arrival" // the running maximum of Archive-Time, Unix ns
	HeaderSubject = "Archive-Subject"
	HeaderReplay  = "Archive-Replay" // what was replayed: another choice is another replay
)

// Config says what is replayed, and how.
type Config struct {
	// Filter chooses by class, stream and arrival. Ticks are left out.
	Filter archive.Filter
	// Name is the last token of the subject, replay.<name>.
	Name string
	// Speed is how fast arrivals go by: 1 as they did, 10 ten times as fast; 0: as
	// fast as they can be stored.
	Speed float64
	// Now and Wait are the clock, for Speed; nil: that of the machine.
	Now  func() time.Time
	Wait func(ctx context.Context, d time.Duration) error
}

// Result is what is in the subject now.
type Result struct {
	Subject  string `json:"subject"`
	Appended uint64 `json:"appended"` // messages, by this run
	Skipped  uint64 `json:"skipped"`  // that earlier runs had appended
}

// mark says what a replay chooses.
func (c *Config) mark() string {
	f := c.Filter
	return fmt.Sprintf("%s/%s %d-%d", f.Class, f.Stream, f.Since, f.Until)
}

// Subject is the subject that a replay of this name appends to.
func Subject(name string) string { return "replay." + name }

// Run replays what is chosen, from where an earlier run of the same name ended.
// After an error another run goes on. The log's stream of the subject must be there.
func Run(ctx context.Context, store archive.Store, log fence.Log, c Config) (r Result, err error) {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Wait == nil {
		c.Wait = wait
	}
	r.Subject = Subject(c.Name)
	p := &player{log: log, cfg: &c, result: &r}
	if err := p.load(ctx); err != nil {
		return r, fmt.Errorf("replay: %w", err)
	}
	err = merged(ctx, store, c.Filter, func(rec *archive.Record) error { return p.play(ctx, rec) })
	if err == nil && p.behind != "" {
		err = fmt.Errorf("%s ends with %s, which the archive holds no more: replay under another name", r.Subject, p.behind)
	}
	if err != nil {
		return r, fmt.Errorf("replay: %w", err)
	}
	return r, nil
}

func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// player appends records to the subject.
type player struct {
	log    fence.Log
	cfg    *Config
	result *Result
	last   uint64 // sequence of the subject's last message, 0 for none
	behind string // the position that was appended last, until it went by; "": it did

	begun   time.Time // when the first record of this run was appended
	arrival int64     // of that one
}

// load finds where the subject ends.
func (p *player) load(ctx context.Context) error {
	head, err := p.log.Head(ctx, p.result.Subject)
	if errors.Is(err, fence.ErrNoHead) {
		return nil
	}
	if err != nil {
		return err
	}
	if got := head.Header[HeaderReplay]; got != p.cfg.mark() {
		return fmt.Errorf("%s holds the replay of %q, not of %q: use another --name", p.result.Subject, got, p.cfg.mark())
	}
	p.last = head.Seq
	p.behind = position(head.Header[HeaderStream], head.Header[HeaderEpoch], head.Header[HeaderSeq])
	return nil
}

func position(stream, epoch, seq string) string { return stream + "/" + epoch + "/" + seq }

// play appends a record, unless an earlier run did.
func (p *player) play(ctx context.Context, rec *archive.Record) error {
	if len(rec.Payload) == 0 {
		return nil // a tick
	}
	m := p.message(rec)
	at := position(m.Header[HeaderStream], m.Header[HeaderEpoch], m.Header[HeaderSeq])
	if p.behind != "" {
		p.result.Skipped++
		if p.behind == at {
			p.behind = ""
		}
		return nil
	}
	if err := p.pace(ctx, rec.Arrival); err != nil {
		return err
	}
	if err := p.append(ctx, m, at); err != nil {
		return err
	}
	p.result.Appended++
	return nil
}

// pace waits until a record is due.
func (p *player) pace(ctx context.Context, arrival int64) error {
	if p.cfg.Speed <= 0 {
		return ctx.Err()
	}
	if p.begun.IsZero() {
		p.begun, p.arrival = p.cfg.Now(), arrival
	}
	due := p.begun.Add(time.Duration(float64(arrival-p.arrival) / p.cfg.Speed))
	if d := due.Sub(p.cfg.Now()); d > 0 {
		return p.cfg.Wait(ctx, d)
	}
	return ctx.Err()
}

// append stores a message as the next of the subject. What became of an append
// without an answer is read from the subject's end.
func (p *player) append(ctx context.Context, m fence.Message, at string) error {
	seq, err := p.log.Append(ctx, m, p.last)
	if err == nil {
		p.last = seq
		return nil
	}
	var refused *fence.RefusedError
	if !errors.Is(err, fence.ErrUnknown) && !errors.As(err, &refused) {
		return err
	}
	head, headErr := p.log.Head(ctx, m.Subject)
	if headErr == nil && head.Header[HeaderReplay] == m.Header[HeaderReplay] &&
		position(head.Header[HeaderStream], head.Header[HeaderEpoch], head.Header[HeaderSeq]) == at {
		p.last = head.Seq // it, or another process's, which is the same
		return nil
	}
	return errors.Join(err, errors.New("run the replay again: it goes on where it is"))
}

// message is what a record is replayed as. Its payload is packed anew, so that it is
// the same whether it was compacted or not.
func (p *player) message(rec *archive.Record) fence.Message {
	h := make(fence.Header, len(rec.Header)+7)
	maps.Copy(h, rec.Header)
	for name, value := range rec.Header {
		if strings.HasPrefix(name, "Nats-") || strings.HasPrefix(name, HeaderPrefix) {
			delete(h, name)
			h[HeaderPrefix+name] = value
		}
	}
	h[HeaderStream], h[HeaderEpoch], h[HeaderSeq] = rec.Stream, rec.Epoch.String(), strconv.FormatUint(rec.Seq, 10)
	h[HeaderTime], h[HeaderArrival] = strconv.FormatInt(rec.Time, 10), strconv.FormatInt(rec.Arrival, 10)
	h[HeaderSubject], h[HeaderReplay] = rec.Subject, p.cfg.mark()
	data := rec.Payload
	if unpacked, err := schemas.Unpack(nil, data, schemas.FrameDecoded); err == nil {
		data = schemas.Pack(nil, unpacked)
	}
	return fence.Message{Subject: p.result.Subject, Header: h, Data: append([]byte(nil), data...)}
}
