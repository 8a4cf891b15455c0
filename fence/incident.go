package fence

import (
	"errors"
	"fmt"
)

// IncidentError is a broken promise of the log, or of this code: a stream that
// lost what it had acknowledged, a chain that does not join, a decision that
// differs from the logged one. Going on would make it silent, so the machine
// that meets it ends.
type IncidentError struct {
	Where string // stream or subject
	What  string
}

func (e *IncidentError) Error() string { return e.Where + ": " + e.What }

// Incident makes an IncidentError.
func Incident(where, format string, args ...any) error {
	return &IncidentError{Where: where, What: fmt.Sprintf(format, args...)}
}

// IsIncident tells that stepping a machine on is of no use.
func IsIncident(err error) bool {
	var incident *IncidentError
	return errors.As(err, &incident) || errors.Is(err, ErrRewound) || errors.Is(err, ErrRecreated)
}

// Missing turns a missing head into the incident that it is, since a genesis
// message is written before a subject is opened; other errors stay as they are.
func Missing(err error, subject string) error {
	if errors.Is(err, ErrNoHead) {
		return Incident(subject, "the subject has no message, though a genesis was written when it was created: the stream lost its data"+goOn)
	}
	return err
}
