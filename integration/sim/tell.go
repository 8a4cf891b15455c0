package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/notify"
	"github.com/dermai/millrace/schemas"
)

// team is the one receiver of a run.
const team = "team"

// routes has every delay of a route, so short that a run sees them pass.
func routes() notify.Config {
	wait, interval, repeat := time.Second, 2*time.Second, 10*time.Second
	return notify.Config{
		Receivers: []notify.ReceiverConfig{{Name: team, Type: "model"}},
		Route: notify.Route{Receiver: team, GroupBy: notify.LabelNames{"alertname"}, GroupInterval: &interval, RepeatInterval: &repeat,
			Routes: []notify.Route{
				{Matchers: []string{"alertname=~Count|Ratio"}, GroupWait: &wait, GroupBy: notify.LabelNames{}},
				{Matchers: []string{"alertname=Low"}, GroupBy: notify.LabelNames{"..."}},
			}},
	}
}

// teller is a process that plans and sends. Two believe now and then that they
// are the one that shall.
type teller struct {
	w      *world
	plan   *notify.Plan
	send   *notify.Send
	active bool
	pause  int64
	dead   bool // it died within an attempt

	planLog, sendLog mouth
}

// mouth is the log as a machine of a process sees it that may be dead.
type mouth struct {
	t *teller
	reader
}

func (w *world) newTeller() *teller {
	t := &teller{w: w, active: true}
	t.planLog, t.sendLog = mouth{t, w.broker.reader()}, mouth{t, w.broker.reader()}
	var err error
	t.plan, err = notify.NewPlan(notify.PlanConfig{
		Receiver: team, Config: routes(), Tick: deployment.Tick, Log: t.planLog, Claims: w.claim,
		Clock: notify.Clock(w.clock(0)), Active: t.isActive, CheckpointEvery: 12,
	})
	must(err)
	t.send, err = notify.NewSend(notify.SendConfig{
		Name: team, Receiver: t, Log: t.sendLog, Claims: w.claim, Quarantine: quarantine{w}, Clock: notify.Clock(w.clock(0)),
		Rand: w.dice.Float64, Active: t.isActive, PerMinute: w.perMinute,
		Backoff: notify.Backoff{Min: 200 * time.Millisecond, Max: 2 * time.Second},
	})
	must(err)
	return t
}

func (t *teller) isActive() bool { return t.active }

// step does some work, and begins again if it died.
func (t *teller) step() *teller {
	t.w.step(t.plan)
	t.w.step(t.send)
	if t.dead {
		t.w.broker.note("a teller died when the other side had its message")
		t.w.stats.TellerCrashes++
		return t.w.newTeller()
	}
	return t
}

// tell lets the tellers do something, or crash, or sleep.
func (w *world) tell() {
	for i, t := range w.tellers {
		switch {
		case w.dice.chance(60):
			w.stats.TellerCrashes++
			w.broker.note("teller %d dies", i)
			t = w.newTeller()
		case w.dice.chance(80):
			t.pause = w.broker.now + int64(w.dice.Intn(60))*unit
		case w.dice.chance(30):
			t.active = !t.active
		}
		for n := w.dice.Intn(5); n < 4 && w.broker.now >= t.pause; n++ {
			t = t.step()
		}
		w.tellers[i] = t
	}
}

// Append implements fence.Log.
func (m mouth) Append(ctx context.Context, msg fence.Message, prev uint64) (uint64, error) {
	if m.t.dead {
		return 0, fence.ErrUnknown
	}
	return m.reader.Append(ctx, msg, prev)
}

// answer is what the other side says of an attempt.
type answer struct{ permanent, ambiguous bool }

func (a answer) Error() string   { return fmt.Sprintf("%+v", struct{ permanent, ambiguous bool }(a)) }
func (a answer) Permanent() bool { return a.permanent }
func (a answer) Ambiguous() bool { return a.ambiguous }

// Send implements notify.Receiver: the other side does something with a
// notification, or not, and says so, or not.
func (t *teller) Send(_ context.Context, n schemas.Notification) (string, error) {
	w := t.w
	if n.ID[0] == '0' {
		return "", answer{permanent: true}
	}
	fault := w.dice.Intn(12)
	if w.broker.calm {
		fault = -1
	}
	switch fault {
	case 0:
		return "", answer{} // not now
	case 1:
		return "", answer{ambiguous: true} // lost on the way
	case 2:
		w.told[n.ID]++
		return "", answer{ambiguous: true} // the answer is lost
	case 3:
		t.dead = true
	}
	w.told[n.ID]++
	return n.ID, nil
}

