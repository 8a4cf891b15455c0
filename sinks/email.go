package sinks

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/mail"
	"os"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/dermai/millrace/internal/secret"
	"github.com/dermai/millrace/notify"
)

// Ways of encrypting the connection to a mail server.
const (
	tlsStart    = "starttls" // RFC 3207, and nothing is said before it
	tlsImplicit = "implicit" // RFC 8314
	tlsNone     = "none"     // this machine only
)

// emailOptions are the options of the email receiver. Host, port, user and
// password come from SMTP_HOST, SMTP_PORT, SMTP_USER and SMTP_PASSWORD, or the
// files that these names with _FILE name, where they are not given.
type emailOptions struct {
	To   []string `yaml:"to"`   // addresses. None: the receiver is off
	From string   `yaml:"from"` // Default: the user, if that is an address
	Host string   `yaml:"host"` // None: the receiver is off
	Port int      `yaml:"port"` // Default: 587; 465 with tls: implicit

	User         string `yaml:"user"` // None: the server is not signed in to
	UserFile     string `yaml:"user_file"`
	Password     string `yaml:"password"`
	PasswordFile string `yaml:"password_file"`

	// TLS is starttls, implicit or none. Default: implicit on port 465, otherwise
	// starttls. None is for a server on this machine, and is never signed in to.
	TLS    string `yaml:"tls"`
	CAFile string `yaml:"ca_file"` // PEM; who vouches for the server. Default: the system's
	Hello  string `yaml:"hello"`   // the name in EHLO. Default: that of this machine

	// Timeout is 1m by default: servers look at a message before they answer.
	HTTPOptions `yaml:",inline"`
}

// Email sends to one mail server over SMTP (RFC 5321), a connection for each
// notification. Mail programs that know Message-IDs show copies as one message.
type Email struct {
	off      string // why; "": on
	from     string // addresses
	to       []string
	address  string // host:port
	host     string
	hello    string
	encrypt  string
	tls      *tls.Config
	user     secret.Text
	password secret.Text
	timeout  time.Duration
	dialer   *net.Dialer
	now      func() time.Time
	begun    emailAttempt
}

const emailTimeout = time.Minute

func buildEmail(_ string, options notify.Options, env Env) (Sink, error) {
	var o emailOptions
	if err := options.Decode(&o); err != nil {
		return nil, err
	}
	e := &Email{now: env.Now, from: o.From}
	user, err1 := env.ReadSecret("user", secret.New(o.User), o.UserFile, "SMTP_USER")
	password, err2 := env.ReadSecret("password", secret.New(o.Password), o.PasswordFile, "SMTP_PASSWORD")
	host, err3 := env.ReadSecret("host", secret.New(o.Host), "", "SMTP_HOST")
	port, err4 := env.smtpPort(o.Port)
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return nil, err
	}
	e.user, e.password, e.host = user, password, host.Reveal()
	switch {
	case e.host == "":
		e.off = "no mail server: set host, or SMTP_HOST in the environment"
	case len(o.To) == 0:
		e.off = "nobody to send to: set to"
	}
	if e.off != "" {
		return e, nil
	}
	return e, errors.Join(e.secure(o, port), e.addresses(o.To), e.network(o))
}

// smtpPort is the port that was given; 0: none was.
func (env Env) smtpPort(option int) (int, error) {
	if option == 0 {
		text, err := env.ReadSecret("port", secret.Text{}, "", "SMTP_PORT")
		if err != nil || text.IsZero() {
			return 0, err
		}
		if option, err = strconv.Atoi(text.Reveal()); err != nil {
			return 0, errors.New("SMTP_PORT: not a number; use 587 or 465")
		}
	}
	if option < 1 || option > 65535 {
		return 0, errors.New("port: out of range; use 587 or 465")
	}
	return option, nil
}

var smtpHost = regexp.MustCompile(`^[A-Za-z0-9._:-]+$`)

// secure decides how the connection is encrypted.
func (e *Email) secure(o emailOptions, port int) error {
	if !smtpHost.MatchString(e.host) {
		return errors.New("host: not the name of a machine; give it without a port")
	}
	e.encrypt = o.TLS
	if e.encrypt == "" {
		e.encrypt = tlsStart
		if port == 465 {
			e.encrypt = tlsImplicit
		}
	}
	if port == 0 {
		port = 587
		if e.encrypt == tlsImplicit {
			port = 465
		}
	}
	e.address = net.JoinHostPort(e.host, strconv.Itoa(port))
	e.tls = &tls.Config{ServerName: e.host, MinVersion: tls.VersionTLS12}
	switch {
	case !slices.Contains([]string{tlsStart, tlsImplicit, tlsNone}, e.encrypt):
		return errors.New("tls: no such way; use starttls, implicit, or none for a server on this machine")
	case e.encrypt == tlsNone && !isLoopback(e.host):
		return errors.New("tls: none is for a server on this machine only; use starttls or implicit")
	case e.encrypt == tlsNone && !e.user.IsZero():
		return errors.New("user: a password is only sent encrypted; use tls: starttls, or remove the user and SMTP_USER")
	case e.user.IsZero() != e.password.IsZero():
		return errors.New("user and password: one is missing; set both (SMTP_USER and SMTP_PASSWORD), or neither")
	}
	if o.CAFile == "" {
		return nil
	}
	pem, err := os.ReadFile(o.CAFile)
	if err != nil {
		return fmt.Errorf("ca_file: %w", err)
	}
	e.tls.RootCAs = x509.NewCertPool()
	if !e.tls.RootCAs.AppendCertsFromPEM(pem) {
		return errors.New("ca_file: no certificate in it; give a PEM file")
	}
	return nil
}

// smtpAddress is an address that needs no quotes and no SMTPUTF8.
var smtpAddress = regexp.MustCompile("^[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9.-]{1,255}$")

func (e *Email) addresses(to []string) error {
	var faults []error
	take := func(option, s string) string {
		a, err := mail.ParseAddress(s)
		if err != nil || !smtpAddress.MatchString(a.Address) {
			faults = append(faults, errors.New(option+": not an address; use one such as ops@example.com"))
			return ""
		}
		return a.Address
	}
	for i, s := range to {
		if a := take(fmt.Sprintf("to[%d]", i), s); !slices.Contains(e.to, a) {
			e.to = append(e.to, a)
		}
	}
	if e.from == "" {
		if !smtpAddress.MatchString(e.user.Reveal()) {
			return errors.Join(append(faults, errors.New("from: missing; give the address that mail comes from"))...)
		}
		e.from = e.user.Reveal()
	}
	e.from = take("from", e.from)
	return errors.Join(faults...)
}

func (e *Email) network(o emailOptions) error {
	if e.hello = o.Hello; e.hello == "" {
		e.hello, _ = os.Hostname()
		if !smtpHost.MatchString(e.hello) {
			e.hello = "localhost"
		}
	}
	if !smtpHost.MatchString(e.hello) {
		return errors.New("hello: not the name of a machine")
	}
	if o.Timeout < 0 {
		return errors.New("timeout: negative; use 1m or so")
	}
	if e.timeout = o.Timeout; e.timeout == 0 {
		e.timeout = emailTimeout
	}
	var err error
	e.dialer, err = o.dialer(isLoopback(e.host))
	return err
}

// Off implements Sink.
func (e *Email) Off() (reason string, off bool) { return e.off, e.off != "" }
