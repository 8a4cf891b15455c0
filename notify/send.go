package notify

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/internal/chaos"
	"github.com/dermai/millrace/schemas"
)

// SendConfig is what the sender of a receiver needs.
type SendConfig struct {
	Name       string // of the receiver
	Receiver   Receiver
	Log        fence.Log
	Claims     func() string // see fence.NewWriter
	Quarantine Quarantine
	Clock      Clock          // default: time.Now
	Rand       func() float64 // in [0, 1), for jitter; default: math/rand/v2
	// Active says whether this process shall send. Default: always.
	Active func() bool
	// Timeout bounds one attempt with its record, also when the machine is told to
	// stop meanwhile. Default: 15s.
	Timeout time.Duration
	Backoff Backoff
	// PerMinute is how many messages the receiver gets in a minute at most, as
	// Config.PerMinute says. The last of them is a digest of all that is pending,
	// if that is more than one. 0: no limit.
	PerMinute int
	Metrics   *Metrics // nil: not counted
}

// phase is what the sender does next.
type phase int

const (
	loading   phase = iota // claim deliveries.<receiver>
	idle                   // read the next notification
	gathering              // read what is to be told as a digest
	waiting                // begin the next attempt when its time has come
	started                // the attempt is recorded: send
	rejecting              // the receiver said never: put it into quarantine
	ending                 // record the outcome
)

// Send takes the notifications of notify.<receiver> to the receiver, in order,
// one after the other, and appends to deliveries.<receiver> what it does. It is
// single-threaded; see Step.
type Send struct {
	cfg     SendConfig
	subject string
	writer  *fence.Writer
	metrics *Metrics

	phase     phase
	at        schemas.Delivery // the last that is stored
	created   int64            // of NOTIFY, Unix ns
	next      uint64           // sequence of NOTIFY to read
	flight    schemas.Delivery // being appended
	now       *work            // in hand
	budget    budget
	alone     uint64 // sequence of a notification that is in no digest
	notBefore time.Time
	last      time.Time // of the last append

	follower   Follower   // the receiver, if it is one
	references references // for it
	claimed    uint64     // sequence of the claim in DELIVERIES
	recalled   uint64     // sequence of DELIVERIES up to which references are read
}

// work is the notification in hand.
type work struct {
	seq          uint64
	stored       int64     // when, Unix ns; 0: not known
	from         uint64    // of a digest
	gathered     *gathered // nil: no digest
	counted      bool      // the attempt is the last in the budget
	data         []byte
	redriven     int // times that it was taken out of quarantine
	notification schemas.Notification
	attempt      int              // the last that began
	outcome      schemas.Delivery // of that attempt, to be recorded
	retryAfter   time.Duration
}

// NewSend prepares the sender of a receiver.
func NewSend(cfg SendConfig) (*Send, error) {
	if !receiverName.MatchString(cfg.Name) {
		return nil, fmt.Errorf("sender: %q is no name of a receiver", cfg.Name)
	}
	if cfg.Receiver == nil || cfg.Quarantine == nil {
		return nil, fmt.Errorf("sender of %s: it needs a receiver and a quarantine", cfg.Name)
	}
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.Float64
	}
	if cfg.Active == nil {
		cfg.Active = func() bool { return true }
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = 15 * time.Second
	}
	subject := schemas.DeliveriesSubject(cfg.Name)
	follower, _ := cfg.Receiver.(Follower)
	return &Send{
		cfg: cfg, subject: subject, follower: follower, budget: budget{limit: cfg.PerMinute},
		writer:  fence.NewWriter(cfg.Log, subject, cfg.Claims),
		metrics: cfg.Metrics.orNone(),
	}, nil
}

