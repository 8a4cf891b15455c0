package s3

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/dermai/millrace/archive"
	"github.com/dermai/millrace/internal/secret"
)

// Config says where the buckets are and how they are reached.
type Config struct {
	// Endpoint is https://host[:port], or http:// on loopback only.
	Endpoint string
	Bucket   string
	// AuditBucket holds the audit trail. "": Bucket does.
	AuditBucket string
	// Region of the buckets. "": the endpoint's, or asked for.
	Region string
	// Prefix stands before every key: names joined by "/". "": none.
	Prefix string
	// AccessKey and SecretKey are given both or not at all. Without them they are
	// looked for in AWS_ACCESS_KEY_ID and its like, in the files of the AWS tools,
	// and asked for from the machine's IAM role.
	AccessKey string
	SecretKey secret.Text
	// CA is a PEM file with the authorities that may vouch for the endpoint. "":
	// those of the system.
	CA string
	// Lock keeps what is of the audit trail from being replaced or deleted by anybody,
	// as the store enforces it (Object Lock), until LockUntil. "": not; "GOVERNANCE":
	// but for those whom the store lets bypass it; "COMPLIANCE": for nobody, and
	// nothing shortens it. The bucket of the audit trail must have been made with it.
	Lock string
	// LockUntil is when the lock ends of what arrived up to a time.
	LockUntil func(arrived time.Time) time.Time
	// ColdClass is the storage class that segments of telemetry are moved to when they
	// are ColdDays old, by the lifecycle rules of their bucket. "": none.
	ColdClass string
	ColdDays  int
	// Stall is for how long a request may make no progress. 0: 1 min.
	Stall time.Duration
	// Wrap, if set, is put around the transport. For tests that make it fail.
	Wrap func(http.RoundTripper) http.RoundTripper
}

// Validate joins all that is wrong with the configuration.
func (c *Config) Validate() error {
	_, errs := c.endpoint()
	if c.Bucket == "" {
		errs = errors.Join(errs, errors.New("no bucket: name one"))
	}
	if (c.AccessKey == "") != c.SecretKey.IsZero() {
		errs = errors.Join(errs, errors.New("an access key without a secret key, or the other way round: give both or none"))
	}
	if c.Lock != "" && (!minio.RetentionMode(c.Lock).IsValid() || c.LockUntil == nil) {
		errs = errors.Join(errs, fmt.Errorf("lock %q: want GOVERNANCE or COMPLIANCE, and until when", c.Lock))
	}
	if c.Prefix != "" {
		if err := archive.CheckKey(strings.TrimSuffix(c.Prefix, "/")); err != nil {
			errs = errors.Join(errs, fmt.Errorf("prefix: %w", err))
		}
	}
	return errs
}

// endpoint refuses to speak in clear to another machine: what is archived may
// name patients.
func (c *Config) endpoint() (*url.URL, error) {
	u, err := url.Parse(c.Endpoint)
	if err != nil || u.Host == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" {
		return nil, errors.New("the endpoint is not https://host[:port]")
	}
	switch u.Scheme {
	case "https":
		return u, nil
	case "http":
		if host := u.Hostname(); host != "localhost" {
			if addr, err := netip.ParseAddr(host); err != nil || !addr.IsLoopback() {
				return nil, fmt.Errorf("the endpoint %s is not on this machine: use https", u.Host)
			}
		}
		return u, nil
	}
	return nil, fmt.Errorf("the endpoint has the scheme %q: use https", u.Scheme)
}

// client makes the client of both buckets.
func (c *Config) client() (*minio.Client, error) {
	u, err := c.endpoint()
	if err != nil {
		return nil, err
	}
	transport, err := c.transport()
	if err != nil {
		return nil, err
	}
	creds := credentials.NewStaticV4(c.AccessKey, c.SecretKey.Reveal(), "")
	if c.AccessKey == "" {
		creds = credentials.NewChainCredentials([]credentials.Provider{
			&credentials.EnvAWS{}, &credentials.FileAWSCredentials{},
			&credentials.IAM{Client: &http.Client{Timeout: 10 * time.Second}},
		})
	}
	// Callers try again themselves, with the state of the store in view. No
	// trailing headers: stores in clear refuse the checksums in them.
	return minio.New(u.Host, &minio.Options{
		Creds: creds, Secure: u.Scheme == "https", Region: c.Region, Transport: transport, MaxRetries: 1,
	})
}

func (c *Config) stall() time.Duration { return cmp.Or(c.Stall, time.Minute) }

func (c *Config) transport() (http.RoundTripper, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.CA != "" {
		pem, err := os.ReadFile(c.CA)
		if err != nil {
			return nil, fmt.Errorf("authorities: %w", err)
		}
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("authorities: %s holds no certificate in PEM", c.CA)
		}
	}
	t := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 15 * time.Second}).DialContext,
		TLSClientConfig:       conf,
		TLSHandshakeTimeout:   10 * time.Second,
		ResponseHeaderTimeout: c.stall(),
		ExpectContinueTimeout: 10 * time.Second,
		MaxIdleConnsPerHost:   32,
		IdleConnTimeout:       time.Minute,
		DisableCompression:    true, // objects come as they were put
	}
	if c.Wrap != nil {
		return once{c.Wrap(t)}, nil
	}
	return once{t}, nil
}

// once puts each object over a connection of its own. A store may refuse an
// object before it has read it, and then takes what is left of it for the next
// request of the connection, whose answer would be taken for that of ours.
type once struct{ http.RoundTripper }

func (o once) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method == http.MethodPut {
		r = r.Clone(r.Context())
		r.Close = true
	}
	return o.RoundTripper.RoundTrip(r)
}
