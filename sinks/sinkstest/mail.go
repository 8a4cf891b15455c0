package sinkstest

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

const (
	mailUser     = "millrace@example.com"
	mailPassword = "xyzzySECRET"
)

// MailConfig says how a mail server behaves.
type MailConfig struct {
	Implicit bool     // TLS from the first byte
	STARTTLS bool     // offered; without either, the server is plain
	SignIn   []string // mechanisms that are offered. nil: PLAIN and LOGIN
	// Refuse gives the answer to a RCPT, nil to take it.
	Refuse func(to string) error
	// At is the command whose answer is another one, or "greeting", or "." for the
	// end of a message; Do is that answer, or hang, cut or endless.
	At, Do string
}

// Mail is a mail server that takes what is sent to it, with a certificate for
// 127.0.0.1 by an authority of its own.
type Mail struct {
	Host, User, Password string
	Port                 int
	CAFile               string // who vouches for the server
	OtherCAFile          string // another authority
	OnFault              func() // called as the fault of the configuration occurs

	server   *smtp.Server
	listener net.Listener
	config   MailConfig
	closed   chan struct{}

	mu       sync.Mutex
	messages []MailMessage
	conns    []net.Conn
	signed   int // sign-ins that were tried
	wrote    int // bytes of answers
}

// MailMessage is a message that was taken.
type MailMessage struct {
	From   string
	To     []string
	Data   []byte
	Signed bool // the sender had signed in
	TLS    bool
}

// NewMail starts a server. It ends with the test.
func NewMail(t testing.TB, config MailConfig) *Mail {
	if config.SignIn == nil {
		config.SignIn = []string{sasl.Plain, sasl.Login}
	}
	m := &Mail{Host: "127.0.0.1", User: mailUser, Password: mailPassword, config: config, closed: make(chan struct{}), OnFault: func() {}}
	var certificate tls.Certificate
	certificate, m.CAFile = Authority(t)
	_, m.OtherCAFile = Authority(t)
	secured := &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}
	m.server = smtp.NewServer(smtp.BackendFunc(func(c *smtp.Conn) (smtp.Session, error) {
		return &mailSession{mail: m, conn: c}, nil
	}))
	m.server.Domain, m.server.ErrorLog = "mail.example.com", log.New(io.Discard, "", 0)
	m.server.AllowInsecureAuth = true // that nobody signs in without TLS is what is tested
	if config.STARTTLS {
		m.server.TLSConfig = secured
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m.Port = listener.Addr().(*net.TCPAddr).Port
	if config.Implicit {
		listener = tls.NewListener(listener, secured)
	}
	m.listener = listener
	var serving sync.WaitGroup
	serving.Go(func() { _ = m.server.Serve(&faultyListener{listener, m}) })
	t.Cleanup(func() {
		m.Close()
		serving.Wait()
	})
	return m
}

// Close ends the server and what hangs in it. It cuts the connections by itself:
// smtp.Server.Close writes to sessions that are under way.
func (m *Mail) Close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	select {
	case <-m.closed:
	default:
		close(m.closed)
		_ = m.listener.Close()
		for _, c := range m.conns {
			_ = c.Close()
		}
	}
}

// Messages are those that were taken, in order.
func (m *Mail) Messages() []MailMessage {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]MailMessage(nil), m.messages...)
}

// SignIns counts how often somebody gave a password.
func (m *Mail) SignIns() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.signed
}

// Wrote is how many bytes of answers were taken.
func (m *Mail) Wrote() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.wrote
}

type mailSession struct {
	mail    *Mail
	conn    *smtp.Conn
	signed  bool
	message MailMessage
}

func (s *mailSession) AuthMechanisms() []string { return s.mail.config.SignIn }

func (s *mailSession) Auth(mechanism string) (sasl.Server, error) {
	check := func(user, password string) error {
		s.mail.mu.Lock()
		defer s.mail.mu.Unlock()
		s.mail.signed++
		if s.signed = user == mailUser && password == mailPassword; !s.signed {
			return smtp.ErrAuthFailed
		}
		return nil
	}
	switch mechanism {
	case sasl.Plain:
		return sasl.NewPlainServer(func(_, user, password string) error { return check(user, password) }), nil
	case sasl.Login:
		return &loginServer{check: check}, nil
	}
	return nil, smtp.ErrAuthUnknownMechanism
}

func (s *mailSession) Reset()        { s.message = MailMessage{} }
func (s *mailSession) Logout() error { return nil }

