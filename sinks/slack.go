package sinks

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/dermai/millrace/internal/secret"
	"github.com/dermai/millrace/notify"
	"github.com/dermai/millrace/schemas"
)

// Limits of Slack, docs.slack.dev/reference/block-kit: a header, the text of a
// section, and its fields. What one attachment takes is not documented; beyond
// 20 blocks (github.com/slackapi/bolt-python/issues/914) or 8,000 characters
// Slack has been seen to answer invalid_attachments.
const (
	slackHeader = 150
	slackFields = 10

	// Shares of the 8,000 characters: the first alert always fits.
	slackRoom     = 7000 // of all alerts
	slackAlerts   = 8    // two blocks each, and three for the rest
	slackText     = 1500 // of an alert's name, summary and annotations
	slackField    = 200
	slackEvidence = 300
)

// slackOptions are the options of a Slack incoming webhook, or of a bot.
type slackOptions struct {
	// WebhookURL is the secret URL that Slack gave. Default: what the file
	// WebhookURLFile, the variable SLACK_WEBHOOK_URL or the file that
	// SLACK_WEBHOOK_URL_FILE names holds.
	WebhookURL     string `yaml:"webhook_url"`
	WebhookURLFile string `yaml:"webhook_url_file"`
	// BotToken is the token of a bot with the scope chat:write, in the same ways,
	// and SLACK_BOT_TOKEN. Neither this nor a webhook: the receiver is off.
	BotToken     string `yaml:"bot_token"`
	BotTokenFile string `yaml:"bot_token_file"`
	// Channel is where the bot posts: an ID, or #name. Giving it chooses the bot.
	Channel string `yaml:"channel"`
	// APIURL is where Slack's methods are. Default: https://slack.com/api.
	APIURL      string `yaml:"api_url"`
	HTTPOptions `yaml:",inline"`
}

// Slack posts to an incoming webhook. Slack cannot tell a second attempt at a
// notification from the first: the ID at the end of the message shows it to
// readers.
type Slack struct {
	poster *Poster // nil: off
	reason string  // why it is off; "": it has no webhook
}

func buildSlack(_ string, options notify.Options, env Env) (Sink, error) {
	var o slackOptions
	if err := options.Decode(&o); err != nil {
		return nil, err
	}
	if o.BotToken != "" || o.BotTokenFile != "" || o.Channel != "" {
		if o.WebhookURL != "" || o.WebhookURLFile != "" {
			return nil, errors.New("webhook_url and bot_token with channel: give one of the two")
		}
		token, err := env.ReadSecret("bot_token", secret.New(o.BotToken), o.BotTokenFile, "SLACK_BOT_TOKEN")
		if err != nil {
			return nil, err
		}
		if token.IsZero() {
			return &Slack{reason: "no token: set bot_token_file, or SLACK_BOT_TOKEN in the environment"}, nil
		}
		return newSlackBot(o, token, env)
	}
	url, err := env.ReadSecret("webhook_url", secret.New(o.WebhookURL), o.WebhookURLFile, "SLACK_WEBHOOK_URL")
	if err != nil || url.IsZero() {
		return &Slack{}, err
	}
	p, err := NewPoster("webhook_url", url, o.HTTPOptions, env.Now)
	return &Slack{poster: p}, err
}

// Off implements Sink.
func (s *Slack) Off() (reason string, off bool) {
	switch {
	case s.reason != "":
		return s.reason, true
	case s.poster == nil:
		return "no webhook: set webhook_url_file, or SLACK_WEBHOOK_URL in the environment", true
	}
	return "", false
}

// Send implements notify.Receiver. The reference is Slack's own number of the
// request.
func (s *Slack) Send(ctx context.Context, n schemas.Notification) (string, error) {
	if reason, off := s.Off(); off {
		return "", &SendError{Reason: reason}
	}
	body, err := slackMessage(n)
	if err != nil {
		return "", &SendError{Reason: "the message cannot be written", Never: true}
	}
	got, err := s.poster.Post(ctx, n.ID, "application/json; charset=utf-8", body, nil)
	if e, ok := err.(*SendError); ok && permanentAtSlack[e.Code] {
		e.Never = true
	}
	if err != nil {
		return "", err
	}
	// Services that imitate Slack say so in a body of status 200.
	var inner struct {
		OK    *bool  `json:"ok"`
		Error string `json:"error"`
	}
	if json.Unmarshal(got.Body, &inner) == nil && inner.OK != nil && !*inner.OK {
		return "", &SendError{Reason: "refused", Status: 200, Code: code([]byte(inner.Error)), Never: inner.Error != "ratelimited"}
	}
	return printable(truncate(got.Header.Get("X-Slack-Req-Id"), 64), false), nil
}

// permanentAtSlack are errors that no other attempt mends, whatever their
// status.
var permanentAtSlack = map[string]bool{
	"invalid_payload": true, "invalid_blocks": true, "invalid_blocks_format": true, "invalid_attachments": true, "no_text": true,
	"missing_text_or_fallback_or_attachments": true, "too_many_attachments": true,
	"no_service": true, "no_service_id": true, "no_team": true, "team_disabled": true, "invalid_token": true, "no_active_hooks": true,
	"action_prohibited": true, "channel_not_found": true, "channel_is_archived": true, "user_not_found": true,
	"posting_to_general_channel_denied": true,
}

