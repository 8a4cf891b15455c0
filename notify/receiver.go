package notify

import (
	"context"
	"time"

	"github.com/dermai/millrace/schemas"
)

// Receiver takes notifications to somewhere else. sinkstest holds what every
// receiver must pass.
//
// Send makes one attempt, within ctx. A nil error means that the other side has
// the notification; reference is what the other side calls it, if anything. The
// same ID on a second call is a second attempt at the same notification: a
// receiver that can tell the other side so does. Send never retries by itself:
// Send the machine does. It is called by one goroutine at a time.
//
// An error says how it wants to be treated, if it has these methods:
//
//	Permanent() bool            another attempt cannot succeed; the notification is quarantined
//	RetryAfter() time.Duration  the other side asked to be left alone for so long; 0: it did not
//	Ambiguous() bool            the notification may have arrived
//
// An error without them is transient and ambiguous. Its text is stored and
// logged: it holds no secret and nothing that the other side could choose.
type Receiver interface {
	Send(ctx context.Context, n schemas.Notification) (reference string, err error)
}

// Follower is a Receiver that can say more about what it has told, such as edit
// its message. Follow is called in place of Send when the first notification of
// n.Thread was delivered; first is the reference that Send returned for it. The
// contract is that of Send.
type Follower interface {
	Receiver
	Follow(ctx context.Context, n schemas.Notification, first string) (reference string, err error)
}

// Quarantine takes notifications that a receiver will never take. A nil error
// means that it is stored; putting the same ID twice stores it once.
type Quarantine interface {
	Put(ctx context.Context, q schemas.Quarantined) error
}

// Clock tells the time. It decides when to try again, never what is planned.
type Clock func() time.Time
