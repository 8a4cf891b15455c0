package sinkstest

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
)

// SlackToken is the one that SlackAPI knows.
const SlackToken = "xoxb-xyzzySECRET"

// slackChannel is the channel that there is, and its name.
const slackChannel, slackChannelName = "C0ALERTS", "#alerts"

// SlackAPI answers as chat.postMessage and chat.update of Slack do: with status
// 200 also when it says no. It keeps to the limits of Slack, and has one
// channel, C0ALERTS, which is #alerts.
type SlackAPI struct {
	// URL is that of the API, without the method.
	URL string
	// Answer is as that of Slack.
	Answer func(n int) (status int, retryAfter, body string)

	mu       sync.Mutex
	requests int
	messages []SlackPost
}

// SlackPost is a message in the channel.
type SlackPost struct {
	SlackMessage
	TS      string
	Thread  string // ts of the message that it replies to
	Edits   int
	Deleted bool
}

// NewSlackAPI starts a server. It ends with the test.
func NewSlackAPI(t *testing.T) *SlackAPI {
	s := &SlackAPI{}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	s.URL = server.URL + "/api"
	return s
}

// Messages are those of the channel, in order, as they are now.
func (s *SlackAPI) Messages() []SlackPost {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]SlackPost(nil), s.messages...)
}

// Delete takes a message away, as somebody in the channel may.
func (s *SlackAPI) Delete(ts string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.messages[s.find(ts)].Deleted = true
}

func (s *SlackAPI) find(ts string) int {
	for i, m := range s.messages {
		if m.TS == ts && !m.Deleted {
			return i
		}
	}
	return -1
}

// ServeHTTP implements http.Handler.
func (s *SlackAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests++
	if s.Answer != nil {
		if status, retryAfter, body := s.Answer(s.requests); status != 0 {
			if retryAfter != "" {
				w.Header().Set("Retry-After", retryAfter)
			}
			reply(w, status, body)
			return
		}
	}
	ts, fault := s.take(r)
	answer := map[string]any{"ok": true, "channel": slackChannel, "ts": ts, "message": map[string]any{"ts": ts}}
	if fault != "" {
		answer = map[string]any{"ok": false, "error": fault}
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer)
}

// take does what a request asks for, or says what Slack would say of it.
func (s *SlackAPI) take(r *http.Request) (ts, fault string) {
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	var p struct {
		Channel string `json:"channel"`
		TS      string `json:"ts"`
		Thread  string `json:"thread_ts"`
	}
	switch {
	case err != nil || json.Unmarshal(body, &p) != nil:
		return "", "invalid_json"
	case r.Header.Get("Authorization") != "Bearer "+SlackToken:
		return "", "invalid_auth"
	case p.Channel != slackChannel && (p.Channel != slackChannelName || r.URL.Path != "/api/chat.postMessage"):
		return "", "channel_not_found"
	}
	m, fault := parseSlack(body)
	if fault != "" {
		return "", fault
	}
	m.Key = r.Header.Get("Idempotency-Key")
	switch r.URL.Path {
	case "/api/chat.postMessage":
		if p.Thread != "" && s.find(p.Thread) < 0 {
			return "", "thread_not_found"
		}
		ts = fmt.Sprintf("1772366400.%06d", len(s.messages)+1)
		s.messages = append(s.messages, SlackPost{SlackMessage: m, TS: ts, Thread: p.Thread})
		return ts, ""
	case "/api/chat.update":
		i := s.find(p.TS)
		if i < 0 {
			return "", "message_not_found"
		}
		s.messages[i].SlackMessage = m
		s.messages[i].Edits++
		return p.TS, ""
	}
	return "", "unknown_method"
}
