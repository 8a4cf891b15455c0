package schemas

import "strconv"

// HeaderRedriven, on a message that was taken out of quarantine, tells how often.
const HeaderRedriven = "Millrace-Redriven"

// MaxRedriven is how often the same thing is taken out of quarantine before
// somebody has to insist.
const MaxRedriven = 3

// RedrivenTimes reads HeaderRedriven; 0 if there is none.
func RedrivenTimes(header map[string]string) int {
	n, err := strconv.Atoi(header[HeaderRedriven])
	if err != nil || n < 0 {
		return 0
	}
	return n
}

// QuarantineID is the id of an item that was taken out of quarantine so often
// before: another item than those.
func QuarantineID(id string, redriven int) string {
	if redriven == 0 {
		return id
	}
	return id + "/r" + strconv.Itoa(redriven)
}

// RedriveSubject is where a notification goes that was taken out of quarantine.
func RedriveSubject(receiver, key string) string { return "redrive." + receiver + "." + key }

// ConsumerRedrive is where an event goes that was taken out of quarantine for a
// consumer alone, and AlertRedrive where a change of an alert goes. The key is a
// token.
func ConsumerRedrive(consumer, key string) string { return "redrive.consume." + consumer + "." + key }

// AlertRedrive is ConsumerRedrive for changes of alerts.
func AlertRedrive(consumer, key string) string { return "redrive.alerts." + consumer + "." + key }

// RedriveMark is where it is recorded that an item of a stage was taken out of
// quarantine.
func RedriveMark(stage, key string) string { return "redrive.done." + stage + "." + key }

// RedriveMark values: what is recorded.
const (
	RedriveBegun = "redrive-begun" // before the append
	RedriveDone  = "redrive-done"  // after it
)
