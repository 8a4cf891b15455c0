package sinks

import (
	"fmt"
	"time"
)

// SendError says why a notification was not delivered and what to do about it.
// It holds no URL, and nothing of the answer but its status and a short code.
type SendError struct {
	Reason string        // in our own words
	Status int           // of HTTP; 0: there was no answer
	Code   string        // a word that the other side has for it; "" if it gave none
	Never  bool          // another attempt cannot succeed
	Unsure bool          // the notification may have arrived
	After  time.Duration // the other side asked to be left alone for so long
}

// Error implements error.
func (e *SendError) Error() string {
	switch {
	case e.Status == 0:
		return e.Reason
	case e.Code == "":
		return fmt.Sprintf("%s: status %d", e.Reason, e.Status)
	}
	return fmt.Sprintf("%s: status %d, %s", e.Reason, e.Status, e.Code)
}

// Permanent tells that another attempt cannot succeed.
func (e *SendError) Permanent() bool { return e.Never }

// Ambiguous tells that the notification may have arrived.
func (e *SendError) Ambiguous() bool { return e.Unsure }

// RetryAfter is how long the other side asked to be left alone, 0 if it did
// not.
func (e *SendError) RetryAfter() time.Duration { return e.After }