func (s *mailSession) Mail(from string, _ *smtp.MailOptions) error {
	_, secured := s.conn.TLSConnectionState()
	s.message = MailMessage{From: from, Signed: s.signed, TLS: secured || s.mail.config.Implicit}
	return nil
}

func (s *mailSession) Rcpt(to string, _ *smtp.RcptOptions) error {
	if s.mail.config.Refuse != nil {
		if err := s.mail.config.Refuse(to); err != nil {
			return err
		}
	}
	s.message.To = append(s.message.To, to)
	return nil
}

func (s *mailSession) Data(r io.Reader) error {
	data, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	s.message.Data = data
	s.mail.mu.Lock()
	defer s.mail.mu.Unlock()
	s.mail.messages = append(s.mail.messages, s.message)
	return &smtp.SMTPError{Code: 250, EnhancedCode: smtp.EnhancedCode{2, 0, 0}, Message: "Ok: queued as 4XyZ0123"}
}

// loginServer asks for the name, and then for the password.
type loginServer struct {
	check func(user, password string) error
	asked int
	user  string
}

func (l *loginServer) Next(response []byte) (challenge []byte, done bool, err error) {
	l.asked++
	switch {
	case l.asked == 1:
		return []byte("Username:"), false, nil
	case l.asked == 2:
		l.user = string(response)
		return []byte("Password:"), false, nil
	}
	return nil, true, l.check(l.user, string(response))
}

type faultyListener struct {
	net.Listener
	mail *Mail
}

func (l *faultyListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.mail.mu.Lock()
	defer l.mail.mu.Unlock()
	select {
	case <-l.mail.closed:
		_ = c.Close()
	default:
		l.mail.conns = append(l.mail.conns, c)
	}
	return &faultyConn{Conn: c, mail: l.mail, verb: "greeting"}, nil
}

// faultyConn sees a session from the server's side, and puts its own answer to
// one command.
type faultyConn struct {
	net.Conn
	mail *Mail
	verb string // that the next answer is for
	body bool   // the message is being read
}

func (c *faultyConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	line, _, _ := bytes.Cut(p[:n], []byte(" "))
	if verb := strings.ToUpper(strings.TrimSpace(string(line))); n > 0 && !c.body {
		if verb == "HELO" {
			verb = "EHLO"
		}
		c.verb = verb
	}
	return n, err
}

func (c *faultyConn) Write(p []byte) (int, error) {
	fault := c.mail.config
	if fault.At == "" || fault.At != c.verb {
		if bytes.HasPrefix(p, []byte("354")) {
			c.verb, c.body = ".", true
		} else {
			c.body = false
		}
		return c.Conn.Write(p)
	}
	c.mail.OnFault()
	switch fault.Do {
	case "hang":
		<-c.mail.closed
		return 0, net.ErrClosed
	case "cut":
		_ = c.Close()
		return 0, net.ErrClosed
	case "endless":
		line := []byte("250-" + strings.Repeat("x", 1000) + "\r\n")
		for {
			n, err := c.Conn.Write(line)
			c.mail.mu.Lock()
			c.mail.wrote += n
			c.mail.mu.Unlock()
			if err != nil {
				return 0, err
			}
		}
	}
	c.body = false
	if _, err := c.Conn.Write([]byte(fault.Do + "\r\n")); err != nil {
		return 0, err
	}
	if fault.At == "greeting" || fault.At == "DATA" || fault.At == "." {
		c.body, c.verb = true, "" // whatever follows is not looked at
	}
	return len(p), nil
}

// Authority makes a certificate for 127.0.0.1 and localhost, and the PEM file of
// who vouches for it. The key is ECDSA's.
func Authority(t testing.TB) (tls.Certificate, string) {
	t.Helper()
	key, err1 := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Test"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	top, err2 := x509.CreateCertificate(rand.Reader, ca, ca, key.Public(), key)
	leafKey, err3 := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), NotBefore: ca.NotBefore, NotAfter: ca.NotAfter,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"localhost"}, KeyUsage: x509.KeyUsageDigitalSignature,
	}
	signed, err4 := x509.CreateCertificate(rand.Reader, leaf, ca, leafKey.Public(), key)
	path := filepath.Join(t.TempDir(), "ca.pem")
	err5 := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: top}), 0o600)
	if err := errors.Join(err1, err2, err3, err4, err5); err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{signed}, PrivateKey: leafKey}, path
}
