package s3_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/dermai/millrace/archive/s3"
	"github.com/dermai/millrace/internal/secret"
)

// The store itself is tried on a real one in integration/s3.

func config(endpoint string) s3.Config {
	return s3.Config{Endpoint: endpoint, Bucket: "bucket", Region: "us-east-1", AccessKey: "key", SecretKey: secret.New("hunter2")}
}

// TestProbe: a store that takes everything is refused, one that cannot be reached
// is not judged.
func TestProbe(t *testing.T) {
	status := http.StatusOK
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut && r.Header.Get("If-None-Match") != "*" {
			t.Errorf("put of %s without its condition", r.URL)
		}
		// One that answers before it has read breaks the connection.
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(status)
	}))
	defer server.Close()
	s, err := s3.Open(config(server.URL))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Probe(t.Context()); !errors.Is(err, s3.ErrUnconditional) {
		t.Errorf("probe of a store that takes everything: %v; want ErrUnconditional", err)
	}
	if err := s.Put(t.Context(), "a", strings.NewReader("x"), 1); !errors.Is(err, s3.ErrUnconditional) {
		t.Errorf("put into it: %v; want ErrUnconditional", err)
	}
	status = http.StatusServiceUnavailable
	if err := s.Probe(t.Context()); err == nil || errors.Is(err, s3.ErrUnconditional) {
		t.Errorf("probe of a store that is away: %v; want another error", err)
	}
	status = http.StatusPreconditionFailed
	if err := s.Probe(t.Context()); err != nil {
		t.Errorf("probe of a store that refuses: %v", err)
	}
}

func TestValidate(t *testing.T) {
	tests := []struct {
		name   string
		change func(*s3.Config)
		want   string // in the error, "" for none
	}{
		{"as it is", func(*s3.Config) {}, ""},
		{"loopback in clear", func(c *s3.Config) { c.Endpoint = "http://127.0.0.1:9000" }, ""},
		{"localhost in clear", func(c *s3.Config) { c.Endpoint = "http://localhost:9000" }, ""},
		{"another machine in clear", func(c *s3.Config) { c.Endpoint = "http://store.example:9000" }, "use https"},
		{"an address in clear", func(c *s3.Config) { c.Endpoint = "http://192.0.2.1" }, "use https"},
		{"no scheme", func(c *s3.Config) { c.Endpoint = "store.example:9000" }, "endpoint"},
		{"a path", func(c *s3.Config) { c.Endpoint = "https://store.example/bucket" }, "https://host[:port]"},
		{"a password in it", func(c *s3.Config) { c.Endpoint = "https://ann:hunter2@store.example" }, "https://host[:port]"},
		{"no bucket", func(c *s3.Config) { c.Bucket = "" }, "bucket"},
		{"half a key", func(c *s3.Config) { c.AccessKey = "" }, "both or none"},
		{"the other half", func(c *s3.Config) { c.SecretKey = secret.Text{} }, "both or none"},
		{"a prefix", func(c *s3.Config) { c.Prefix = "of/millrace/" }, ""},
		{"an odd prefix", func(c *s3.Config) { c.Prefix = "../of" }, "prefix"},
		{"authorities that are not there", func(c *s3.Config) { c.CA = "nowhere.pem" }, "nowhere.pem"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := config("https://store.example")
			test.change(&c)
			_, err := s3.Open(c)
			switch {
			case test.want == "" && err != nil:
				t.Error(err)
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
				t.Errorf("%v; want an error with %q", err, test.want)
			}
			if err != nil && strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%v shows a secret", err)
			}
		})
	}
}
