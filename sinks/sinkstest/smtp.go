package sinkstest

import (
	"bytes"
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dermai/millrace/notify"
)

// SMTP runs what every receiver that speaks SMTP must pass: a fault at each step
// of a session, and what the receiver says of it. build makes the receiver for a
// server, with a time-out for one attempt; it signs in, over implicit TLS, and
// sends to two recipients.
func SMTP(t *testing.T, build func(t *testing.T, m *Mail, timeout time.Duration) notify.Receiver) {
	again := verdict{}
	never := verdict{Permanent: true}
	unsure := verdict{Ambiguous: true}
	const hang, cut = "hang", "cut"
	for _, c := range []struct {
		at, do string // do is an answer, or what the server does instead of one
		want   verdict
	}{
		{"", "", verdict{OK: true}},
		{"greeting", "421 4.3.2 closing", again},
		{"greeting", "554 5.7.1 no service for " + mailPassword, again},
		{"greeting", "HTTP/1.1 400 Bad Request", again},
		{"greeting", hang, again},
		{"greeting", cut, again},
		{"EHLO", "421 4.3.2 closing", again},
		{"EHLO", "550 5.7.1 who are you", again},
		{"EHLO", hang, again},
		{"EHLO", cut, again},
		{"AUTH", "454 4.7.0 not now", again},
		{"AUTH", "535 5.7.8 wrong: " + mailPassword, again},
		{"AUTH", hang, again},
		{"AUTH", cut, again},
		{"MAIL", "451 4.3.0 not now", again},
		{"MAIL", "530 5.7.0 sign in first", again},
		{"MAIL", "552 5.3.4 too large", never},
		{"MAIL", hang, again},
		{"MAIL", cut, again},
		{"RCPT", "450 4.2.0 greylisted", again},
		{"RCPT", "550 5.1.1 " + mailPassword, never},
		{"RCPT", "421 4.3.2 closing", again},
		{"RCPT", hang, again},
		{"RCPT", cut, again},
		{"DATA", "451 4.3.0 not now", again},
		{"DATA", "554 5.7.1 no", never},
		{"DATA", hang, again},
		{"DATA", cut, again},
		{".", "451 4.3.0 not now", again},
		{".", "421 4.3.2 closing", again},
		{".", "554 5.6.0 spam: " + mailPassword, never},
		{".", "354 go on", unsure},
		{".", "250 ", verdict{OK: true}},
		{".", "HTTP/1.1 200 OK", unsure},
		{".", hang, unsure},
		{".", cut, unsure},
		{"QUIT", "554 5.0.0 stay", verdict{OK: true}},
		{"QUIT", hang, verdict{OK: true}},
		{"QUIT", cut, verdict{OK: true}},
	} {
		t.Run(c.at+" "+c.do, func(t *testing.T) {
			m := NewMail(t, MailConfig{Implicit: true, At: c.at, Do: c.do})
			timeout := 10 * time.Second
			if c.do == hang && c.at != "QUIT" {
				timeout = 500 * time.Millisecond
			}
			r := build(t, m, timeout)
			n := Notification()
			for range 2 {
				reference, err := r.Send(t.Context(), n)
				if diff := cmp.Diff(c.want, verdictOf(err)); diff != "" {
					t.Errorf("%v (-want +got):\n%s", err, diff)
				}
				NoSecret(t, mailPassword, reference, err, r)
			}
			// A server that swallowed the message has it, whatever it said.
			arrived := m.Messages()
			want := 0
			switch {
			case c.want.OK:
				want = 1 // the receiver knows at the second call
			case c.at == ".":
				want = 2
			}
			if len(arrived) != want {
				t.Errorf("%d messages for two calls, want %d", len(arrived), want)
			}
			for _, a := range arrived {
				if !bytes.Equal(a.Data, arrived[0].Data) || !bytes.Contains(a.Data, []byte(n.ID)) {
					t.Errorf("message %q, want the same on every attempt, with the id %s", a.Data, n.ID)
				}
			}
		})
	}
	t.Run("endless answer", func(t *testing.T) {
		m := NewMail(t, MailConfig{Implicit: true, At: "EHLO", Do: "endless"})
		_, err := build(t, m, 10*time.Second).Send(t.Context(), Notification())
		if diff := cmp.Diff(again, verdictOf(err)); diff != "" {
			t.Errorf("%v (-want +got):\n%s", err, diff)
		}
		if wrote := m.Wrote(); wrote > 8<<20 {
			t.Errorf("%d bytes of the answer were taken", wrote)
		}
	})
	t.Run("ended context", func(t *testing.T) {
		m := NewMail(t, MailConfig{Implicit: true})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := build(t, m, time.Second).Send(ctx, Notification())
		if diff := cmp.Diff(again, verdictOf(err)); diff != "" {
			t.Errorf("%v (-want +got):\n%s", err, diff)
		}
		if len(m.Messages()) != 0 {
			t.Error("sent all the same")
		}
	})
	t.Run("context that ends on the way", func(t *testing.T) {
		m := NewMail(t, MailConfig{Implicit: true, At: "MAIL", Do: hang})
		ctx, cancel := context.WithCancel(t.Context())
		m.OnFault = cancel
		_, err := build(t, m, time.Minute).Send(ctx, Notification())
		if diff := cmp.Diff(again, verdictOf(err)); diff != "" {
			t.Errorf("%v (-want +got):\n%s", err, diff)
		}
	})
	t.Run("refused connection", func(t *testing.T) {
		m := NewMail(t, MailConfig{Implicit: true})
		r := build(t, m, time.Second)
		m.Close()
		_, err := r.Send(t.Context(), Notification())
		if diff := cmp.Diff(again, verdictOf(err)); diff != "" {
			t.Errorf("%v (-want +got):\n%s", err, diff)
		}
	})
}
