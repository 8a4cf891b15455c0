package sinks

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/dermai/millrace/internal/secret"
	"github.com/dermai/millrace/notify"
	"github.com/dermai/millrace/schemas"
)

// Limits of Slack: docs.slack.dev/reference/block-kit/blocks and text-object;
// the length of text is chat.postMessage's.
const (
	slackHeader   = 150
	slackSection  = 3000
	slackField    = 2000
	slackFields   = 10
	slackBlocks   = 50
	slackFallback = 4000 // of 40,000: it is what a phone shows

	// slackAlerts are shown in full: two blocks each, and three for the rest.
	slackAlerts = 20
)

// SlackOptions are the options of a Slack incoming webhook.
type SlackOptions struct {
	// WebhookURL is the secret URL that Slack gave. Default: what the file
	// WebhookURLFile, the variable SLACK_WEBHOOK_URL or the file that
	// SLACK_WEBHOOK_URL_FILE names holds. None: the receiver is off.
	WebhookURL     secret.Text `yaml:"webhook_url"`
	WebhookURLFile string      `yaml:"webhook_url_file"`
	HTTPOptions    `yaml:",inline"`
}

// Slack posts to an incoming webhook. Slack cannot tell a second attempt at a
// notification from the first: the ID at the end of the message shows it to
// readers.
type Slack struct {
	poster *poster // nil: off
}

func buildSlack(_ string, options notify.Options, env Env) (Sink, error) {
	var o SlackOptions
	if err := options.Decode(&o); err != nil {
		return nil, err
	}
	url, err := env.readSecret("webhook_url", o.WebhookURL, o.WebhookURLFile, "SLACK_WEBHOOK_URL")
	if err != nil || url.IsZero() {
		return &Slack{}, err
	}
	p, err := newPoster("webhook_url", url, o.HTTPOptions, env.Now)
	return &Slack{p}, err
}

// Off implements Sink.
func (s *Slack) Off() (reason string, off bool) {
	if s.poster == nil {
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
	got, err := s.poster.post(ctx, n.ID, "application/json; charset=utf-8", body)
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
	if json.Unmarshal(got.body, &inner) == nil && inner.OK != nil && !*inner.OK {
		return "", &SendError{Reason: "refused", Status: 200, Code: code([]byte(inner.Error)), Never: inner.Error != "ratelimited"}
	}
	return printable(truncate(got.header.Get("X-Slack-Req-Id"), 64), false), nil
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
	Type     string      `json:"type"`
	Text     *slackText  `json:"text,omitempty"`
	Fields   []slackText `json:"fields,omitempty"`
	Elements []slackText `json:"elements,omitempty"`
}

// slackText is always plain: Slack makes no format, link or mention of it.
type slackText struct {
	Type  string `json:"type"`
	Text  string `json:"text"`
	Emoji bool   `json:"emoji"`
}

func plain(s string, limit int) slackText {
	if s == "" {
		s = "-" // Slack takes no empty text
	}
	return slackText{"plain_text", slackEscape(printable(s, true), limit), false}
}

func section(s string) slackBlock {
	t := plain(s, slackSection)
	return slackBlock{Type: "section", Text: &t}
}

// slackEscape replaces the three characters that Slack reads commands from, and
// cuts to limit characters after that.
func slackEscape(s string, limit int) string {
	var b strings.Builder
	escapes := strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")
	room := limit
	end := -1 // where to cut so that the mark fits
	mark := utf8.RuneCountInString(cutMark)
	for _, r := range s {
		piece := escapes.Replace(string(r))
		n := utf8.RuneCountInString(piece)
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

// slackMessage writes the payload.
func slackMessage(n schemas.Notification) ([]byte, error) {
	heading := plain(title(n), slackHeader)
	blocks := []slackBlock{{Type: "header", Text: &heading}}
	for i, a := range n.Alerts {
		if i == slackAlerts {
			break
		}
		blocks = append(blocks, slackAlert(a)...)
	}
	if more := total(n) - min(len(n.Alerts), slackAlerts); more > 0 {
		blocks = append(blocks, section(fmt.Sprintf("and %d more", more)))
	}
	blocks = append(blocks, slackBlock{Type: "context", Elements: []slackText{
		plain("Millrace, "+n.Receiver+", decided at "+moment(n.Time)+", notification "+n.ID, slackField),
	}})
	fallback := slackEscape(title(n), slackFallback)
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", " ")
	err := enc.Encode(slackPayload{
		Text: fallback, Parse: "none",
		Attachments: []slackAttachment{{Color: slackColor(n), Fallback: fallback, Blocks: blocks}},
	})
	return b.Bytes(), err
}

// slackAlert shows an alert in one or two blocks.
func slackAlert(a schemas.Alert) []slackBlock {
	text := strings.ToUpper(a.Status) + " " + a.Alert
	if s := a.Annotations["summary"]; s != "" {
		text += "\n" + s
	}
	for _, f := range annotations(a) {
		text += "\n" + f.name + ": " + f.value
	}
	about := section(text)
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
	lines := []string{"evidence:"}
	for _, e := range a.Evidence {
		lines = append(lines, truncate(reference(e), slackSection/(schemas.EvidenceLimit+1)))
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
