package sinks_test

import (
	"bytes"
	"errors"
	"fmt"
	"net/mail"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
	"github.com/google/go-cmp/cmp"

	"github.com/dermai/millrace/notify"
	"github.com/dermai/millrace/schemas"
	"github.com/dermai/millrace/sinks"
	"github.com/dermai/millrace/sinks/sinkstest"
)

// emailAt makes a receiver that sends to ops and dev.
func emailAt(t *testing.T, m *sinkstest.Mail, tls, more string) sinks.Sink {
	return emailBy(t, m, tls, more, sinks.Env{})
}

func emailBy(t *testing.T, m *sinkstest.Mail, tls, more string, env sinks.Env) sinks.Sink {
	return build(t, "email", fmt.Sprintf("{to: [ops@example.com, dev@example.com], from: Millrace <millrace@example.com>, "+
		"host: %s, port: %d, tls: %s, hello: test.example.com, ca_file: %s%s}", m.Host, m.Port, tls, m.CAFile, more), env)
}

// signedIn are the options with which the server is signed in to.
func signedIn(m *sinkstest.Mail) string { return ", user: " + m.User + ", password: " + m.Password }

func TestEmailConformance(t *testing.T) {
	sinkstest.SMTP(t, func(t *testing.T, m *sinkstest.Mail, timeout time.Duration) notify.Receiver {
		return emailAt(t, m, "implicit", fmt.Sprintf("%s, timeout: %v", signedIn(m), timeout))
	})
}

// TestEmailSameAsOutbox: what is sent is what the outbox shows, but for its
// addresses.
func TestEmailSameAsOutbox(t *testing.T) {
	dir := t.TempDir()
	outbox := build(t, "outbox", "", sinks.Env{Dir: dir})
	m := sinkstest.NewMail(t, sinkstest.MailConfig{})
	email := emailAt(t, m, "none", "")
	for i, n := range append([]schemas.Notification{sinkstest.Notification(), sinkstest.Resolved()}, sinkstest.Hostile()...) {
		reference, err := email.Send(t.Context(), n)
		if err != nil || reference != "4XyZ0123" {
			t.Fatalf("%d: %q, %v", i, reference, err)
		}
		if _, err := outbox.Send(t.Context(), n); err != nil {
			t.Fatalf("%d: %v", i, err)
		}
		got := m.Messages()[i]
		want := strings.NewReplacer("millrace@localhost", "millrace@example.com", "To: alerts@localhost", "To: ops@example.com,\r\n dev@example.com").
			Replace(string(read(t, dir, "outbox", "team", n.ID, "email.eml")))
		if diff := cmp.Diff(want, string(got.Data)); diff != "" {
			t.Errorf("%d: (-outbox +sent):\n%.2000s", i, diff)
		}
		if diff := cmp.Diff([]string{"ops@example.com", "dev@example.com"}, got.To); diff != "" || got.From != "millrace@example.com" {
			t.Errorf("%d: from %s, to (-want +got):\n%s", i, got.From, diff)
		}
	}
}

// TestEmailEncryption: a password is only given over TLS, to who proves to be
// the server.
func TestEmailEncryption(t *testing.T) {
	for _, c := range []struct {
		name   string
		server sinkstest.MailConfig
		tls    string
		other  bool // another authority is trusted
		fault  string
	}{
		{name: "starttls", server: sinkstest.MailConfig{STARTTLS: true}, tls: "starttls"},
		{name: "implicit", server: sinkstest.MailConfig{Implicit: true}, tls: "implicit"},
		{name: "login", server: sinkstest.MailConfig{STARTTLS: true, SignIn: []string{sasl.Login}}, tls: "starttls"},
		{name: "starttls is not offered", tls: "starttls", fault: "offers no STARTTLS"},
		{name: "starttls refused", server: sinkstest.MailConfig{STARTTLS: true, At: "STARTTLS", Do: "454 4.7.0 not now"}, tls: "starttls", fault: "status 454, 4.7.0"},
		{name: "starttls cut", server: sinkstest.MailConfig{STARTTLS: true, At: "STARTTLS", Do: "cut"}, tls: "starttls", fault: "the connection failed"},
		{name: "starttls hangs", server: sinkstest.MailConfig{STARTTLS: true, At: "STARTTLS", Do: "hang"}, tls: "starttls", fault: "no answer in time"},
		{name: "starttls of another", server: sinkstest.MailConfig{STARTTLS: true}, tls: "starttls", other: true, fault: "the certificate is not valid"},
		{name: "implicit of another", server: sinkstest.MailConfig{Implicit: true}, tls: "implicit", other: true, fault: "the certificate is not valid"},
		{name: "implicit at a plain port", tls: "implicit", fault: "the connection failed"},
		{name: "unknown ways to sign in", server: sinkstest.MailConfig{STARTTLS: true, SignIn: []string{"GSSAPI"}}, tls: "starttls", fault: "PLAIN or LOGIN"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := sinkstest.NewMail(t, c.server)
			if c.other {
				m.CAFile = m.OtherCAFile
			}
			timeout := ""
			if c.server.Do == "hang" || c.fault == "the connection failed" {
				timeout = ", timeout: 2s"
			}
			email := emailAt(t, m, c.tls, signedIn(m)+timeout)
			_, err := email.Send(t.Context(), sinkstest.Notification())
			sinkstest.NoSecret(t, m.Password, err, email)
			if c.fault == "" {
				if got := m.Messages(); err != nil || len(got) != 1 || !got[0].Signed || !got[0].TLS {
					t.Fatalf("%+v, %v", got, err)
				}
				return
			}
			var e *sinks.SendError
			if !errors.As(err, &e) || e.Permanent() || e.Ambiguous() || !strings.Contains(e.Error(), c.fault) {
				t.Errorf("%v, want %q, to be tried again", err, c.fault)
			}
			if len(m.Messages()) != 0 || m.SignIns() != 0 {
				t.Errorf("%d messages, %d sign-ins", len(m.Messages()), m.SignIns())
			}
		})
	}
}

