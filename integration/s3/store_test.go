package s3_test

import (
	"context"
	"crypto/sha256"
	"encoding/pem"
	"errors"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dermai/millrace/archive"
	"github.com/dermai/millrace/archive/archivetest"
	"github.com/dermai/millrace/archive/s3"
	"github.com/dermai/millrace/internal/secret"
)

// config is that of an empty bucket.
func config(t *testing.T) s3.Config {
	return s3.Config{
		Endpoint: "http://" + endpoint, Bucket: newBucket(t), Region: "us-east-1",
		AccessKey: accessKey, SecretKey: secret.New(secretKey),
	}
}

func open(t *testing.T, c s3.Config) *s3.Store {
	t.Helper()
	s, err := s3.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Probe(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestConformance(t *testing.T) {
	archivetest.Conformance(t, func(t *testing.T) archive.Store { return open(t, config(t)) })
}

func TestConformanceBelowPrefix(t *testing.T) {
	archivetest.Conformance(t, func(t *testing.T) archive.Store {
		c := config(t)
		c.AuditBucket, c.Prefix = newBucket(t), "of/millrace"
		return open(t, c)
	})
}

func listed(t *testing.T, s archive.Store, prefix string) string {
	t.Helper()
	var keys []string
	for o, err := range s.List(t.Context(), prefix, "") {
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, o.Key)
	}
	return strings.Join(keys, " ")
}

func put(t *testing.T, s archive.Store, key, body string) error {
	t.Helper()
	return s.Put(t.Context(), key, strings.NewReader(body), int64(len(body)))
}

// TestAuditBucket: the audit trail is in its bucket alone, and both show as one.
func TestAuditBucket(t *testing.T) {
	c := config(t)
	c.AuditBucket = newBucket(t)
	s := open(t, c)
	keys := []string{"l0/alerts/b", "l0/audit/a", "l0/audit/c", "l0/control/a", "l0/telemetry/a", "l1/audit/a", "l1/telemetry/b"}
	for _, key := range keys {
		if err := put(t, s, key, key); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := listed(t, s, ""), strings.Join(keys, " "); got != want {
		t.Errorf("listing of both: %s; want %s", got, want)
	}
	c.Bucket, c.AuditBucket = c.AuditBucket, ""
	if got, want := listed(t, open(t, c), ""), "l0/audit/a l0/audit/c l1/audit/a"; got != want {
		t.Errorf("the audit bucket holds %s; want %s", got, want)
	}
}

// TestLargeObject: the condition holds for objects that a client would upload in
// parts, too.
func TestLargeObject(t *testing.T) {
	s := open(t, config(t))
	body := strings.Repeat("0123456789abcdef", 3<<20)
	if err := put(t, s, "large", body); err != nil {
		t.Fatal(err)
	}
	if err := put(t, s, "large", strings.ToUpper(body)); !errors.Is(err, archive.ErrExists) {
		t.Errorf("second put: %v; want ErrExists", err)
	}
	f, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(body); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Seek(16, 0); err != nil {
		t.Fatal(err)
	}
	if err := s.Put(t.Context(), "file", f, int64(len(body))-16); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{"large": body, "file": body[16:]} {
		got, err := archive.ReadAll(t.Context(), s, key)
		if err != nil || sha256.Sum256(got) != sha256.Sum256([]byte(want)) {
			t.Errorf("%s comes back with %d bytes and %v; want the %d that were put", key, len(got), err, len(want))
		}
	}
}

// TestTLS: an endpoint is trusted by the authorities that are named, and by
// nothing else.
func TestTLS(t *testing.T) {
	target := &url.URL{Scheme: "http", Host: endpoint}
	proxy := httptest.NewTLSServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Host = r.In.Host // it is signed
	}})
	defer proxy.Close()
	c := config(t)
	c.Endpoint = proxy.URL
	s, err := s3.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Probe(t.Context()); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("probe of an endpoint that nobody vouches for: %v; want it refused for its certificate", err)
	}
	c.CA = filepath.Join(t.TempDir(), "ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: proxy.Certificate().Raw})
	if err := os.WriteFile(c.CA, block, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := put(t, open(t, c), "a", "x"); err != nil {
		t.Error(err)
	}
}

// TestEnvironment: keys are found where the tools of the store look for them.
func TestEnvironment(t *testing.T) {
	c := config(t)
	c.AccessKey, c.SecretKey = "", secret.Text{}
	t.Setenv("AWS_ACCESS_KEY_ID", accessKey)
	t.Setenv("AWS_SECRET_ACCESS_KEY", secretKey)
	if err := put(t, open(t, c), "a", "x"); err != nil {
		t.Error(err)
	}
	t.Setenv("AWS_SECRET_ACCESS_KEY", "another")
	s, err := s3.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Probe(context.WithoutCancel(t.Context())); err == nil || strings.Contains(err.Error(), "another") {
		t.Errorf("probe with a wrong secret: %v; want an error without it", err)
	}
}

// TestNoLifecycle: a store that has no lifecycle rules is not taken for one that
// set them. Where they are set they are compared with the S3 API's in archive/s3.
func TestNoLifecycle(t *testing.T) {
	c := config(t)
	c.ColdClass, c.ColdDays = "STANDARD_IA", 30
	if changed, err := open(t, c).SetLifecycle(t.Context()); err == nil || changed {
		t.Errorf("changed %t, %v; want an error: this gateway has no lifecycle rules", changed, err)
	}
}