// rest lets the tellers finish, without faults.
func (w *world) rest() {
	t := w.newTeller()
	for _, other := range w.tellers {
		other.active = false
	}
	for quiet := 0; quiet < 70 && len(w.errs) == 0; quiet++ { // longer than the minute of the limit
		before := w.broker.written
		for range 12 {
			t.step()
		}
		if w.broker.written > before {
			quiet = 0
		}
		w.broker.now += 10 * unit
	}
}

// decode reads the messages of a type on a subject.
func decode[T any](w *world, subject, kind string, fn func(e fence.Entry, v T)) {
	for _, e := range w.broker.stream(schemas.StreamOf(subject)).entries {
		if e.Subject == subject && e.Header[schemas.HeaderType] == kind {
			var v T
			must(schemas.DecodeInto(e.Data, &v))
			fn(e, v)
		}
	}
}

// planned compares what was planned with what a planner plans that no fault met.
func (w *world) planned() error {
	var at uint64 // the message of ALERTS that the receiver began behind
	entries := w.broker.stream(schemas.StreamNotify).entries
	for _, e := range slices.Backward(entries) {
		if e.Header[schemas.HeaderType] == schemas.TypeClaim {
			_, err := fmt.Sscanf(e.Header[schemas.HeaderCovers], "%d,", &at)
			must(err)
		}
	}
	planner, err := notify.NewPlanner(team, routes(), deployment.Tick)
	must(err)
	planner.Pass(at)
	var want []string
	for _, e := range w.broker.stream(schemas.StreamAlerts).entries[at:] {
		if e.Header[schemas.HeaderType] != schemas.TypeDecision {
			planner.Pass(e.Seq)
			continue
		}
		var d schemas.Decision
		must(schemas.DecodeInto(e.Data, &d))
		for _, n := range planner.Feed(e.Seq, &d) {
			want = append(want, encode(n))
		}
	}
	var got []string
	decode(w, schemas.NotifySubject(team), schemas.TypeNotification, func(_ fence.Entry, n schemas.Notification) {
		got = append(got, encode(n))
	})
	w.stats.Notifications += len(want)
	for i := range max(len(want), len(got)) {
		if i >= len(want) || i >= len(got) || want[i] != got[i] {
			return fmt.Errorf("planned: notification %d of %d and %d differs:\n want %s\nother %s", i, len(want), len(got), pick(want, i), pick(got, i))
		}
	}
	return nil
}

func encode(v any) string {
	data, err := schemas.Encode(v)
	must(err)
	return unpacked(data)
}

func unpacked(data []byte) string {
	plain, err := schemas.Unpack(nil, data, schemas.FrameDecoded)
	must(err)
	return string(plain)
}

func pick(list []string, i int) string {
	if i < len(list) {
		return list[i]
	}
	return "nothing"
}

// delivered compares what the other side was told with what is recorded: each
// notification once, by itself or in a digest, and again only after an attempt
// whose outcome nobody knew.
func (w *world) delivered() error {
	var errs []error
	first := map[uint64]string{}
	var sent []uint64
	decode(w, schemas.NotifySubject(team), schemas.TypeNotification, func(e fence.Entry, n schemas.Notification) {
		first[e.Seq] = n.ID
		sent = append(sent, e.Seq)
	})
	var done []uint64
	ambiguous := map[string]int{}
	known := map[string]bool{}
	decode(w, schemas.DeliveriesSubject(team), schemas.TypeDelivery, func(_ fence.Entry, d schemas.Delivery) {
		known[d.Notification] = true
		switch d.Outcome {
		case schemas.DeliveryAmbiguous:
			ambiguous[d.Notification]++
			return
		case schemas.DeliveryDelivered:
			if w.told[d.Notification] == 0 {
				errs = append(errs, fmt.Errorf("told: %s is recorded as delivered, and never arrived", d.Notification))
			}
		case schemas.DeliveryRejected:
			if w.told[d.Notification] > 0 {
				errs = append(errs, fmt.Errorf("told: %s is recorded as rejected, and arrived", d.Notification))
			}
		default:
			return
		}
		from := d.Seq
		if d.From > 0 {
			w.stats.Digests++
			from = d.From
		}
		for seq := from; seq <= d.Seq; seq++ {
			if first[seq] != "" {
				done = append(done, seq)
			}
		}
	})
	if !slices.Equal(sent, done) {
		errs = append(errs, fmt.Errorf("told: notifications %v of NOTIFY are planned, %v are recorded as told", sent, done))
	}
	for id, n := range w.told {
		if !known[id] || n > 1+ambiguous[id] {
			errs = append(errs, fmt.Errorf("told: %s arrived %d times, with %d ambiguous attempts on record", id, n, ambiguous[id]))
		}
		w.stats.Repeats += n - 1
	}
	return errors.Join(errs...)
}