// TestEmailRecipients: who is refused does not keep the others from it, and
// nobody gets it twice.
func TestEmailRecipients(t *testing.T) {
	never := &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "no such user"}
	later := &smtp.SMTPError{Code: 452, EnhancedCode: smtp.EnhancedCode{4, 2, 2}, Message: "mailbox full"}
	var refuse map[string]error
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	m := sinkstest.NewMail(t, sinkstest.MailConfig{Refuse: func(to string) error { return refuse[to] }})
	email := emailBy(t, m, "none", "", sinks.Env{Now: func() time.Time { return now }})
	id := 0
	for _, step := range []struct {
		name      string
		refuse    map[string]error
		again     bool // the notification is that of the step before
		wait      time.Duration
		to        []string
		reference string
		fault     string
		permanent bool
	}{
		{name: "one never", refuse: map[string]error{"dev@example.com": never}, to: []string{"ops@example.com"}, reference: "4XyZ0123 1 of 2 recipients"},
		{name: "both never", refuse: map[string]error{"ops@example.com": never, "dev@example.com": never},
			fault: "refused: all 2 recipients: status 550, 5.1.1", permanent: true},
		{name: "one never, one later", refuse: map[string]error{"ops@example.com": later, "dev@example.com": never}, fault: "all 2 recipients"},
		{name: "one later", refuse: map[string]error{"dev@example.com": later}, to: []string{"ops@example.com"},
			fault: "1 of 2 recipients have it, the others are asked again: status 452, 4.2.2"},
		{name: "still", refuse: map[string]error{"dev@example.com": later}, again: true, fault: "1 of 2 recipients have it"},
		{name: "now", again: true, to: []string{"dev@example.com"}, reference: "4XyZ0123"},
		{name: "one later again", refuse: map[string]error{"dev@example.com": later}, to: []string{"ops@example.com"}, fault: "1 of 2"},
		{name: "for too long", refuse: map[string]error{"dev@example.com": later}, again: true, wait: time.Hour, reference: "1 of 2 recipients"},
	} {
		before := len(m.Messages())
		if refuse = step.refuse; !step.again {
			id++
		}
		now = now.Add(step.wait)
		n := sinkstest.Notification()
		n.ID = fmt.Sprintf("%032x", id)
		reference, err := email.Send(t.Context(), n)
		if step.fault == "" && (err != nil || reference != step.reference) {
			t.Errorf("%s: %q, %v, want %q", step.name, reference, err, step.reference)
		}
		var e *sinks.SendError
		if step.fault != "" && (!errors.As(err, &e) || !strings.Contains(e.Error(), step.fault) || e.Permanent() != step.permanent || e.Ambiguous()) {
			t.Errorf("%s: %v, want %q", step.name, err, step.fault)
		}
		var to []string
		for _, got := range m.Messages()[before:] {
			to = append(to, got.To...)
		}
		if diff := cmp.Diff(step.to, to); diff != "" {
			t.Errorf("%s: recipients (-want +got):\n%s", step.name, diff)
		}
	}
}