type slackPayload struct {
	Channel     string            `json:"channel,omitempty"`   // of a bot
	TS          string            `json:"ts,omitempty"`        // of the message to update
	ThreadTS    string            `json:"thread_ts,omitempty"` // of the message to reply to
	Text        string            `json:"text"`
	Mrkdwn      bool              `json:"mrkdwn"`
	Parse       string            `json:"parse"`
	LinkNames   bool              `json:"link_names"`
	UnfurlLinks bool              `json:"unfurl_links"`
	UnfurlMedia bool              `json:"unfurl_media"`
	Attachments []slackAttachment `json:"attachments"`
}

type slackAttachment struct {
	Color    string       `json:"color"`
	Fallback string       `json:"fallback"`
	Blocks   []slackBlock `json:"blocks"`
}

type slackBlock struct {
	Type     string        `json:"type"`
	Text     *slackObject  `json:"text,omitempty"`
	Fields   []slackObject `json:"fields,omitempty"`
	Elements []slackObject `json:"elements,omitempty"`
}

// slackObject is a text. It is always plain: Slack makes no format, link or mention of it.
type slackObject struct {
	Type  string `json:"type"`
	Text  string `json:"text"`
	Emoji bool   `json:"emoji"`
}

func plain(s string, limit int) slackObject {
	if s == "" {
		s = "-" // Slack takes no empty text
	}
	return slackObject{"plain_text", slackEscape(printable(s, true), limit), false}
}

func section(s string) slackBlock {
	t := plain(s, slackText)
	return slackBlock{Type: "section", Text: &t}
}

// slackEscape replaces the three characters that Slack reads commands from, and
// cuts to limit characters after that.
func slackEscape(s string, limit int) string {
	var b strings.Builder
	escapes := strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")
	room := limit // units
	end := -1     // where to cut so that the mark fits
	mark := utf8.RuneCountInString(cutMark)
	for _, r := range s {
		piece := escapes.Replace(string(r))
		n := units(piece)
		if end < 0 && room-n < mark {
			end = b.Len()
		}
		if room < n {
			return b.String()[:end] + cutMark
		}
		b.WriteString(piece)
		room -= n
	}
	return b.String()
}

// slackMessage writes the payload of a webhook.
func slackMessage(n schemas.Notification) ([]byte, error) { return slackJSON(slackMessageOf(n)) }

func slackJSON(m slackPayload) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", " ")
	err := enc.Encode(m)
	return b.Bytes(), err
}

// slackMessageOf shows a notification in Slack's blocks.
func slackMessageOf(n schemas.Notification) slackPayload {
	heading := plain(title(n), slackHeader)
	blocks := []slackBlock{{Type: "header", Text: &heading}}
	if n.Digest != nil {
		blocks = append(blocks, section(digestText(n.Digest)))
	}
	shown, room := 0, slackRoom
	for _, a := range n.Alerts[:min(len(n.Alerts), slackAlerts)] {
		about := slackAlert(a)
		for _, b := range about {
			room -= b.length()
		}
		if room < 0 {
			break
		}
		shown++
		blocks = append(blocks, about...)
	}
	if more := total(n) - shown; more > 0 {
		blocks = append(blocks, section(fmt.Sprintf("and %d more", more)))
	}
	blocks = append(blocks, slackBlock{Type: "context", Elements: []slackObject{
		plain("Millrace, "+n.Receiver+", decided at "+moment(n.Time)+", notification "+n.ID, slackEvidence),
	}})
	// Slack makes links of addresses in this text, so nothing of events is in it.
	fallback := slackEscape(headline(n), slackHeader)
	return slackPayload{
		Text: fallback, Parse: "none",
		Attachments: []slackAttachment{{Color: slackColor(n), Fallback: fallback, Blocks: blocks}},
	}
}

// length counts the characters of a block.
func (b slackBlock) length() int {
	n := 0
	if b.Text != nil {
		n += units(b.Text.Text)
	}
	for _, f := range b.Fields {
		n += units(f.Text)
	}
	return n
}

// units counts UTF-16 units, the most careful way to count characters.
func units(s string) int { return len(utf16.Encode([]rune(s))) }

// slackAlert shows an alert in one or two blocks.
func slackAlert(a schemas.Alert) []slackBlock {
	lines := []string{strings.ToUpper(a.Status) + " " + a.Alert}
	if s := a.Annotations["summary"]; s != "" {
		lines = append(lines, s)
	}
	for _, f := range annotations(a) {
		lines = append(lines, f.name+": "+f.value)
	}
	about := section(strings.Join(lines, "\n"))
	all := facts(a)
	for i, f := range all {
		if len(about.Fields) == slackFields-1 && i < len(all)-1 {
			about.Fields = append(about.Fields, plain(fmt.Sprintf("and %d labels more", len(all)-i), slackField))
			break
		}
		about.Fields = append(about.Fields, plain(f.name+": "+f.value, slackField))
	}
	if len(a.Evidence) == 0 {
		return []slackBlock{about}
	}
	lines = []string{"evidence:"}
	for _, e := range a.Evidence {
		lines = append(lines, truncate(reference(e), slackEvidence))
	}
	return []slackBlock{about, section(strings.Join(lines, "\n"))}
}

func slackColor(n schemas.Notification) string {
	if n.Status == "resolved" {
		return "#2eb67d"
	}
	switch severity(n) {
	case "critical", "error":
		return "#e01e5a"
	case "info":
		return "#36c5f0"
	}
	return "#ecb22e"
}
