package receivers

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/mail"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dermai/millrace/notify"
	"github.com/dermai/millrace/schemas"
	"github.com/dermai/millrace/sinks"
	"github.com/dermai/millrace/sinks/sinkstest"
)

// parsedMail is a mail as a mail program sees it.
type parsedMail struct {
	header mail.Header
	body   string            // as it is transferred, with line feeds
	parts  map[string]string // decoded, with line feeds, by type
}

func parseMail(t *testing.T, data []byte) parsedMail {
	t.Helper()
	m, err := mail.ReadMessage(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(m.Body)
	if err != nil {
		t.Fatal(err)
	}
	kind, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/alternative" {
		t.Fatalf("type %s, %v", kind, err)
	}
	out := parsedMail{m.Header, strings.ReplaceAll(string(body), "\r\n", "\n"), map[string]string{}}
	for parts := multipart.NewReader(strings.NewReader(out.body), params["boundary"]); ; {
		part, err := parts.NextPart()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(part) // quoted-printable is decoded
		if err != nil {
			t.Fatal(err)
		}
		out.parts[part.Header.Get("Content-Type")] += string(text)
	}
}

const (
	plainPart = "text/plain; charset=utf-8"
	htmlPart  = "text/html; charset=utf-8"
)

// TestEmail: a server that is not ours takes the mails over STARTTLS, says by
// which number it knows them, and delivers what the outbox shows, whatever the
// events say.
func TestEmail(t *testing.T) {
	server := newPostfix(t)
	dir := t.TempDir()
	email := func(to string) notify.Options {
		return notify.NewOptions(fmt.Appendf(nil, "{to: [%s], from: millrace@localhost, host: 127.0.0.1, port: %d, ca_file: %s}", to, server.port, server.caFile))
	}
	receivers, err := sinks.Open(notify.Config{Receivers: []notify.ReceiverConfig{
		{Name: "team", Type: "email", Options: email("alerts@localhost")},
		{Name: "some", Type: "email", Options: email("alerts@localhost, gone@localhost")},
		{Name: "none", Type: "email", Options: email("gone@localhost")},
		{Name: "shown", Type: "outbox", Options: notify.NewOptions(nil)},
	}}, sinks.Builtin(), sinks.Env{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}

	firing, resolved := sinkstest.Notification(), sinkstest.Resolved()
	firing.Thread, resolved.Thread = firing.ID, firing.ID
	firing.Alerts[0].Annotations["summary"] = strings.Repeat(".", 300) // lines that begin with a dot
	notifications := append([]schemas.Notification{firing, resolved}, sinkstest.Hostile()...)
	for i, n := range notifications {
		number, err := receivers["team"].Send(t.Context(), n)
		if err != nil || number == "" {
			t.Fatalf("%d: %q, %v", i, number, err)
		}
		server.await(t, number)
		if _, err := receivers["shown"].Send(t.Context(), n); err != nil {
			t.Fatalf("%d: %v", i, err)
		}
	}

	arrived := server.mails(t)
	if len(arrived) != len(notifications) {
		t.Fatalf("%d mails arrived, %d were sent", len(arrived), len(notifications))
	}
	tags := tagsOf(parseMail(t, arrived[resolved.ID]))
	for _, n := range notifications {
		got := parseMail(t, arrived[n.ID])
		shown, err := os.ReadFile(filepath.Join(dir, "outbox", "shown", n.ID, "email.eml"))
		if err != nil {
			t.Fatal(err)
		}
		want := parseMail(t, shown)
		if !strings.Contains(got.header.Get("Received"), "with ESMTPS") {
			t.Errorf("%s: received %q, want over TLS", n.ID, got.header["Received"])
		}
		for _, name := range []string{"Return-Path", "X-Original-To", "Delivered-To", "Received"} { // of the server
			delete(got.header, name)
		}
		if diff := cmp.Diff(want.header, got.header); diff != "" {
			t.Errorf("%s: headers (-shown +arrived):\n%s", n.ID, diff)
		}
		if diff := cmp.Diff(want.body, got.body); diff != "" {
			t.Errorf("%s: body (-shown +arrived):\n%.2000s", n.ID, diff)
		}
		if len(got.parts) != 2 || got.parts[plainPart] == "" || got.parts[htmlPart] == "" {
			t.Errorf("%s: parts %.500q, want one of text and one of HTML", n.ID, got.parts)
		}
		subject, err := new(mime.WordDecoder).DecodeHeader(got.header.Get("Subject"))
		if err != nil {
			t.Errorf("%s: subject: %v", n.ID, err)
		}
		for _, text := range []string{subject, got.parts[plainPart], got.parts[htmlPart]} {
			sinkstest.Visible(t, []byte(text))
		}
		for _, tag := range tagsOf(got) {
			if !slices.Contains(tags, tag) {
				t.Errorf("%s: %s is more than text", n.ID, tag)
			}
		}
	}

	for _, c := range []struct {
		n                    schemas.Notification
		first, subject, text string
	}{
		{firing, "", "[FIRING] HighErrorRate service=api", firing.Alerts[0].Annotations["summary"]},
		{resolved, "<" + firing.ID + "@millrace>", "[RESOLVED] HighErrorRate service=api", "api: 7% of requests fail"},
	} {
		got := parseMail(t, arrived[c.n.ID])
		for name, want := range map[string]string{
			"Message-Id": "<" + c.n.ID + "@millrace>", "In-Reply-To": c.first, "References": c.first, "Subject": c.subject,
		} {
			if got.header.Get(name) != want {
				t.Errorf("%s: %s is %q, want %q", c.n.Status, name, got.header.Get(name), want)
			}
		}
		for kind, part := range got.parts {
			if !strings.Contains(part, c.text) {
				t.Errorf("%s: %s does not say %q:\n%s", c.n.Status, kind, c.text, part)
			}
		}
	}

	// Who the server does not know.
	n := sinkstest.Notification()
	n.ID = fmt.Sprintf("%032x", 1<<30)
	reference, err := receivers["some"].Send(t.Context(), n)
	number, found := strings.CutSuffix(reference, " 1 of 2 recipients")
	if err != nil || !found {
		t.Fatalf("%q, %v, want that one of two has it", reference, err)
	}
	server.await(t, number)
	var e *sinks.SendError
	if _, err := receivers["none"].Send(t.Context(), n); !errors.As(err, &e) || !e.Permanent() || e.Status != 550 || e.Code != "5.1.1" {
		t.Errorf("%v, want 550, 5.1.1, for good", err)
	}
}

var tag = regexp.MustCompile(`<[^\s>]*`)

// tagsOf are the names of the tags in the HTML.
func tagsOf(m parsedMail) []string { return tag.FindAllString(m.parts[htmlPart], -1) }

// await waits until a message has been delivered: the next one.
func (p *postfix) await(t *testing.T, number string) {
	t.Helper()
	select {
	case got := <-p.delivered:
		if got != number {
			t.Fatalf("%s was delivered, want %s", got, number)
		}
	case <-time.After(patience):
		t.Fatalf("%s is not delivered", number)
	}
}
