package sinks

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/wneessen/go-mail/smtp"

	"github.com/dermai/millrace/schemas"
)

const (
	// smtpAnswers bounds what a server may say in one session, its certificates
	// included.
	smtpAnswers = 256 << 10
	// smtpGoodbye is how long the answer to QUIT is waited for.
	smtpGoodbye = time.Second
	// smtpPatience is how long recipients who are refused for now are asked again,
	// when others have the message already.
	smtpPatience = time.Hour
)

// emailAttempt is what became of the notification at hand: who has it. A process
// that starts anew has forgotten this, and sends them a copy.
type emailAttempt struct {
	id    string
	since time.Time
	has   []string
}

// Send implements notify.Receiver. The reference is the server's number of the
// message, and how many of the recipients it took.
//
// It speaks SMTP step by step, because the step at which a session breaks
// decides: until the dot that ends the message nothing has been sent.
func (e *Email) Send(ctx context.Context, n schemas.Notification) (string, error) {
	if reason, off := e.Off(); off {
		return "", &SendError{Reason: reason}
	}
	message, err := emailMessage(n, e.from, e.to...)
	if err != nil {
		return "", &SendError{Reason: "the message cannot be written", Never: true}
	}
	if e.begun.id != n.ID {
		e.begun = emailAttempt{id: n.ID, since: e.now()}
	}
	if len(e.begun.has) == len(e.to) {
		return "", nil // the record of it was lost, not the message
	}
	ctx, cancel := context.WithTimeout(ctx, e.timeout)
	defer cancel()
	c, err := e.connect(ctx)
	if err != nil {
		return "", e.trouble(ctx, err)
	}
	defer c.Close()
	return e.deliver(ctx, c, message)
}

// connect dials, encrypts and signs in. What goes wrong here is not about the
// notification: no error of it is permanent.
func (e *Email) connect(ctx context.Context) (*smtp.Client, error) {
	raw, err := e.dialer.DialContext(ctx, "tcp", e.address)
	if err != nil {
		return nil, err
	}
	deadline, _ := ctx.Deadline() // Send has set one
	err = raw.SetDeadline(deadline)
	// Ends with ctx, which ends when Send returns.
	context.AfterFunc(ctx, func() { _ = raw.Close() })
	var conn net.Conn = &boundedConn{raw, smtpAnswers}
	if e.encrypt == tlsImplicit {
		conn = tls.Client(conn, e.tls)
	}
	var c *smtp.Client
	if err == nil {
		c, err = smtp.NewClient(conn, e.host)
	}
	if err != nil {
		_ = raw.Close()
		return nil, err
	}
	if err := e.signIn(c); err != nil {
		_ = c.Close()
		return nil, err
	}
	return c, nil
}

func (e *Email) signIn(c *smtp.Client) error {
	c.SkipSMTPUTF8(true) // the addresses do not need it
	if err := c.Hello(e.hello); err != nil {
		return err
	}
	if e.encrypt == tlsStart {
		if ok, _ := c.Extension("STARTTLS"); !ok {
			return &SendError{Reason: "the mail server offers no STARTTLS, and nothing is sent without"}
		}
		if err := c.StartTLS(e.tls); err != nil {
			return err
		}
	}
	if e.user.IsZero() {
		return nil
	}
	_, offered := c.Extension("AUTH")
	ways := strings.Fields(strings.ToUpper(offered))
	switch {
	case slices.Contains(ways, "PLAIN"):
		return c.Auth(smtp.PlainAuth("", e.user.Reveal(), e.password.Reveal(), e.host, false))
	case slices.Contains(ways, "LOGIN"):
		return c.Auth(smtp.LoginAuth(e.user.Reveal(), e.password.Reveal(), e.host, false))
	}
	return &SendError{Reason: "the mail server offers no way to sign in that is known: PLAIN or LOGIN"}
}