// Step does one bounded piece of work and is never called twice at once. busy
// says that there may be more to do right away. After an incident
// (fence.IsIncident) the machine is done for; after any other error it may be
// stepped on.
//
// An attempt that began is finished and recorded within Timeout though ctx ends
// meanwhile: stopping leaves no attempt in doubt.
func (m *Send) Step(ctx context.Context) (busy bool, err error) {
	if m.writer.Unsettled() {
		if err := m.settled(m.writer.Settle(ctx)); err != nil {
			return false, err
		}
		if m.phase != started {
			return true, nil
		}
	}
	if m.phase < started && !m.cfg.Active() {
		return false, nil
	}
	switch m.phase {
	case loading:
		return true, m.load(ctx)
	case idle:
		if !m.budget.room(m.cfg.Clock()) {
			return false, nil
		}
		return m.fetch(ctx)
	case gathering:
		return m.gather(ctx)
	case waiting:
		if now := m.cfg.Clock(); now.Before(m.notBefore) || !m.budget.room(now) {
			return false, nil
		}
		if done, busy, err := m.recall(ctx); !done || err != nil {
			return busy, err
		}
		if err := m.begin(ctx); err != nil {
			return false, err
		}
	}
	finish, cancel := context.WithTimeout(context.WithoutCancel(ctx), m.cfg.Timeout)
	defer cancel()
	if m.phase == started && chaos.Bug("delivery recorded before the send") {
		notification := m.now.notification
		m.judge(schemas.DeliveryDelivered, "")
		err := m.append(finish, schemas.TypeDelivery, m.now.outcome)
		_, _ = m.cfg.Receiver.Send(finish, notification)
		return true, err
	}
	if m.phase == started {
		m.attempt(finish)
	}
	if m.now.outcome.Outcome == schemas.DeliveryDelivered && chaos.Bug("delivery never recorded") {
		m.phase, m.next, m.now = idle, m.now.seq+1, nil
		return true, nil
	}
	if m.phase == rejecting {
		if err := m.reject(finish); err != nil {
			return false, err
		}
	}
	return true, m.append(finish, schemas.TypeDelivery, m.now.outcome)
}

// fetch takes the next notification in hand.
func (m *Send) fetch(ctx context.Context) (bool, error) {
	entries, err := m.cfg.Log.Read(ctx, schemas.StreamNotify, m.next, readEntries)
	if err != nil {
		return false, fmt.Errorf("read notifications: %w", err)
	}
	for _, e := range entries {
		m.next = e.Seq + 1
		if !isFor(e, m.cfg.Name) {
			continue
		}
		if m.budget.last(m.cfg.Clock()) && e.Seq != m.alone {
			return true, m.collect(ctx, e.Seq)
		}
		m.take(e)
		return true, nil
	}
	if len(entries) == 0 && m.cfg.Clock().Sub(m.last) >= keepAlive {
		return true, m.append(ctx, schemas.TypeClaim, schemas.Delivery{Seq: m.next - 1, Created: m.created, Outcome: schemas.DeliveryDelivered})
	}
	return len(entries) > 0, nil
}

// take puts a notification in hand. One that cannot be read is rejected.
func (m *Send) take(e fence.Entry) {
	m.now = &work{seq: e.Seq, stored: e.Time, data: e.Data, redriven: schemas.RedrivenTimes(e.Header)}
	m.phase, m.notBefore = waiting, time.Time{}
	if err := schemas.DecodeInto(e.Data, &m.now.notification); err != nil {
		m.now.notification = schemas.Notification{}
		m.judge(schemas.DeliveryRejected, "the notification cannot be read: "+err.Error())
	}
}

// begin records that the next attempt starts. A sender that has lost the
// subject gets no further than this.
func (m *Send) begin(ctx context.Context) error {
	return m.append(ctx, schemas.TypeDelivery, schemas.Delivery{
		Notification: m.now.notification.ID, From: m.now.from, Seq: m.now.seq, Attempt: m.now.attempt + 1,
		Outcome: schemas.DeliveryStarted, Sent: m.budget.with(m.cfg.Clock()), Created: m.created, Stored: m.now.stored,
	})
}

// attempt sends and judges the answer.
func (m *Send) attempt(ctx context.Context) {
	began := m.cfg.Clock()
	chaos.Die(chaos.BeforeSend, m.cfg.Name)
	reference, err := m.send(ctx)
	chaos.Die(chaos.AfterSend, m.cfg.Name)
	m.metrics.sending.WithLabelValues(m.cfg.Name).Observe(m.cfg.Clock().Sub(began).Seconds())
	v := verdictOf(err)
	m.now.retryAfter = v.retryAfter
	m.judge(v.outcome, v.detail)
	m.now.outcome.Reference = cut(reference)
}

// send calls the receiver. A panic is its last word on this notification.
func (m *Send) send(ctx context.Context) (reference string, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = panicError{fmt.Sprintf("%T", p)}
		}
	}()
	if first, ok := m.first(); ok {
		return m.follower.Follow(ctx, m.now.notification, first)
	}
	return m.cfg.Receiver.Send(ctx, m.now.notification)
}

