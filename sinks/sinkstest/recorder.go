package sinkstest

import (
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
)

// Recorder keeps every request and says yes to it.
type Recorder struct {
	URL string
	// Yes is the body of each answer.
	Yes string

	mu       sync.Mutex
	requests []Recorded
}

// Recorded is a request.
type Recorded struct {
	Path   string
	Header http.Header
	Body   []byte
}

// NewRecorder starts a server. It ends with the test.
func NewRecorder(tb testing.TB) *Recorder {
	r := &Recorder{}
	server := httptest.NewServer(r)
	tb.Cleanup(server.Close)
	r.URL = server.URL
	return r
}

// Requests are those that came, in order.
func (r *Recorder) Requests() []Recorded {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Recorded(nil), r.requests...)
}

// ServeHTTP implements http.Handler.
func (r *Recorder) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	body, err := io.ReadAll(q.Body)
	if err != nil {
		return
	}
	r.mu.Lock()
	r.requests = append(r.requests, Recorded{q.URL.Path, q.Header, body})
	r.mu.Unlock()
	_, _ = io.WriteString(w, r.Yes)
}

// NewAnswerer starts a server that reads each request, says yes and forgets it,
// and returns its URL. It ends with the test.
func NewAnswerer(tb testing.TB, yes string) string {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		_, _ = io.Copy(io.Discard, q.Body)
		_, _ = io.WriteString(w, yes)
	}))
	tb.Cleanup(server.Close)
	return server.URL
}
