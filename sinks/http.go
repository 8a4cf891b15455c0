package sinks

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/dermai/millrace/internal/secret"

	"github.com/dermai/millrace/internal/chaos"
)

const (
	defaultTimeout = 10 * time.Second
	maxAnswer      = 4 << 10 // bytes of an answer that are read
)

// HTTPOptions are those of every receiver that posts to a URL.
type HTTPOptions struct {
	// Timeout bounds one attempt. Default: 10s.
	Timeout time.Duration `yaml:"timeout"`
	// AllowNetworks are private networks that may be posted to, such as
	// 10.0.0.0/8. Default: none; loopback too, but for a URL that names it.
	AllowNetworks []string `yaml:"allow_networks"`
}

// Poster posts to one URL from the configuration. It follows no redirect, uses
// no proxy, and reaches no private address unless told to. Receivers that use it
// pass sinkstest.HTTP.
type Poster struct {
	client  *http.Client
	url     secret.Text
	timeout time.Duration
	now     func() time.Time
	answer  int64                           // bytes of an answer that are read
	after   func(http.Header) time.Duration // how long the other side asks to be left alone
}

// NewPoster checks the URL, which option names in errors. now is the time by which
// dates in answers are read; nil: time.Now.
func NewPoster(option string, u Secret, o HTTPOptions, now func() time.Time) (*Poster, error) {
	fault := func(text string) error { return errors.New(option + ": " + text) }
	parsed, err := url.Parse(u.Reveal())
	if err != nil || parsed.Host == "" {
		return nil, fault("not a URL; copy it from where it was made") // err would show it
	}
	local := isLoopback(parsed.Hostname())
	switch {
	case parsed.Scheme != "https" && !(parsed.Scheme == "http" && local):
		return nil, fault("use https; http is for this machine only")
	case parsed.User != nil:
		return nil, fault("a URL with a user is not supported; remove it")
	}
	dialer, err := o.dialer(local)
	if err != nil {
		return nil, err
	}
	if now == nil {
		now = time.Now
	}
	if o.Timeout < 0 {
		return nil, errors.New("timeout: negative; use 10s or so")
	}
	if o.Timeout == 0 {
		o.Timeout = defaultTimeout
	}
	return &Poster{
		url: u, timeout: o.Timeout, now: now, answer: maxAnswer,
		after: func(h http.Header) time.Duration { return retryAfter(h, now()) },
		client: &http.Client{
			Transport: &http.Transport{
				DialContext:     dialer.DialContext,
				TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12},
				// A connection is never used twice: on a used one the transport would
				// send a request again by itself, behind the back of the record.
				DisableKeepAlives:      true,
				DisableCompression:     true, // no answer grows
				MaxResponseHeaderBytes: 64 << 10,
			},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

// dialer connects to what may be reached: local tells that the name is one of
// this machine.
func (o HTTPOptions) dialer(local bool) (*net.Dialer, error) {
	var allowed []netip.Prefix
	for _, s := range o.AllowNetworks {
		prefix, err := netip.ParsePrefix(s)
		if err != nil {
			return nil, errors.New("allow_networks: " + strconv.Quote(s) + ": use a network such as 10.0.0.0/8")
		}
		allowed = append(allowed, prefix)
	}
	return &net.Dialer{Control: func(_, address string, _ syscall.RawConn) error {
		return guard(address, local, allowed)
	}}, nil
}

func isLoopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}

// errAddress is a connection to where none may go.
var errAddress = errors.New("address is not allowed")

// unreachable are the networks beside private, loopback and link-local ones
// that lead to no public host of their own: shared (RFC 6598), protocol (RFC
// 6890), benchmarks (RFC 2544), reserved (RFC 1112), and the IPv6 networks that
// wrap IPv4 (RFC 6052, 8215, 3056, 4380) or are site-local (RFC 3879).
var unreachable = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("192.0.0.0/24"),
	netip.MustParsePrefix("198.18.0.0/15"), netip.MustParsePrefix("240.0.0.0/4"),
	netip.MustParsePrefix("64:ff9b::/96"), netip.MustParsePrefix("64:ff9b:1::/48"), netip.MustParsePrefix("2002::/16"),
	netip.MustParsePrefix("2001::/32"), netip.MustParsePrefix("fec0::/10"), netip.MustParsePrefix("::/96"),
}

