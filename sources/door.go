package sources

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"mime"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/dermai/millrace/schemas"
	"github.com/rs/zerolog"
)

// DoorConfig configures a door. The zero value of every field is useful.
type DoorConfig struct {
	// Defaults complete the events of requests that name no service or kind.
	Defaults Defaults
	// Tokens that requests must carry. nil: anybody who reaches the door may send
	// for any service.
	Tokens *Tokens
	// Headroom tells how much of the stream that takes a kind is free, from 0 to
	// 1. At 0.05 and below the door answers 429, so that a stream is never so full
	// that the stages cannot write into it. nil: not asked.
	Headroom func(schemas.Kind) float64
	// BodyTimeout is how long a client may take to send a request. 0: 20 s.
	BodyTimeout time.Duration
	// StoreTimeout is how long the broker may take to store one. 0: 30 s.
	StoreTimeout time.Duration
	// Memory bounds what the requests in hand keep, in bytes. 0: 64 MiB.
	Memory int64
	// Metrics of all doors. nil: none.
	Metrics *Metrics
	// Logger gets what the broker does wrong. The zero value says nothing.
	Logger zerolog.Logger
}

// Validate names every fault of the configuration.
func (c DoorConfig) Validate() error {
	faults := []error{c.Defaults.Validate()}
	if c.BodyTimeout < 0 || c.StoreTimeout < 0 || c.Memory < 0 {
		faults = append(faults, errors.New("body time-out, store time-out and memory: want 0 or more"))
	}
	return errors.Join(faults...)
}

// minFree is the share of a stream below which doors and lanes stop.
const minFree = 0.05

type door struct {
	DoorConfig
	publisher Publisher
	kept      atomic.Int64 // bytes of the requests in hand
}

// NewDoor returns the handler of POST /v1/events. It takes one event as a JSON
// object, several as an array or as NDJSON, gzipped or not, and answers 202 when
// the publisher has stored all of them. A request with one bad event is refused
// whole, with 400 and the faults of up to 20 events, and nothing of it is stored.
// docs/sources.md has every answer.
//
// A client that got no answer, or 503 after some of a large request was stored,
// cannot know; if it repeats the request, what was stored is stored again, under
// the same ids if the events have ids.
func NewDoor(p Publisher, c DoorConfig) http.Handler {
	if c.BodyTimeout == 0 {
		c.BodyTimeout = 20 * time.Second
	}
	if c.StoreTimeout == 0 {
		c.StoreTimeout = 30 * time.Second
	}
	if c.Memory == 0 {
		c.Memory = 64 << 20
	}
	return &door{DoorConfig: c, publisher: p}
}

// refusal is an answer other than 202.
type refusal struct {
	status int
	reason string // for the metrics
	text   string
	faults []Fault
	stored int           // events of the request that are stored nevertheless
	wait   time.Duration // until it makes sense to try again; 0: never
	header [2]string
}

func (r *refusal) Error() string { return r.text }

var (
	errMethod = &refusal{status: http.StatusMethodNotAllowed, reason: "method", text: "events are sent by POST", header: [2]string{"Allow", "POST"}}
	errOrigin = &refusal{status: http.StatusForbidden, reason: "origin", text: "web pages of other origins may not send events"}
	errToken  = &refusal{status: http.StatusUnauthorized, reason: "token", text: "a valid token is missing; send Authorization: Bearer <token>", header: [2]string{"WWW-Authenticate", `Bearer realm="millrace"`}}
	errCoding = &refusal{status: http.StatusUnsupportedMediaType, reason: "media type", text: "want no Content-Encoding, or gzip", header: [2]string{"Accept-Encoding", "gzip"}}
	errMedia  = &refusal{status: http.StatusUnsupportedMediaType, reason: "media type", text: "want Content-Type application/json or application/x-ndjson"}
	errWire   = &refusal{status: http.StatusRequestEntityTooLarge, reason: "too large", text: fmt.Sprintf("the body is over %d MiB; compress it or split it", maxWire>>20)}
	errSlow   = &refusal{status: http.StatusRequestTimeout, reason: "slow", text: "the body took too long", header: [2]string{"Connection", "close"}}
	errBroken = &refusal{status: http.StatusBadRequest, reason: "invalid", text: "the body ended before its end"}
	errEmpty  = &refusal{status: http.StatusBadRequest, reason: "invalid", text: "the body holds no event"}
	errBusy   = &refusal{status: http.StatusTooManyRequests, reason: "busy", text: "too much is being received at once", wait: time.Second}
	errFull   = &refusal{status: http.StatusTooManyRequests, reason: "full", text: "the stream is almost full", wait: 30 * time.Second}
	errAway   = &refusal{status: http.StatusServiceUnavailable, reason: "broker", text: "the broker did not confirm that it stored the events", wait: 5 * time.Second}
)

