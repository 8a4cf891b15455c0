package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"time"
)

// How a receiver behaves.
const (
	receiverWell   = "well"
	receiver500    = "500"
	receiver429    = "429"
	receiver400    = "400"           // for good
	receiverHang   = "hang"          // does not take it, and does not answer
	receiverTakes  = "take and hang" // takes it, and does not answer
	receiverCut    = "take and cut"  // takes it, and cuts the connection
	receiverAnswer = 3 * time.Second // how long a sender waits for it
)

// badReceivers are the ways to behave badly.
var badReceivers = []string{receiver500, receiver429, receiver400, receiverHang, receiverTakes, receiverCut}

// receivers are who is told of alerts: one address, a path each.
type receivers struct {
	server http.Server
	addr   string
	ledger *ledger[Told]

	mu   sync.Mutex
	mode map[string]string // by receiver; "": well
}

func newReceivers(l *ledger[Told]) (*receivers, error) {
	listen, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &receivers{addr: listen.Addr().String(), ledger: l, mode: map[string]string{}}
	r.server.Handler = r
	go func() { _ = r.server.Serve(listen) }() // until close
	return r, nil
}

func (r *receivers) close() { _ = r.server.Close() }

func (r *receivers) set(name, mode string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mode[name] = mode
}

var (
	slackID   = regexp.MustCompile(`notification ([0-9a-f]{32})`)
	webhookID = regexp.MustCompile(`"id": ?"([0-9a-f]{32})"`)
)

// ServeHTTP notes the attempt before it answers.
func (r *receivers) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return // cut on its way: nothing arrived
	}
	name, _, _ := strings.Cut(strings.TrimPrefix(req.URL.Path, "/"), "/")
	r.mu.Lock()
	mode := r.mode[name]
	r.mu.Unlock()
	if mode == "" {
		mode = receiverWell
	}
	told := Told{Receiver: name, At: time.Now(), Mode: mode, Body: string(body)}
	for _, id := range []*regexp.Regexp{slackID, webhookID} {
		if m := id.FindSubmatch(body); m != nil {
			told.ID = string(m[1])
		}
	}
	told.Taken = mode == receiverWell || mode == receiverTakes || mode == receiverCut
	r.ledger.add(told)
	switch mode {
	case receiver500:
		w.WriteHeader(http.StatusInternalServerError)
	case receiver400:
		w.WriteHeader(http.StatusBadRequest)
	case receiver429:
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusTooManyRequests)
	case receiverHang, receiverTakes:
		<-req.Context().Done() // until the sender gives up
	case receiverCut:
		panic(http.ErrAbortHandler)
	default:
		_, _ = fmt.Fprint(w, "ok")
	}
}
