// Package notify turns decisions into notifications, and notifications into
// deliveries.
//
// The invariant: every notification that was planned reaches its receiver at
// least once, and more than once only after an attempt whose outcome nobody
// knows, always under the same ID. What is planned is a function of ALERTS and
// of the routes; its only clock is the ticks of the decisions.
//
// A Planner decides, without I/O, what one receiver is told. Plan runs it over
// ALERTS and appends to notify.<receiver>. Send reads that subject and appends
// to deliveries.<receiver>: "attempt n started" before each send and what became
// of it afterwards. Each receiver has a Plan and a Send of its own, so a
// receiver that is down delays no other.
//
//	plan, err := notify.NewPlan(notify.PlanConfig{Receiver: "team", Config: cfg, Tick: time.Second, Log: log, Claims: rand.Text})
//	send := notify.NewSend(notify.SendConfig{Name: "team", Receiver: slack, Log: log, Claims: rand.Text, Quarantine: q})
//	// stages.Drive steps each of them in a goroutine of its own.
//
// # What a receiver is told
//
// Alerts that a route sends to a receiver are gathered in groups. A group is
// told when an alert of it begins to fire ("new", "changed"), when one ends
// ("changed", or "resolved" if none fires any more), and again while it goes on
// (repeat_interval). The first notification of a group waits for group_wait, so
// that alerts with one cause come together; later ones come at least
// group_interval after the one before. What happens and is undone in between is
// not told: an alert that fired and ended before it could be told is never
// mentioned, and one that ended and fires again was firing all along. A rule
// that was edited while its alert fires goes on as the same alert.
//
// Silences and mute times hold back what there is to tell until they are over.
// Silences come into force at a point of ALERTS that a checkpoint records.
//
// A new receiver is told what happens from now on. Routes that were changed
// apply to what happens next; alerts that a receiver was told about move with
// the change, and are told as ended by the receiver's new route if it still has
// one.
package notify