func (m *Send) judge(outcome, detail string) {
	sent := m.budget.sent
	if m.now.counted && outcome != schemas.DeliveryDelivered && outcome != schemas.DeliveryAmbiguous {
		sent = sent[:len(sent)-1] // it did not arrive
	}
	m.now.counted = false
	m.now.outcome = schemas.Delivery{
		Notification: m.now.notification.ID, From: m.now.from, Seq: m.now.seq, Attempt: m.now.attempt, Outcome: outcome, Detail: cut(detail), Sent: sent, Created: m.created, Stored: m.now.stored,
	}
	m.phase = ending
	if outcome == schemas.DeliveryRejected {
		m.phase = rejecting
	}
}

// reject puts the notification into quarantine before that is recorded.
func (m *Send) reject(ctx context.Context) error {
	id := m.now.notification.ID
	if id == "" {
		id = fmt.Sprintf("%s/%d", schemas.StreamNotify, m.now.seq)
	}
	id = schemas.QuarantineID(id, m.now.redriven)
	err := m.cfg.Quarantine.Put(ctx, schemas.Quarantined{
		ID: id, Stage: schemas.StageSend, Redriven: m.now.redriven, Reason: "rejected by " + m.cfg.Name, Detail: m.now.outcome.Detail,
		Stream: schemas.StreamNotify, Seq: m.now.seq, Index: -1,
		Data: m.now.data[:min(len(m.now.data), schemas.QuarantineBytes)], Size: len(m.now.data),
	})
	if err != nil {
		return fmt.Errorf("quarantine notification %s: %w", id, err)
	}
	m.phase = ending
	return nil
}

func (m *Send) append(ctx context.Context, kind string, d schemas.Delivery) error {
	data, err := schemas.Encode(d)
	if err != nil {
		return fence.Incident(m.subject, "encode a delivery: %v", err)
	}
	m.flight = d
	return m.settled(m.writer.Append(ctx, fence.Header{schemas.HeaderType: kind}, data))
}

// settled judges the outcome of an append or of settling one.
func (m *Send) settled(err error) error {
	switch {
	case err == nil:
		m.stored()
		return nil
	case errors.Is(err, fence.ErrUnknown), errors.Is(err, fence.ErrFull):
		return err
	case errors.Is(err, fence.ErrFenced):
		m.metrics.fenced.WithLabelValues(m.cfg.Name, schemas.StreamDeliveries).Inc()
	}
	m.phase, m.now = loading, nil
	return fence.Missing(err, m.subject)
}

// stored goes on after the delivery in flight was stored.
func (m *Send) stored() {
	d := m.flight
	m.last = m.cfg.Clock()
	claimed := m.phase == loading
	if !claimed && m.phase != idle && d.Outcome != schemas.DeliveryStarted {
		m.metrics.ended(m.cfg.Name, d)
	}
	m.at = d
	m.account(d, claimed)
	unfinished := claimed && m.now != nil
	switch d.Outcome {
	case schemas.DeliveryStarted:
		switch {
		case unfinished && m.now.gathered != nil:
			m.phase = gathering
		case unfinished: // the sender before this one began it
			m.judge(schemas.DeliveryAmbiguous, stoppedInside)
		default:
			m.now.attempt = d.Attempt
			m.phase = started
		}
	case schemas.DeliveryRetry, schemas.DeliveryAmbiguous:
		m.phase = waiting
		if unfinished && m.now.gathered != nil {
			m.phase = gathering
		}
		if !claimed {
			m.notBefore = m.last.Add(m.cfg.Backoff.delay(m.now.attempt, m.now.retryAfter, m.cfg.Rand()))
		}
	default:
		if m.now != nil && d.Outcome == schemas.DeliveryDelivered {
			m.metrics.delivered(m.cfg.Name, m.now.notification.Time, m.last)
			m.remember(d.Reference)
		}
		m.phase, m.now, m.next = idle, nil, max(m.next, d.Seq+1)
	}
}

// stoppedInside is what is recorded of an attempt whose sender is gone.
const stoppedInside = "the sender stopped before it recorded the outcome"

// account keeps the budget. An attempt counts from when its start was stored, and
// that of a sender that is gone from now: until the claim it may have gone on.
func (m *Send) account(d schemas.Delivery, claimed bool) {
	if claimed {
		m.claimed = m.writer.Seq()
	}
	if m.budget.limit == 0 {
		return
	}
	m.budget.restore(d.Sent, m.last)
	if d.Outcome == schemas.DeliveryStarted && len(d.Sent) > 0 {
		m.budget.sent[len(d.Sent)-1] = m.last.UnixNano()
	}
	if m.now != nil {
		m.now.counted = d.Outcome == schemas.DeliveryStarted && len(d.Sent) > 0
	}
}
