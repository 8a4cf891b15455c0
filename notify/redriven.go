package notify

import (
	"strings"

	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/schemas"
)

// isFor tells whether a message of NOTIFY is a notification to a receiver: one
// that its planner wrote, or one that was taken out of quarantine.
func isFor(e fence.Entry, receiver string) bool {
	return e.Header[schemas.HeaderType] == schemas.TypeNotification &&
		(e.Subject == schemas.NotifySubject(receiver) || strings.HasPrefix(e.Subject, schemas.RedriveSubject(receiver, "")))
}
