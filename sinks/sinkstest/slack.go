package sinkstest

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"
)

// Slack answers as Slack's incoming webhooks do, and keeps to its limits, also
// those of an attachment that are not documented but have been met: 20 blocks
// and 8,000 characters. What it does not take it refuses with Slack's own words.
type Slack struct {
	// URL of a webhook. Its path is a secret.
	URL string
	// Answer, if it is set, decides an answer before anything is looked at: a
	// status of 0 goes on. It is called with the number of the request, from 1.
	Answer func(n int) (status int, retryAfter, body string)

	mu       sync.Mutex
	requests int
	messages []SlackMessage
}

// SlackMessage is a message as Slack understands it.
type SlackMessage struct {
	Key  string // Idempotency-Key, which Slack ignores
	Body []byte
	// Texts are the messages's texts as a reader sees them, its entities decoded.
	Texts []string
	// Commands are the parts that Slack would act upon: mentions, links, formats.
	Commands []string
	Color    string
}

// NewSlack starts a server. It ends with the test.
func NewSlack(t *testing.T) *Slack {
	s := &Slack{}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	s.URL = server.URL + "/services/" + secretPath
	return s
}

// Messages are those that were taken, in order.
func (s *Slack) Messages() []SlackMessage {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]SlackMessage(nil), s.messages...)
}

// ServeHTTP implements http.Handler.
func (s *Slack) ServeHTTP(w http.ResponseWriter, r *http.Request) {
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
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
	switch {
	case r.URL.Path != "/services/"+secretPath:
		reply(w, 404, "no_service")
	case r.Method != http.MethodPost:
		reply(w, 405, "method_not_allowed")
	case err != nil:
		reply(w, 413, "invalid_payload")
	default:
		m, fault := parseSlack(body)
		if fault != "" {
			reply(w, 400, fault)
			return
		}
		m.Key = r.Header.Get("Idempotency-Key")
		s.messages = append(s.messages, m)
		w.Header().Set("X-Slack-Req-Id", "req-"+m.Key[:min(8, len(m.Key))])
		reply(w, 200, "ok")
	}
}

func reply(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "text/plain")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body)
}

type slackPayload struct {
	Text        string            `json:"text"`
	Mrkdwn      *bool             `json:"mrkdwn"`
	Parse       string            `json:"parse"`
	LinkNames   bool              `json:"link_names"`
	Blocks      []json.RawMessage `json:"blocks"`
	Attachments []struct {
		Color    string            `json:"color"`
		Fallback string            `json:"fallback"`
		Text     string            `json:"text"`
		Blocks   []json.RawMessage `json:"blocks"`
	} `json:"attachments"`
}

type slackBlock struct {
	Type     string      `json:"type"`
	Text     *slackText  `json:"text"`
	Fields   []slackText `json:"fields"`
	Elements []slackText `json:"elements"`
}

type slackText struct {
	Type     string `json:"type"`
	Text     string `json:"text"`
	Emoji    *bool  `json:"emoji"`
	Verbatim *bool  `json:"verbatim"`
}

// parseSlack understands a payload, or says what Slack would say of it.
func parseSlack(body []byte) (m SlackMessage, fault string) {
	var p slackPayload
	if err := json.Unmarshal(body, &p); err != nil || !utf8.Valid(body) {
		return m, "invalid_payload"
	}
	if p.Text == "" && len(p.Blocks) == 0 && len(p.Attachments) == 0 {
		return m, "no_text"
	}
	if length(p.Text) > 40000 || len(p.Attachments) > 100 {
		return m, "invalid_payload"
	}
	m.Body = body
	m.see(p.Text, p.Mrkdwn == nil || *p.Mrkdwn)
	if strings.Contains(p.Text, "://") {
		m.Commands = append(m.Commands, "link in "+p.Text)
	}
	if p.LinkNames || p.Parse == "full" {
		m.Commands = append(m.Commands, "names become links")
	}
	blocks := p.Blocks
	for _, a := range p.Attachments {
		m.Color = a.Color
		m.see(a.Fallback, false)
		m.see(a.Text, true)
		blocks = append(blocks, a.Blocks...)
		size := 0
		for _, raw := range a.Blocks {
			size += blockLength(raw)
		}
		if len(a.Blocks) > 20 || size > 8000 {
			return m, "invalid_attachments"
		}
	}
	if len(blocks) > 50 {
		return m, "invalid_blocks"
	}
	for _, raw := range blocks {
		var b slackBlock
		if err := json.Unmarshal(raw, &b); err != nil || !m.block(b) {
			return m, "invalid_blocks"
		}
	}
	return m, ""
}

// block notes what a block says, and tells whether it is within the limits.
func (m *SlackMessage) block(b slackBlock) bool {
	texts := func(list []slackText, most, longest int) bool {
		ok := len(list) <= most
		for _, t := range list {
			ok = m.text(t, longest) && ok
		}
		return ok
	}
	switch b.Type {
	case "header":
		return b.Text != nil && b.Text.Type == "plain_text" && m.text(*b.Text, 150)
	case "section":
		ok := b.Text != nil || len(b.Fields) > 0
		if b.Text != nil {
			ok = m.text(*b.Text, 3000)
		}
		return texts(b.Fields, 10, 2000) && ok
	case "context":
		return len(b.Elements) > 0 && texts(b.Elements, 10, 2000)
	case "divider":
		return true
	}
	return false
}

func (m *SlackMessage) text(t slackText, longest int) bool {
	m.see(t.Text, t.Type == "mrkdwn")
	if t.Emoji != nil && *t.Emoji {
		m.Commands = append(m.Commands, "emoji in "+t.Text)
	}
	known := t.Type == "plain_text" && t.Verbatim == nil || t.Type == "mrkdwn" && t.Emoji == nil
	return known && length(t.Text) >= 1 && length(t.Text) <= longest
}

// blockLength counts the characters of all texts of a block.
func blockLength(raw json.RawMessage) int {
	var b slackBlock
	if json.Unmarshal(raw, &b) != nil {
		return 0 // refused for another reason
	}
	n := 0
	if b.Text != nil {
		n = length(b.Text.Text)
	}
	for _, t := range append(b.Fields, b.Elements...) {
		n += length(t.Text)
	}
	return n
}

// length counts as Slack does, in UTF-16 units.
func length(s string) int {
	n := 0
	for _, r := range s {
		if n++; r > 0xffff {
			n++
		}
	}
	return n
}

// see notes a text and what in it is more than text.
func (m *SlackMessage) see(s string, mrkdwn bool) {
	rest := s
	for {
		_, after, found := strings.Cut(rest, "<")
		if !found {
			break
		}
		inside, _, _ := strings.Cut(after, ">")
		m.Commands = append(m.Commands, "<"+inside+">")
		rest = after
	}
	if mrkdwn && strings.ContainsAny(s, "*_~`") || mrkdwn && strings.Contains(s, "://") {
		m.Commands = append(m.Commands, "mrkdwn in "+s)
	}
	m.Texts = append(m.Texts, strings.NewReplacer("&lt;", "<", "&gt;", ">", "&amp;", "&").Replace(s))
}