func (d *door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	accepted, err := d.serve(w, r)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if err == nil {
		w.WriteHeader(http.StatusAccepted)
		fmt.Fprintf(w, "{\"accepted\":%d}\n", accepted) //nolint:gosec // a number
		return
	}
	d.Metrics.refused("http", err.reason, 1)
	if err.header[0] != "" {
		w.Header().Set(err.header[0], err.header[1])
	}
	if err.wait > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(err.wait.Seconds()))))
	}
	w.WriteHeader(err.status)
	// json escapes <, > and &, so that a browser that is shown it finds no markup.
	//nolint:errchkjson // a client that went away gets no answer
	_ = json.NewEncoder(w).Encode(struct {
		Error  string  `json:"error"`
		Stored int     `json:"stored,omitempty"`
		Events []Fault `json:"events,omitempty"`
	}{err.text, err.stored, err.faults})
}

func (d *door) serve(w http.ResponseWriter, r *http.Request) (accepted int, _ *refusal) {
	if r.Method != http.MethodPost {
		return 0, errMethod
	}
	if new(http.CrossOriginProtection).Check(r) != nil {
		return 0, errOrigin
	}
	defaults, bad := d.defaults(r)
	if bad != nil {
		return 0, bad
	}
	lines, bad := mediaType(r)
	if bad != nil {
		return 0, bad
	}
	var kept int64
	defer func() { d.kept.Add(-kept) }()
	b := body{defaults: defaults, hold: func(n int) error {
		kept += int64(n)
		if d.kept.Add(int64(n)) > d.Memory {
			return errBusy
		}
		return nil
	}}
	// Where the connection has no deadlines, as in a test's recorder, nobody is slow.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(d.BodyTimeout))
	in := inflate(http.MaxBytesReader(w, r.Body, maxWire), r.Header.Get("Content-Encoding"))
	if bad := d.read(&b, in, lines); bad != nil {
		return 0, bad
	}
	d.Metrics.redacted("http", b.redacted)
	return b.events, d.store(r.Context(), &b)
}

// defaults completes the door's own with what the request says and its token
// allows.
func (d *door) defaults(r *http.Request) (Defaults, *refusal) {
	defaults := d.Defaults
	bad := func(format string, args ...any) (Defaults, *refusal) {
		return Defaults{}, &refusal{status: http.StatusBadRequest, reason: "parameter", text: fmt.Sprintf(format, args...)}
	}
	if d.Tokens != nil {
		service, ok := d.Tokens.allow(r.Header.Get("Authorization"))
		if !ok {
			return Defaults{}, errToken
		}
		if service != "" {
			defaults.Service, defaults.Only = service, true
		}
	}
	named := r.Header.Values("X-Millrace-Service")
	for name, values := range r.URL.Query() {
		switch name {
		case "service":
			named = append(named, values...)
		case "kind":
			defaults.Kind = schemas.Kind(values[0])
			if len(values) > 1 || defaults.Kind.Class() == "" {
				return bad("parameter kind: use log, metric or audit")
			}
		default:
			return bad("there is no parameter %q; use service or kind", name)
		}
	}
	for i, service := range named {
		switch {
		case i > 0 && service != named[0]:
			return bad("the request names two services")
		case defaults.Only && service != defaults.Service:
			return Defaults{}, &refusal{status: http.StatusForbidden, reason: "token", text: "the token is for another service"}
		}
		if _, err := schemas.Token(service); err != nil {
			return bad("service: %v", err)
		}
		defaults.Service = service
	}
	return defaults, nil
}

