package sinks

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/dermai/millrace/schemas"
)

// cutMark ends a text that was cut.
const cutMark = " … (cut)"

// printable makes what a reader cannot see visible: control characters, escape
// sequences, marks that change the direction of writing and bytes that are no
// text become escapes. Line ends stay where lines is true.
func printable(s string, lines bool) string {
	var b strings.Builder
	for i, r := range s {
		switch {
		case r == utf8.RuneError:
			if _, n := utf8.DecodeRuneInString(s[i:]); n == 1 {
				b.WriteString(`\x` + strconv.FormatUint(uint64(s[i])|0x100, 16)[1:])
				continue
			}
			b.WriteRune(r)
		case r == '\n' && lines, unicode.IsPrint(r):
			b.WriteRune(r)
		default:
			q := strconv.QuoteRuneToASCII(r)
			b.WriteString(q[1 : len(q)-1])
		}
	}
	return b.String()
}

// visible writes what cannot be seen in JSON without line ends as \uXXXX.
func visible(doc []byte) []byte {
	out := make([]byte, 0, len(doc))
	for _, r := range string(doc) {
		switch high, low := utf16.EncodeRune(r); {
		case unicode.IsPrint(r):
			out = utf8.AppendRune(out, r)
		case r > 0xffff:
			out = fmt.Appendf(out, `\u%04x\u%04x`, high, low)
		default:
			out = fmt.Appendf(out, `\u%04x`, r)
		}
	}
	return out
}

// truncate cuts a text to at most n characters, and says so.
func truncate(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	keep := n - utf8.RuneCountInString(cutMark)
	for i := range s {
		if keep == 0 {
			return s[:i] + cutMark
		}
		keep--
	}
	return s
}

// total counts the alerts of a notification, listed or not.
func total(n schemas.Notification) int { return len(n.Alerts) + n.Truncated }

// digestText says in one sentence what a digest tells of: its counts and the
// rules with the most alerts.
func digestText(d *schemas.Digest) string {
	rules := make([]string, 0, len(d.Rules)+1)
	for _, r := range d.Rules {
		rules = append(rules, r.Rule+" ("+strconv.Itoa(r.Firing)+" firing, "+strconv.Itoa(r.Resolved)+" resolved)")
	}
	if d.OtherRules > 0 {
		rules = append(rules, "and "+strconv.Itoa(d.OtherRules)+" more")
	}
	return printable(strconv.Itoa(d.Notifications)+" notifications in one: "+strings.Join(rules, ", "), false)
}

// headline is what may be said without a word from events: [FIRING:2]
// HighLatency.
func headline(n schemas.Notification) string {
	if n.Digest != nil {
		return "[DIGEST] " + strconv.Itoa(n.Digest.Firing) + " alerts fire, " + strconv.Itoa(n.Digest.Resolved) + " ended"
	}
	state := strings.ToUpper(n.Status)
	if n.Reason == "repeat" {
		state = "STILL " + state
	}
	if count := total(n); count > 1 {
		state += ":" + strconv.Itoa(count)
	}
	subject := strconv.Itoa(total(n)) + " alerts"
	if len(n.Alerts) > 0 && !slices.ContainsFunc(n.Alerts, func(a schemas.Alert) bool { return a.Rule != n.Alerts[0].Rule }) {
		subject = n.Alerts[0].Rule
	}
	return printable("["+state+"] "+subject, false)
}

// title is the headline with the labels that the alerts share: [FIRING:2]
// HighLatency service=api.
func title(n schemas.Notification) string {
	labels := common(n.Alerts)
	if labels == "" || n.Digest != nil { // it lists some of its alerts
		return headline(n)
	}
	return headline(n) + " " + printable(labels, false)
}

// common lists the labels that all alerts share, without their severity.
func common(alerts []schemas.Alert) string {
	if len(alerts) == 0 {
		return ""
	}
	labels := maps.Clone(alerts[0].Labels)
	maps.DeleteFunc(labels, func(name, value string) bool { return name == "severity" || !shared(alerts, name, value) })
	return pairs(labels)
}

// shared tells whether all alerts have a label with this value.
func shared(alerts []schemas.Alert, name, value string) bool {
	return !slices.ContainsFunc(alerts, func(a schemas.Alert) bool { return a.Labels[name] != value })
}

// pairs writes a map as a=x b=y, by name.
func pairs(m map[string]string) string {
	out := make([]string, 0, len(m))
	for _, name := range slices.Sorted(maps.Keys(m)) {
		out = append(out, name+"="+m[name])
	}
	return strings.Join(out, " ")
}

// severities from the worst on.
var severities = []string{"critical", "error", "warning", "info"}

// severity is the worst of the alerts that fire; "" for one that is none of
// ours.
func severity(n schemas.Notification) string {
	worst := len(severities)
	for _, a := range n.Alerts {
		if i := slices.Index(severities, a.Labels["severity"]); a.Status == "firing" && i >= 0 {
			worst = min(worst, i)
		}
	}
	if worst == len(severities) {
		return ""
	}
	return severities[worst]
}

// fact is a line about an alert.
type fact struct{ name, value string }

// facts lists what there is to say of an alert beside its name and summary.
func facts(a schemas.Alert) []fact {
	var out []fact
	if a.Value != nil {
		out = append(out, fact{"value", strconv.FormatFloat(*a.Value, 'g', 6, 64)})
	}
	out = append(out, fact{"samples", strconv.FormatInt(a.N, 10)}, fact{"started", moment(a.Starts)})
	if a.Ends != 0 {
		out = append(out, fact{"ended", moment(a.Ends)})
	}
	if a.Why != "" {
		out = append(out, fact{"because", a.Why})
	}
	if a.Suspect {
		out = append(out, fact{"suspect", "a stream lost messages that might have counted"})
	}
	for _, name := range slices.Sorted(maps.Keys(a.Labels)) {
		out = append(out, fact{name, a.Labels[name]})
	}
	return out
}

// annotations lists an alert's annotations but its summary.
func annotations(a schemas.Alert) []fact {
	var out []fact
	for _, name := range slices.Sorted(maps.Keys(a.Annotations)) {
		if name != "summary" {
			out = append(out, fact{name, a.Annotations[name]})
		}
	}
	return out
}

// reference tells where the event is, and the fields that may be shown.
func reference(e schemas.Evidence) string {
	out := moment(e.Time) + " " + e.Partition.Stream() + "/" + strconv.FormatUint(e.Seq, 10) + "/" + strconv.Itoa(e.Index)
	if e.ID != "" {
		out += " id=" + e.ID
	}
	if e.Trace != "" {
		out += " trace=" + e.Trace
	}
	if len(e.Fields) > 0 {
		out += " " + pairs(e.Fields)
	}
	return out
}

func moment(ns int64) string { return time.Unix(0, ns).UTC().Format("2006-01-02 15:04:05 UTC") }
