package sinks

import (
	"bytes"
	"errors"
	"mime"
	"mime/quotedprintable"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/dermai/millrace/schemas"
)

// Limits of a mail: programs clip a message beyond about 100 KiB, Gmail at 102.
const (
	emailValue = 1000     // characters of one value
	emailAlert = 8 << 10  // bytes of an alert, as text
	emailRoom  = 24 << 10 // bytes of all alerts, as text
	emailTitle = 200      // characters of a subject
)

var emailID = regexp.MustCompile(`^[\w-]+$`) // what may stand in a header

// emailMessage writes a notification as a mail (RFC 5322): the same as plain
// text and as HTML. Its Message-ID is made of the notification's ID: copies of
// one notification are one message to mail programs, and the messages of a
// thread refer to its first.
func emailMessage(n schemas.Notification, from string, to ...string) ([]byte, error) {
	if !emailID.MatchString(n.ID) || n.Thread != "" && !emailID.MatchString(n.Thread) {
		return nil, errors.New("the notification's id cannot be in a header")
	}
	v := viewEmail(n)
	html, err := emailHTML(v)
	if err != nil {
		return nil, err
	}
	// Quoted-printable has no "=_", so no text can end a part.
	boundary := "=_" + n.ID
	headers := []fact{
		{"From", from},
		{"To", strings.Join(to, ",\r\n ")},
		// Encoded words end in lines of their own (RFC 2047, section 2).
		{"Subject", strings.ReplaceAll(mime.QEncoding.Encode("utf-8", truncate(v.Title, emailTitle)), "?= =?", "?=\r\n =?")},
		{"Date", time.Unix(0, n.Time).UTC().Format(time.RFC1123Z)},
		{"Message-ID", "<" + n.ID + "@millrace>"},
	}
	if n.Thread != "" && n.Thread != n.ID {
		first := "<" + n.Thread + "@millrace>"
		headers = append(headers, fact{"In-Reply-To", first}, fact{"References", first})
	}
	headers = append(headers,
		fact{"Auto-Submitted", "auto-generated"}, // RFC 3834: no out-of-office answers
		fact{"X-Millrace-Id", n.ID},
		fact{"MIME-Version", "1.0"},
		fact{"Content-Type", "multipart/alternative;\r\n boundary=\"" + boundary + `"`},
	)
	var b bytes.Buffer
	for _, h := range headers {
		b.WriteString(h.name + ": " + h.value + "\r\n")
	}
	b.WriteString("\r\n")
	for _, part := range []fact{{"text/plain", v.text()}, {"text/html", html}} {
		b.WriteString("--" + boundary + "\r\nContent-Type: " + part.name + "; charset=utf-8\r\n" +
			"Content-Transfer-Encoding: quoted-printable\r\n\r\n")
		w := quotedprintable.NewWriter(&b)
		if _, err := w.Write([]byte(strings.ReplaceAll(part.value, "\n", "\r\n"))); err != nil {
			return nil, err
		}
		if err := w.Close(); err != nil {
			return nil, err
		}
		b.WriteString("\r\n")
	}
	b.WriteString("--" + boundary + "--\r\n")
	return b.Bytes(), nil
}

// emailView is what a mail says, in either part. Its texts are printable lines.
type emailView struct {
	Title, Status, Severity string
	Digest                  string // what a digest tells of
	Alerts                  []emailAlertView
	More                    int // alerts that are only counted
	Footer                  string
}

type emailAlertView struct {
	Status, Name, Summary string
	Facts                 []emailFact
	Evidence              []string
	Left                  int // facts and evidence that had no room
}

type emailFact struct{ Name, Value string }

func viewEmail(n schemas.Notification) emailView {
	v := emailView{
		Title: truncate(title(n), emailValue), Status: strings.ToUpper(n.Status), Severity: severity(n),
		Footer: emailLine("Millrace, " + n.Receiver + ", decided at " + moment(n.Time) + ", notification " + n.ID),
	}
	if n.Digest != nil {
		v.Digest = emailLine(digestText(n.Digest))
	}
	room := emailRoom
	for _, a := range n.Alerts {
		view, size := viewEmailAlert(a)
		if room -= size; room < 0 && len(v.Alerts) > 0 {
			break
		}
		v.Alerts = append(v.Alerts, view)
	}
	v.More = total(n) - len(v.Alerts)
	return v
}

// viewEmailAlert also returns the size of the text.
func viewEmailAlert(a schemas.Alert) (emailAlertView, int) {
	v := emailAlertView{Status: strings.ToUpper(a.Status), Name: emailLine(a.Alert), Summary: emailLine(a.Annotations["summary"])}
	size := len(v.Name) + len(v.Summary)
	fits := func(texts ...string) bool {
		for _, s := range texts {
			size += len(s)
		}
		if size > emailAlert {
			v.Left++
		}
		return size <= emailAlert
	}
	for _, f := range append(facts(a), annotations(a)...) {
		if line := (emailFact{emailLine(f.name), emailLine(f.value)}); fits(line.Name, line.Value) {
			v.Facts = append(v.Facts, line)
		}
	}
	for _, e := range a.Evidence {
		if line := emailLine(reference(e)); fits(line) {
			v.Evidence = append(v.Evidence, line)
		}
	}
	return v, size
}

func emailLine(s string) string {
	return truncate(printable(truncate(s, emailValue), false), emailValue)
}

func (v emailView) text() string {
	var b strings.Builder
	line := func(s string) { b.WriteString(s + "\n") }
	line(v.Title)
	if v.Digest != "" {
		line(v.Digest)
	}
	for _, a := range v.Alerts {
		line("")
		line(a.Status + " " + a.Name)
		if a.Summary != "" {
			line("  " + a.Summary)
		}
		for _, f := range a.Facts {
			line("  " + f.Name + ": " + f.Value)
		}
		for _, e := range a.Evidence {
			line("  evidence: " + e)
		}
		if a.Left > 0 {
			line("  and " + strconv.Itoa(a.Left) + " lines more")
		}
	}
	if v.More > 0 {
		line("")
		line("and " + strconv.Itoa(v.More) + " more")
	}
	line("")
	line(v.Footer)
	return b.String()
}
