package sources

import (
	"net/http"
	"time"
)

// NewServer returns a server for doors, with limits against clients that are
// slow, silent or verbose. The handlers may take shorter times for themselves.
func NewServer(addr string, handler http.Handler) *http.Server {
	return &http.Server{
		Addr:              addr,
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       time.Minute,
		WriteTimeout:      2 * time.Minute,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
	}
}