// guard looks at the address that a name became, just before connecting.
func guard(address string, local bool, allowed []netip.Prefix) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return errAddress
	}
	addr := ap.Addr().Unmap().WithZone("")
	if local {
		if addr.IsLoopback() {
			return nil
		}
		return errAddress // the name of this machine leads elsewhere
	}
	for _, prefix := range allowed {
		if prefix.Contains(addr) {
			return nil
		}
	}
	for _, prefix := range unreachable {
		if prefix.Contains(addr) {
			return errAddress
		}
	}
	if !addr.IsGlobalUnicast() || addr.IsPrivate() {
		return errAddress
	}
	return nil
}

// Answer is one that says yes: a 2xx.
type Answer struct {
	Header http.Header
	Body   []byte // the first 4 KiB
}

// Post makes one attempt: a nil error is a 2xx. id goes along as the idempotency key, and header, if
// there is one, beside what every request has. Errors are *SendError.
func (p *Poster) Post(ctx context.Context, id, contentType string, body []byte, header http.Header) (Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	var wrote atomic.Bool
	// Called before anything is handed to the network, so that what is sure is.
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteHeaders: func() { wrote.Store(true) }})
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url.Reveal(), bytes.NewReader(body))
	if err != nil {
		return Answer{}, &SendError{Reason: "the request cannot be made", Never: true} // err would show the URL
	}
	maps.Copy(req.Header, header)
	req.Header.Set("Content-Type", contentType)
	req.Header.Set("User-Agent", "millrace")
	req.Header.Set("Idempotency-Key", id)
	resp, err := p.client.Do(req)
	if err != nil {
		return Answer{}, &SendError{Reason: cause(err), Unsure: wrote.Load()}
	}
	defer resp.Body.Close()
	text, readErr := io.ReadAll(io.LimitReader(resp.Body, p.answer))
	e := &SendError{Status: resp.StatusCode, Code: code(text)}
	switch status := resp.StatusCode; {
	case status >= 200 && status < 300, status < 500 && chaos.Bug("4xx swallowed"):
		if readErr != nil {
			return Answer{}, &SendError{Reason: "the answer broke off", Status: status, Unsure: true}
		}
		return Answer{resp.Header, text}, nil
	case status == http.StatusTooManyRequests || status == http.StatusRequestTimeout || status == http.StatusTooEarly:
		e.Reason, e.After = "asked to wait", p.after(resp.Header)
	case status >= 500:
		e.Reason, e.After = "the receiver is in trouble", p.after(resp.Header)
	case status >= 400:
		e.Reason, e.Never = "refused", true
	default:
		e.Reason, e.Never = "answered with a redirect, which is not followed", true
	}
	return Answer{}, e
}

// retryAfter reads seconds or a date; 0 for what is neither or in the past.
func retryAfter(h http.Header, now time.Time) time.Duration {
	s := strings.TrimSpace(h.Get("Retry-After"))
	if n, err := strconv.ParseUint(s, 10, 31); err == nil {
		return time.Duration(n) * time.Second
	}
	if at, err := http.ParseTime(s); err == nil {
		return max(0, at.Sub(now))
	}
	return 0
}

// code takes the word for an error from an answer that is nothing else, such as
// invalid_payload. Anything else could repeat what was sent.
func code(body []byte) string {
	s := strings.TrimSpace(string(body))
	if len(s) == 0 || len(s) > 50 || strings.Trim(s, "abcdefghijklmnopqrstuvwxyz_") != "" {
		return ""
	}
	return s
}

// cause says in our own words why there was no answer: the error itself names
// the URL.
func cause(err error) string {
	var dns *net.DNSError
	var cert *tls.CertificateVerificationError
	var timeout net.Error
	switch {
	case errors.Is(err, errAddress):
		return "the name leads to an address that is not allowed; see allow_networks"
	case errors.Is(err, context.Canceled):
		return "stopped before there was an answer"
	case errors.As(err, &timeout) && timeout.Timeout():
		return "no answer in time"
	case errors.As(err, &dns):
		return "the name cannot be resolved"
	case errors.As(err, &cert):
		return "the certificate is not valid"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "the connection was refused"
	}
	return "the connection failed"
}
