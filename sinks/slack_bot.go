package sinks

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"regexp"
	"strings"

	"github.com/dermai/millrace/internal/secret"
	"github.com/dermai/millrace/schemas"
)

// maxSlackAnswer bounds an answer of Slack's API, which repeats the message.
const maxSlackAnswer = 256 << 10

// SlackBot posts to a channel as a bot. The messages of one thread stay
// together: the first is a message, what changes is a reply to it, and when all
// is over the first becomes green. The reference is channel/ts.
//
// Slack cannot tell a second attempt at a message from the first; a second
// attempt at an update changes nothing.
type SlackBot struct {
	channel      string
	post, update *Poster
	token        secret.Text
}

func newSlackBot(o slackOptions, token secret.Text, env Env) (*SlackBot, error) {
	if !slackChannel.MatchString(o.Channel) {
		return nil, errors.New("channel: give the channel's ID, such as C0123456789, or #name")
	}
	if !fieldValue.MatchString(token.Reveal()) {
		return nil, errors.New("bot_token: not the value of a header; write the token alone into it")
	}
	if o.APIURL == "" {
		o.APIURL = "https://slack.com/api"
	}
	method := func(name string) (*Poster, error) {
		p, err := NewPoster("api_url", secret.New(strings.TrimSuffix(o.APIURL, "/")+"/"+name), o.HTTPOptions, env.Now)
		if err == nil {
			p.answer = maxSlackAnswer
		}
		return p, err
	}
	post, err := method("chat.postMessage")
	if err != nil {
		return nil, err
	}
	update, err := method("chat.update")
	return &SlackBot{o.Channel, post, update, token}, err
}

var (
	slackChannel   = regexp.MustCompile(`^([CGD][A-Z0-9]{2,20}|#[^\s#<>&]{1,80})$`)
	slackReference = regexp.MustCompile(`^([CGD][A-Z0-9]{2,20})/([0-9]{1,20}\.[0-9]{1,10})$`)
)

// Off implements Sink.
func (*SlackBot) Off() (reason string, off bool) { return "", false }

// Send implements notify.Receiver.
func (s *SlackBot) Send(ctx context.Context, n schemas.Notification) (string, error) {
	m := slackMessageOf(n)
	m.Channel = s.channel
	return s.call(ctx, s.post, n.ID, m)
}

// Follow implements notify.Follower. A first message that somebody has deleted
// is followed by one of its own.
func (s *SlackBot) Follow(ctx context.Context, n schemas.Notification, first string) (string, error) {
	at := slackReference.FindStringSubmatch(first)
	if at == nil {
		return s.Send(ctx, n)
	}
	m := slackMessageOf(n)
	m.Channel = at[1]
	method := s.post
	if n.Status == "resolved" {
		m.TS, method = at[2], s.update
	} else {
		m.ThreadTS = at[2]
	}
	reference, err := s.call(ctx, method, n.ID, m)
	if e := (*SendError)(nil); errors.As(err, &e) && e.Status < 300 && goneAtSlack[e.Code] {
		return s.Send(ctx, n)
	}
	return reference, err
}

// goneAtSlack are errors about the first message that a message of its own does
// not have.
var goneAtSlack = map[string]bool{
	"message_not_found": true, "thread_not_found": true, "cant_update_message": true, "edit_window_closed": true,
	"update_failed": true, "cannot_reply_to_message": true, "is_inactive": true,
}

// call calls a method of Slack's API and judges the answer, which is a 200 also
// when it is a no.
func (s *SlackBot) call(ctx context.Context, method *Poster, id string, m slackPayload) (string, error) {
	body, err := slackJSON(m)
	if err != nil {
		return "", &SendError{Reason: "the message cannot be written", Never: true}
	}
	got, err := method.Post(ctx, id, "application/json; charset=utf-8", body, http.Header{"Authorization": {"Bearer " + s.token.Reveal()}})
	if err != nil {
		return "", err
	}
	var said struct {
		OK      *bool  `json:"ok"`
		Error   string `json:"error"`
		Channel string `json:"channel"`
		TS      string `json:"ts"`
	}
	if json.Unmarshal(got.Body, &said) != nil || said.OK == nil {
		return "", &SendError{Reason: "an answer that is not Slack's", Status: http.StatusOK, Unsure: true}
	}
	if !*said.OK {
		e := &SendError{Reason: "refused", Status: http.StatusOK, Code: code([]byte(said.Error))}
		switch {
		case transientAtSlack[e.Code]:
			e.After = method.after(got.Header)
		case unsureAtSlack[e.Code]:
			e.Unsure = true
		default:
			e.Never = true
		}
		return "", e
	}
	reference := said.Channel + "/" + said.TS
	if !slackReference.MatchString(reference) {
		return "", nil // it is there, and cannot be followed
	}
	return reference, nil
}

// transientAtSlack are errors that time mends, unsureAtSlack those after which
// part of the work may have been done: docs.slack.dev/reference/methods.
var (
	transientAtSlack = map[string]bool{
		"ratelimited": true, "rate_limited": true, "service_unavailable": true, "accesslimited": true,
		"team_added_to_org": true, "request_timeout": true, "external_channel_migrating": true,
	}
	unsureAtSlack = map[string]bool{"fatal_error": true, "internal_error": true}
)
