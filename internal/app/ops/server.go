package ops

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/rs/zerolog"
)

// Limits of the server. A door for events behind it reads bodies of a few MiB.
const (
	headerTime  = 5 * time.Second
	requestTime = time.Minute
	idleTime    = 2 * time.Minute
	headerBytes = 16 << 10
	// graceTime is how long requests under way may take at the end.
	graceTime = 5 * time.Second
)

// NewRegistry has the metrics of the process, of Go, and millrace_build_info.
func NewRegistry() *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		ReadBuild().Collector(),
	)
	return r
}

// Routes adds /livez, /readyz and /metrics to mux.
func Routes(mux *http.ServeMux, health *Health, metrics prometheus.Gatherer) {
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "ok")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		report := health.Report()
		verbose := r.URL.Query().Has("verbose")
		w.Header().Set("Cache-Control", "no-store")
		if verbose {
			w.Header().Set("Content-Type", "application/json")
		}
		if !report.Ready {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		if verbose {
			_ = json.NewEncoder(w).Encode(report) // the client is gone
			return
		}
		if report.Ready {
			fmt.Fprintln(w, "ok")
		}
		for _, c := range report.Checks {
			if !c.Ready {
				fmt.Fprintf(w, "%s: %s\n", c.Name, c.Reason)
			}
		}
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{EnableOpenMetrics: true}))
}

// Server serves one handler on one address.
type Server struct {
	listener net.Listener
	http     *http.Server
}

// Listen takes the address, so that it is known to be free before anything else
// starts. Pages of other origins that a browser on this machine shows are
// refused: loopback is no secret to them.
func Listen(ctx context.Context, addr string, h http.Handler, log zerolog.Logger) (*Server, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("serve http: %w; free the address or set http.addr to another", err)
	}
	return &Server{l, &http.Server{
		Handler:           http.NewCrossOriginProtection().Handler(h),
		ReadHeaderTimeout: headerTime,
		ReadTimeout:       requestTime,
		WriteTimeout:      requestTime,
		IdleTimeout:       idleTime,
		MaxHeaderBytes:    headerBytes,
		ErrorLog:          newErrorLog(log),
	}}, nil
}

// Addr is the address taken, with the port that was free if 0 was asked for.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// Run serves until ctx ends and the requests under way are answered, for at
// most graceTime. It is called once.
func (s *Server) Run(ctx context.Context) error {
	served := make(chan error, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		served <- s.http.Serve(s.listener)
	}()
	select {
	case err := <-served:
		return fmt.Errorf("serve http on %s: %w", s.Addr(), err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), graceTime)
	defer cancel()
	err := s.http.Shutdown(grace)
	if errors.Is(err, context.DeadlineExceeded) {
		err = s.http.Close()
	}
	<-done
	if err != nil {
		return fmt.Errorf("stop serving http on %s: %w", s.Addr(), err)
	}
	return nil
}