// mediaType checks what the body says it is, and tells whether that is NDJSON.
// Clients that know no better, such as curl -d, may name a form or plain text.
func mediaType(r *http.Request) (lines bool, _ *refusal) {
	switch r.Header.Get("Content-Encoding") {
	case "", "identity", "gzip":
	default:
		return false, errCoding
	}
	if len(r.Header.Values("Content-Encoding")) > 1 {
		return false, errCoding
	}
	text := r.Header.Get("Content-Type")
	if text == "" {
		return false, nil
	}
	media, parameters, err := mime.ParseMediaType(text)
	if err != nil || parameters["charset"] != "" && !strings.EqualFold(parameters["charset"], "utf-8") {
		return false, errMedia
	}
	switch media {
	case "application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines", "application/jsonlines":
		return true, nil
	case "application/json", "text/json", "text/plain", "application/octet-stream", "application/x-www-form-urlencoded":
		return false, nil
	}
	return false, errMedia
}

// read takes in the body, and refuses it whole for any fault.
func (d *door) read(b *body, in *inflater, lines bool) *refusal {
	r := bufio.NewReaderSize(in, 32<<10)
	if !lines {
		// What is one object on each line may be read line by line, whatever it is
		// called, and then the faults of all lines can be named.
		head, _ := r.Peek(4 << 10)
		first, _, more := bytes.Cut(head, []byte("\n"))
		lines = more && bytes.HasPrefix(first, []byte("{")) && bytes.HasSuffix(bytes.TrimSpace(first), []byte("}"))
	}
	var err error
	if lines {
		err = b.readLines(r)
	} else {
		err = b.readValues(r)
	}
	if in.err != nil && in.err != io.EOF {
		err = in.err // which is why the text ended where it should not
	}
	var wire *http.MaxBytesError
	var network net.Error
	var bad *refusal
	switch {
	case err == nil:
	case errors.As(err, &bad):
		return bad
	case errors.As(err, &wire):
		return errWire
	case errors.Is(err, errInflated):
		return &refusal{status: http.StatusRequestEntityTooLarge, reason: "too large", text: err.Error()}
	case errors.Is(err, errNoGzip):
		return &refusal{status: http.StatusBadRequest, reason: "invalid", text: err.Error()}
	case errors.As(err, &network) && network.Timeout():
		return errSlow
	default:
		return errBroken
	}
	if len(b.faults) > 0 {
		bad := &refusal{status: http.StatusBadRequest, reason: "invalid", faults: b.faults}
		bad.text = fmt.Sprintf("%d bad events; nothing of the request was stored", len(b.faults))
		switch {
		case len(b.faults) == maxFaults:
			bad.text = fmt.Sprintf("%d bad events or more; nothing of the request was stored", maxFaults)
		case len(b.faults) == 1:
			bad.text = "1 bad event; nothing of the request was stored"
		}
		for _, f := range b.faults {
			if f.long {
				bad.status, bad.reason = http.StatusRequestEntityTooLarge, "too large"
			}
		}
		return bad
	}
	if b.events == 0 {
		return errEmpty
	}
	return nil
}

// store publishes the frames one after the other. Once one is stored the others
// are tried for as long as there is time, since a client that repeats the
// request repeats what is stored.
func (d *door) store(ctx context.Context, b *body) *refusal {
	ctx, cancel := context.WithTimeout(ctx, d.StoreTimeout)
	defer cancel()
	if d.Headroom != nil {
		for l := range b.frames.last {
			if d.Headroom(l.kind) <= minFree {
				return errFull
			}
		}
	}
	stored := 0
	for _, f := range b.frames.list {
		for {
			begin := time.Now()
			err := d.publisher.PublishEncoded(ctx, f.lane.kind, f.lane.service, f.lines, "http")
			if err == nil {
				d.Metrics.accepted("http", f.lane.kind, len(f.lines), len(f.data), time.Since(begin))
				stored += len(f.lines)
				break
			}
			wait, again := retryAfter(err)
			if again && stored > 0 && pause(ctx, max(wait, minWait)) {
				continue
			}
			bad := *errAway
			if again {
				bad = refusal{status: http.StatusTooManyRequests, reason: "busy", text: "the broker takes no more at the moment", wait: max(wait, time.Second)}
			}
			bad.stored = stored
			d.Logger.Warn().Err(err).Str("service", f.lane.service).Int("events", len(f.lines)).Msg("request not stored")
			return &bad
		}
	}
	return nil
}