func TestEmailOptions(t *testing.T) {
	const full = "{to: [ops@example.com], from: m@example.com, host: mail.example.com"
	for _, c := range []struct {
		name, options string
		env           map[string]string
		off, fault    string
	}{
		{name: "nothing", off: "no mail server"},
		{name: "nobody", env: map[string]string{"SMTP_HOST": "mail.example.com"}, off: "nobody to send to"},
		{name: "least", options: full + "}"},
		{name: "all from the environment", options: "{to: [Ops <ops@example.com>]}", env: map[string]string{
			"SMTP_HOST": "smtp.gmail.com", "SMTP_PORT": "587", "SMTP_USER": "me@gmail.com", "SMTP_PASSWORD": "xyzzySECRET"}},
		{name: "no sender", options: "{to: [ops@example.com], host: h}", fault: "from: missing"},
		{name: "port", options: full + ", port: 70000}", fault: "port: out of range"},
		{name: "port of the environment", options: full + "}", env: map[string]string{"SMTP_PORT": "xyzzySECRET"}, fault: "SMTP_PORT: not a number"},
		{name: "host", options: `{to: [ops@example.com], from: m@example.com, host: "a b"}`, fault: "host: not the name"},
		{name: "plain", options: full + ", tls: none}", fault: "tls: none is for a server on this machine only"},
		{name: "password in the open", options: "{to: [ops@example.com], from: m@example.com, host: localhost, tls: none, user: u, password: xyzzySECRET}", fault: "only sent encrypted"},
		{name: "no password", options: full + ", user: u}", fault: "one is missing"},
		{name: "no user", options: full + ", password: xyzzySECRET}", fault: "one is missing"},
		{name: "way", options: full + ", tls: ssl}", fault: "tls: no such way"},
		{name: "recipient", options: `{to: ["ops@example.com\r\nBcc: x@example.com"], from: m@example.com, host: h}`, fault: "to[0]: not an address"},
		{name: "quoted recipient", options: `{to: ['"a b> SIZE=1"@example.com'], from: m@example.com, host: h}`, fault: "to[0]: not an address"},
		{name: "sender", options: "{to: [ops@example.com], from: me, host: h}", fault: "from: not an address"},
		{name: "hello", options: full + `, hello: "a b"}`, fault: "hello: not the name"},
		{name: "no authority", options: full + ", ca_file: /does/not/exist}", fault: "ca_file: open /does/not/exist"},
		{name: "time-out", options: full + ", timeout: -1s}", fault: "timeout: negative"},
		{name: "network", options: full + ", allow_networks: [ten]}", fault: `allow_networks: "ten"`},
		{name: "unknown", options: full + ", pasword: xyzzySECRET}", fault: "there is no option pasword; use one of"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := open("email", c.options, sinks.Env{Getenv: func(name string) string { return c.env[name] }})
			sinkstest.NoSecret(t, "xyzzySECRET", err, s)
			if c.fault != "" {
				if err == nil || !strings.Contains(err.Error(), c.fault) {
					t.Errorf("%v, want %q", err, c.fault)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if reason, off := s.Off(); off != (c.off != "") || !strings.Contains(reason, c.off) {
				t.Errorf("off %v: %s, want %q", off, reason, c.off)
			}
		})
	}
}

// TestEmailAddresses tries to reach what is not public.
func TestEmailAddresses(t *testing.T) {
	for _, host := range []string{"10.0.0.1", "169.254.169.254", "192.168.1.1", "::1%lo", "fd12:3456::1", "0.0.0.0"} {
		s, err := open("email", `{to: [ops@example.com], from: m@example.com, host: "`+host+`"}`, sinks.Env{})
		if err == nil {
			_, err = s.Send(t.Context(), sinkstest.Notification())
		}
		if err == nil || !strings.Contains(err.Error(), "not allowed") && !strings.Contains(err.Error(), "not the name") {
			t.Errorf("%s: %v, want that the address is not allowed", host, err)
		}
	}
}

// TestEmailThread: the messages of a thread refer to its first.
func TestEmailThread(t *testing.T) {
	m := sinkstest.NewMail(t, sinkstest.MailConfig{})
	email := emailAt(t, m, "none", "")
	first, last := sinkstest.Notification(), sinkstest.Resolved()
	first.Thread, last.Thread = first.ID, first.ID
	for _, n := range []schemas.Notification{first, last} {
		if _, err := email.Send(t.Context(), n); err != nil {
			t.Fatal(err)
		}
	}
	for i, want := range []string{"", "<" + first.ID + "@millrace>"} {
		got, err := mail.ReadMessage(bytes.NewReader(m.Messages()[i].Data))
		if err != nil || got.Header.Get("References") != want || got.Header.Get("In-Reply-To") != want {
			t.Errorf("%d: headers %q, %v, want a reference to %q", i, got.Header, err, want)
		}
	}
	last.ID, last.Thread = fmt.Sprintf("%032x", 9), "x>\r\nBcc: all@example.com"
	var e *sinks.SendError
	if _, err := email.Send(t.Context(), last); !errors.As(err, &e) || !e.Permanent() || len(m.Messages()) != 2 {
		t.Errorf("%v: a thread that is none was sent", err)
	}
}
