package pipeline

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/dermai/millrace/internal/secret"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
)

// Config says how to reach the broker.
type Config struct {
	// URL of the servers, comma separated. "": nats://127.0.0.1:4222.
	URL string
	// InProcess connects to a server in this process; URL is not used then.
	InProcess InProcess
	// Name of the connection, as the server's monitoring shows it. "": millrace.
	Name string
	// Creds is a file with a user's JWT and seed. "": none.
	Creds string
	// CA is a PEM file with the authorities that the server's certificate is
	// checked against. "": the system's.
	CA string
	// Certificate and Key are PEM files that show the server who we are, where it
	// asks for that. "": none; both or neither.
	Certificate, Key string
	// Inbox is the prefix of the subjects on which answers arrive. Give
	// credentials that may not read a prefix of their own. "": _INBOX.
	Inbox string
	// Timeout bounds one request to the broker, also where ctx ends later. 0: 5 s.
	Timeout time.Duration
	// ReadAhead bounds what a Log keeps in memory of one stream, in bytes, at
	// least 4 MiB. 0: 4 MiB.
	ReadAhead int
	// Later lets Connect return although no server answers yet: the connection is
	// made in the background, as one that broke is restored.
	Later bool
	// Logger gets changes of the connection. The zero value says nothing.
	Logger zerolog.Logger
	// Registerer gets the metrics. nil: they are kept, and shown nowhere.
	Registerer prometheus.Registerer
}

// InProcess is a server in this process, such as the embedded one.
type InProcess interface {
	// InProcessConn opens a connection to the server.
	InProcessConn() (net.Conn, error)
}

// minReadAhead lets a reader ask for two of the largest messages at once.
const minReadAhead = 4 << 20

// Validate joins all faults of the configuration. No error holds a secret.
func (c Config) Validate() error {
	var faults []error
	for _, s := range c.servers() {
		// The error of Parse quotes its input, and with it a password.
		if u, err := url.Parse(s); err != nil || u.Host == "" {
			faults = append(faults, errors.New("broker URL: want nats://host:port, with special characters of a password %-encoded"))
		}
	}
	for _, f := range []struct{ name, path string }{{"credentials", c.Creds}, {"authorities", c.CA}, {"certificate", c.Certificate}, {"key", c.Key}} {
		if f.path == "" {
			continue
		}
		if _, err := os.Stat(f.path); err != nil {
			faults = append(faults, fmt.Errorf("file of %s: %w", f.name, err))
		}
	}
	if (c.Certificate == "") != (c.Key == "") {
		faults = append(faults, errors.New("certificate and key: one is given without the other"))
	}
	if strings.ContainsAny(c.Inbox, " \t*>") {
		faults = append(faults, fmt.Errorf("inbox prefix %q: a subject without wildcards, such as _INBOX_publisher", c.Inbox))
	}
	if c.ReadAhead != 0 && c.ReadAhead < minReadAhead {
		faults = append(faults, fmt.Errorf("read ahead of %d bytes: at least %d, so that two of the largest messages fit", c.ReadAhead, minReadAhead))
	}
	if c.Timeout < 0 {
		faults = append(faults, fmt.Errorf("timeout %s: below zero", c.Timeout))
	}
	return errors.Join(faults...)
}

// Conn is a connection to the broker, restored for ever when it breaks. Its
// methods are safe for concurrent use.
type Conn struct {
	nats      *nats.Conn
	js        jetstream.JetStream
	timeout   time.Duration
	readAhead int
	doubt     time.Duration
	log       zerolog.Logger
	metrics   *metrics

	mu     sync.Mutex
	epoch  context.Context // see unbroken
	end    context.CancelFunc
	where  string              // the servers, without passwords
	told   string              // of which failed attempt to connect the log was told; "": of none yet
	denied map[string]struct{} // subjects that the server refused to take

	reaching sync.Mutex
	reach    map[string]*reach // by stream
}

// A server that is gone without a word, as with its machine's power, is known to be so
// by the third ping that it does not answer, 6 s after its last: before other servers
// have elected what it led, in most cases. The library's own interval is two minutes.
const (
	pingInterval = 2 * time.Second
	pingsOut     = 2 // unanswered
)

