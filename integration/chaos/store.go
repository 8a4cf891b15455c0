package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"net"
	"net/http"
	"net/http/httputil"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/dermai/millrace/archive"
	"github.com/dermai/millrace/archive/s3"
	"github.com/dermai/millrace/internal/secret"
)

// Where a run keeps its archive.
const (
	storeFiles = "files"
	storeS3    = "s3" // versitygw, a process of its own
)

// The store's bucket, and who may use it.
const (
	bucket    = "archive"
	accessKey = "millrace-chaos"
	secretKey = "not-a-secret-of-anybody"
)

// gatewayModule is where the gateway is built: its dependencies are not ours.
const gatewayModule = "integration/s3"

// buildGateway compiles the gateway into dir, unless it is there.
func buildGateway(ctx context.Context, dir string) error {
	path := filepath.Join(dir, "gateway")
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	gomod, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	if err != nil {
		return fmt.Errorf("find the module: %w", err)
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-o", path, "./cmd/gateway")
	cmd.Dir = filepath.Join(filepath.Dir(strings.TrimSpace(string(gomod))), gatewayModule)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build the gateway in %s (or use -store files): %w\n%s", gatewayModule, err, out)
	}
	return nil
}

// store is an S3 store behind a front of ours that can misbehave.
type store struct {
	gateway *process
	addr    string // of the gateway
	front   http.Server
	url     string // of the front
	proxy   *httputil.ReverseProxy

	mu   sync.Mutex
	mode string // "": well
}

// How the store behaves badly, besides being killed or paused.
const (
	store503  = "503"
	storeHang = "hang"          // does not take it, and does not answer
	storeCut  = "take and cut"  // takes it, and cuts the connection
	storeKill = "kill"          // of the gateway
	storeStop = "pause"         // of the gateway
	storeHalf = "cut in a body" // cuts the connection before it has taken the whole
)

var badStores = []string{store503, storeHang, storeCut, storeHalf, storeKill, storeStop}

// addStore prepares the gateway and opens its front.
func (c *cluster) addStore() error {
	port, err := c.freePort()
	if err != nil {
		return err
	}
	s := &store{addr: net.JoinHostPort("127.0.0.1", port)}
	if s.gateway, err = c.program("gateway", "gateway", filepath.Join(c.dir, "store"), s.addr, bucket); err != nil {
		return err
	}
	listen, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s.url = "http://" + listen.Addr().String()
	s.proxy = &httputil.ReverseProxy{
		// The host stays what it was, since it is signed.
		Rewrite:      func(r *httputil.ProxyRequest) { r.Out.URL.Scheme, r.Out.URL.Host = "http", s.addr },
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
	s.front.Handler = s
	go func() { _ = s.front.Serve(listen) }() // until close
	c.store, c.env = s, append(c.env, "AWS_ACCESS_KEY_ID="+accessKey, "AWS_SECRET_ACCESS_KEY="+secretKey)
	s.gateway.Env = c.env
	return nil
}

// start waits until the gateway has its bucket.
func (s *store) start(ctx context.Context) error {
	if err := s.gateway.start(""); err != nil {
		return err
	}
	opened, err := s.open()
	if err != nil {
		return err
	}
	return until(ctx, startLimit, "the store answers", func() error {
		for _, err := range opened.List(ctx, "", "") {
			return err
		}
		return nil
	})
}

// open opens the store past its front.
func (s *store) open() (archive.Store, error) {
	return s3.Open(s3.Config{
		Endpoint: "http://" + s.addr, Bucket: bucket, Region: "us-east-1", AccessKey: accessKey, SecretKey: secret.New(secretKey),
	})
}

func (s *store) close() error {
	return errors.Join(s.front.Close(), s.gateway.kill(), s.gateway.log.Close())
}

func (s *store) set(mode string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mode = mode
}

// ServeHTTP lets a request through, or as the mode says.
func (s *store) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	s.mu.Lock()
	mode := s.mode
	s.mu.Unlock()
	switch mode {
	case store503:
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = io.WriteString(w, "<Error><Code>SlowDown</Code><Message>not now</Message></Error>")
	case storeHang:
		<-req.Context().Done() // until the client gives up
	case storeCut:
		s.proxy.ServeHTTP(discard{http.Header{}}, req)
		panic(http.ErrAbortHandler)
	case storeHalf:
		_, _ = io.CopyN(io.Discard, req.Body, req.ContentLength/2)
		panic(http.ErrAbortHandler)
	default:
		s.proxy.ServeHTTP(w, req)
	}
}

// discard is an answer that nobody gets.
type discard struct{ header http.Header }

func (d discard) Header() http.Header         { return d.header }
func (d discard) Write(b []byte) (int, error) { return len(b), nil }
func (d discard) WriteHeader(int)             {}

// onS3 is for faults of the store.
func onS3(o Options) error {
	if o.Store != storeS3 {
		return fmt.Errorf("it needs -store %s", storeS3)
	}
	return nil
}

// makeStore lets the store behave badly for a while.
func makeStore(ctx context.Context, r *run, rng *rand.Rand) (Fired, error) {
	s := r.cluster.store
	made := Fired{Target: "store", Detail: badStores[rng.Intn(len(badStores))]}
	begin := func() error { s.set(made.Detail); return nil }
	end := func() error { s.set(""); return nil }
	switch made.Detail {
	case storeKill:
		begin, end = s.gateway.kill, func() error { return s.gateway.start("") }
	case storeStop:
		begin = func() error { return s.gateway.signal(syscall.SIGSTOP) }
		end = func() error { return s.gateway.signal(syscall.SIGCONT) }
	}
	if err := begin(); err != nil {
		return made, err
	}
	rest(ctx, between(rng, time.Second, 5*time.Second))
	return made, end()
}

// openArchive opens the archive of the run, past every fault.
func (c *cluster) openArchive() (archive.Store, func() error, error) {
	if c.store != nil {
		s, err := c.store.open()
		return s, func() error { return nil }, err
	}
	s, err := archive.OpenFileStore(filepath.Join(c.dir, diskOfData, "archive"))
	if err != nil {
		return nil, nil, err
	}
	return s, s.Close, nil
}

// archiveConfig is the part of the configuration that says where the archive is.
func (c *cluster) archiveConfig() string {
	if c.store == nil {
		return ""
	}
	return fmt.Sprintf(", s3: {endpoint: %q, bucket: %s, region: us-east-1}", c.store.url, bucket)
}