// deliver hands the message over to who does not have it yet.
func (e *Email) deliver(ctx context.Context, c *smtp.Client, message []byte) (string, error) {
	if err := c.Mail("<" + e.from + ">"); err != nil {
		return "", e.refusal(ctx, err)
	}
	var taken []string
	var never, later int
	var last *SendError
	for _, to := range e.to {
		if slices.Contains(e.begun.has, to) {
			continue
		}
		err := c.Rcpt("<" + to + ">")
		if err == nil {
			taken = append(taken, to)
			continue
		}
		if last = e.refusal(ctx, err); last.Status == 0 {
			return "", last
		}
		if last.Never {
			never++
		} else {
			later++
		}
	}
	if len(taken) == 0 && len(e.begun.has) == 0 {
		// One that says later is reason enough to come again.
		last.Never = later == 0
		last.Reason = fmt.Sprintf("%s: all %d recipients", last.Reason, len(e.to))
		return "", last
	}
	reference := ""
	if len(taken) > 0 {
		w, err := c.Data()
		if err != nil {
			return "", e.refusal(ctx, err)
		}
		if _, err := w.Write(message); err != nil {
			return "", e.trouble(ctx, err)
		}
		// From here on the server may have the message, until it says no.
		if err := w.Close(); err != nil {
			refused := e.refusal(ctx, err)
			refused.Unsure = refused.Status/100 != 4 && refused.Status/100 != 5
			return "", refused
		}
		e.begun.has = append(e.begun.has, taken...)
		if answered, ok := w.(interface{ ServerResponse() string }); ok {
			reference = queued(answered.ServerResponse())
		}
	}
	if c.UpdateDeadline(smtpGoodbye) == nil {
		_ = c.Quit() // whatever it says, the message is delivered
	}
	if len(e.begun.has) == len(e.to) {
		return reference, nil
	}
	count := fmt.Sprintf("%d of %d recipients", len(e.begun.has), len(e.to))
	if later > 0 && e.now().Sub(e.begun.since) < smtpPatience {
		return "", &SendError{Reason: count + " have it, the others are asked again", Status: last.Status, Code: last.Code}
	}
	return strings.TrimSpace(reference + " " + count), nil
}

// trouble is an error that is not about the notification: another attempt may
// succeed, when somebody has mended the configuration, the server or the way to
// it.
func (e *Email) trouble(ctx context.Context, err error) *SendError {
	if known := (*SendError)(nil); errors.As(err, &known) {
		return known
	}
	if answer := (*textproto.Error)(nil); errors.As(err, &answer) {
		return &SendError{Reason: "the mail server refused the session; see the receiver's options", Status: answer.Code, Code: enhanced(answer.Msg)}
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return &SendError{Reason: "no answer in time"}
	}
	return &SendError{Reason: cause(err)}
}

// smtpSession are answers that are about the session, whenever they are given:
// closing down, sign in first, sign-in too weak, wrong, or not encrypted (RFC
// 5321, 4954).
var smtpSession = []int{421, 530, 534, 535, 538}

// refusal is an error that may be about the notification.
func (e *Email) refusal(ctx context.Context, err error) *SendError {
	answer := (*textproto.Error)(nil)
	if !errors.As(err, &answer) || slices.Contains(smtpSession, answer.Code) {
		return e.trouble(ctx, err)
	}
	out := &SendError{Status: answer.Code, Code: enhanced(answer.Msg)}
	switch answer.Code / 100 {
	case 4:
		out.Reason = "asked to wait"
	case 5:
		out.Reason, out.Never = "refused", true
	default:
		out.Reason = "the mail server answered out of turn"
	}
	return out
}

var (
	smtpEnhanced = regexp.MustCompile(`^[245]\.\d{1,3}\.\d{1,3}\b`)
	smtpQueued   = regexp.MustCompile(`(?i)\bqueued as ([0-9A-Za-z]{4,20})\b`)
)

// enhanced takes the code of RFC 3463 from an answer, such as 5.7.1. The rest
// could repeat what was sent.
func enhanced(answer string) string { return smtpEnhanced.FindString(answer) }

// queued takes the number by which the server's own log knows the message.
func queued(answer string) string {
	if m := smtpQueued.FindStringSubmatch(answer); m != nil {
		return m[1]
	}
	return ""
}

// boundedConn reads no more than left bytes.
type boundedConn struct {
	net.Conn
	left int
}

func (c *boundedConn) Read(p []byte) (int, error) {
	if c.left <= 0 {
		return 0, io.ErrUnexpectedEOF
	}
	n, err := c.Conn.Read(p[:min(len(p), c.left)])
	c.left -= n
	return n, err
}