// Connect connects to the broker and checks that it stores streams. Later
// breaks are mended in the background; the first connection must succeed, unless
// c.Later is set.
func Connect(ctx context.Context, c Config) (*Conn, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	conn := &Conn{
		timeout:   cmp.Or(c.Timeout, 5*time.Second),
		readAhead: cmp.Or(c.ReadAhead, minReadAhead),
		log:       c.Logger,
		denied:    map[string]struct{}{},
		doubt:     doubtLimit,
		reach:     map[string]*reach{},
	}
	conn.epoch, conn.end = context.WithCancel(context.Background())
	opts := []nats.Option{
		nats.Name(cmp.Or(c.Name, "millrace")),
		nats.Timeout(conn.timeout),
		nats.MaxReconnects(-1),
		nats.PingInterval(pingInterval),
		nats.MaxPingsOutstanding(pingsOut),
		nats.ReconnectWait(200 * time.Millisecond),
		nats.ReconnectJitter(100*time.Millisecond, time.Second),
		// Nothing is kept to be sent later: an append that nobody waits for any
		// more would be one more outcome to settle.
		nats.ReconnectBufSize(-1),
		// Whose password is changed at the server first is refused until it is changed
		// here, or back: that is no reason to end the connection for ever.
		nats.IgnoreAuthErrorAbort(),
		nats.ReconnectHandler(conn.restored),
		nats.DisconnectErrHandler(conn.disconnected),
		nats.ErrorHandler(conn.asyncError),
		nats.ReconnectErrHandler(conn.failed),
	}
	if c.InProcess != nil {
		opts = append(opts, nats.InProcessServer(c.InProcess))
	}
	if c.Later {
		opts = append(opts, nats.RetryOnFailedConnect(true), nats.ConnectHandler(conn.restored))
	}
	if c.Creds != "" {
		opts = append(opts, nats.UserCredentials(c.Creds))
	}
	if c.CA != "" {
		opts = append(opts, nats.RootCAs(c.CA))
	}
	if c.Certificate != "" {
		opts = append(opts, nats.ClientCert(c.Certificate, c.Key))
	}
	if c.Inbox != "" {
		opts = append(opts, nats.CustomInboxPrefix(c.Inbox))
	}
	servers := strings.Join(c.servers(), ",")
	where := secret.NewURL(servers).String()
	if c.InProcess != nil {
		where = "the embedded server"
	}
	conn.where = where
	var err error
	if conn.metrics, err = newMetrics(c.Registerer); err != nil {
		return nil, fmt.Errorf("connect to %s: %w", where, err)
	}
	nc, err := dial(ctx, servers, opts)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %s", where, explain(err))
	}
	conn.nats = nc
	if conn.js, err = jetstream.New(nc, jetstream.WithDefaultTimeout(conn.timeout)); err != nil {
		nc.Close()
		return nil, fmt.Errorf("connect to %s: %w", where, err)
	}
	return conn, nil
}

// dial connects, and gives up when ctx ends.
func dial(ctx context.Context, url string, opts []nats.Option) (*nats.Conn, error) {
	type result struct {
		nc  *nats.Conn
		err error
	}
	done := make(chan result, 1)
	go func() {
		nc, err := nats.Connect(url, opts...)
		done <- result{nc, err}
	}()
	select {
	case r := <-done:
		return r.nc, r.err
	case <-ctx.Done():
		go func() { // the dialer ends by its own timeout
			if r := <-done; r.nc != nil {
				r.nc.Close()
			}
		}()
		return nil, ctx.Err()
	}
}

// explain adds the mend to an error of the first connection. The library's
// errors may quote the URL, so only known ones are passed on.
func explain(err error) string {
	switch {
	case errors.Is(err, nats.ErrAuthorization), errors.Is(err, nats.ErrAuthExpired):
		return "the server refused the user or password; check the credentials"
	case errors.Is(err, nats.ErrNoServers), errors.Is(err, syscall.ECONNREFUSED):
		return "no server answered; start one, or set NATS_URL to where it is"
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded), errors.Is(err, nats.ErrTimeout):
		return "no answer in time"
	case errors.Is(err, nats.ErrSecureConnRequired), errors.Is(err, nats.ErrSecureConnWanted):
		return err.Error() + "; use a tls:// URL on a server with TLS, and only there"
	}
	return stripUserinfo(err.Error())
}

