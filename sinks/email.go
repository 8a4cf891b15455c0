package sinks

import (
	"bytes"
	"mime"
	"mime/quotedprintable"
	"strconv"
	"strings"
	"time"

	"github.com/dermai/millrace/schemas"
)

// emailMessage writes a notification as a mail (RFC 5322): plain text, so that
// nothing in it can be markup. Its Message-ID is made of the notification's ID:
// copies of one notification are one message to mail programs.
func emailMessage(n schemas.Notification, from, to string) ([]byte, error) {
	var b bytes.Buffer
	for _, h := range []fact{
		{"From", from},
		{"To", to},
		// Encoded words end in lines of their own (RFC 2047, section 2).
		{"Subject", strings.ReplaceAll(mime.QEncoding.Encode("utf-8", truncate(title(n), 200)), "?= =?", "?=\r\n =?")},
		{"Date", time.Unix(0, n.Time).UTC().Format(time.RFC1123Z)},
		{"Message-ID", "<" + n.ID + "@millrace>"},
		{"Auto-Submitted", "auto-generated"}, // RFC 3834: no out-of-office answers
		{"MIME-Version", "1.0"},
		{"Content-Type", "text/plain; charset=utf-8"},
		{"Content-Transfer-Encoding", "quoted-printable"},
	} {
		b.WriteString(h.name + ": " + h.value + "\r\n")
	}
	b.WriteString("\r\n")
	w := quotedprintable.NewWriter(&b)
	if _, err := w.Write([]byte(strings.ReplaceAll(emailText(n), "\n", "\r\n"))); err != nil {
		return nil, err
	}
	err := w.Close()
	return b.Bytes(), err
}

func emailText(n schemas.Notification) string {
	var b strings.Builder
	line := func(s string) { b.WriteString(printable(s, false) + "\n") }
	line(title(n))
	for _, a := range n.Alerts {
		line("")
		line(strings.ToUpper(a.Status) + " " + a.Alert)
		if s := a.Annotations["summary"]; s != "" {
			line("  " + s)
		}
		for _, f := range append(facts(a), annotations(a)...) {
			line("  " + f.name + ": " + f.value)
		}
		for _, e := range a.Evidence {
			line("  evidence: " + reference(e))
		}
	}
	if n.Truncated > 0 {
		line("")
		line("and " + strconv.Itoa(n.Truncated) + " more")
	}
	line("")
	line("Millrace, " + n.Receiver + ", decided at " + moment(n.Time) + ", notification " + n.ID)
	return b.String()
}
