package notify

import (
	"errors"
	"fmt"

	"github.com/dermai/millrace/fence"
)

// IncidentError is a broken promise of the log, or of this code, such as a
// stream that lost what it had acknowledged. Going on would make it silent, so
// the machine ends.
type IncidentError struct {
	Where string // the subject
	What  string
}

func (e *IncidentError) Error() string { return e.Where + ": " + e.What }

// Incident tells who drives the machine that stepping on is of no use.
func (e *IncidentError) Incident() bool { return true }

func incident(where, format string, args ...any) error {
	return &IncidentError{Where: where, What: fmt.Sprintf(format, args...)}
}

// missing turns a missing head into the incident that it is: a genesis message
// is written before a subject is used.
func missing(err error, subject string) error {
	if errors.Is(err, fence.ErrNoHead) {
		return incident(subject, "the subject has no message, though a genesis was written when it was created: "+
			"the stream lost its data; restore it, or create the receiver under a new name")
	}
	return err
}