// Close ends the connection. Logs and publishers are closed before.
func (c *Conn) Close() { c.nats.Close() }

// JetStream is the client of the connection, for the packages below this one.
func (c *Conn) JetStream() jetstream.JetStream { return c.js }

// Connected tells that the connection is up now.
func (c *Conn) Connected() bool { return c.nats.IsConnected() }

// unbroken returns a context that ends when the connection is next lost or
// restored: no answer to an earlier request arrives after that.
func (c *Conn) unbroken() context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.epoch
}

// within returns ctx, ended early when the connection breaks.
func (c *Conn) within(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	stop := context.AfterFunc(c.unbroken(), cancel)
	return ctx, func() { stop(); cancel() }
}

func (c *Conn) renew() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.end()
	c.epoch, c.end = context.WithCancel(context.Background())
	c.told = "connected before" // only a refusal is told from now on: the loss itself is
}

func (c *Conn) restored(nc *nats.Conn) {
	c.renew()
	c.log.Info().Str("server", nc.ConnectedServerName()).Msg("connected to the broker")
}

func (c *Conn) disconnected(_ *nats.Conn, err error) {
	c.renew()
	if err == nil { // Close
		return
	}
	c.metrics.disconnects.Inc()
	c.log.Warn().Str("error", stripUserinfo(err.Error())).Msg("lost the connection to the broker")
}

// failed is called for each attempt to connect that failed. It tells of the first one, if
// there was no connection before, and of a refused user, once.
func (c *Conn) failed(_ *nats.Conn, err error) {
	why := explain(err)
	c.mu.Lock()
	tell := c.told == "" || errors.Is(err, nats.ErrAuthorization) && c.told != why
	if tell {
		c.told = why
	}
	c.mu.Unlock()
	if tell {
		c.log.Warn().Str("broker", c.where).Str("error", why).Msg("not connected to the broker; it is tried on")
	}
}

// maxDenied bounds the subjects remembered as denied.
const maxDenied = 1000

func (c *Conn) asyncError(_ *nats.Conn, _ *nats.Subscription, err error) {
	if errors.Is(err, nats.ErrAuthorization) {
		c.failed(nil, err)
		return
	}
	c.log.Warn().Str("error", stripUserinfo(err.Error())).Msg("the broker reports an error")
	_, rest, ok := strings.Cut(strings.ToLower(err.Error()), "permissions violation for publish to \"")
	if !errors.Is(err, nats.ErrPermissionViolation) || !ok {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if subject, _, ok := strings.Cut(rest, `"`); ok && len(c.denied) < maxDenied {
		c.denied[subject] = struct{}{}
	}
}

// isDenied tells that the server refused a message to the subject for want of
// permission, which it says on the side and not as an answer.
func (c *Conn) isDenied(subject string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, ok := c.denied[strings.ToLower(subject)]
	return ok
}

// servers lists the URLs of a configuration, with their scheme.
func (c Config) servers() []string {
	var out []string
	for s := range strings.SplitSeq(cmp.Or(c.URL, nats.DefaultURL), ",") {
		if s = strings.TrimSpace(s); !strings.Contains(s, "://") {
			s = "nats://" + s
		}
		out = append(out, s)
	}
	return out
}

// stripUserinfo removes what stands between :// and @ in a sentence.
func stripUserinfo(s string) string {
	var b strings.Builder
	for {
		before, rest, ok := strings.Cut(s, "://")
		b.WriteString(before)
		if !ok {
			return b.String()
		}
		b.WriteString("://")
		word := rest
		if i := strings.IndexAny(rest, " \t\n\","); i >= 0 {
			word = rest[:i]
		}
		s = rest[strings.LastIndex(word, "@")+1:]
	}
}
