package sinks_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/slack-go/slack"

	"github.com/dermai/millrace/notify"
	"github.com/dermai/millrace/schemas"
	"github.com/dermai/millrace/sinks"
	"github.com/dermai/millrace/sinks/sinkstest"
)

func slackBotAt(t *testing.T, url string) notify.Follower {
	options := fmt.Sprintf("{bot_token: %s, channel: '#alerts', api_url: %q}", sinkstest.SlackToken, url)
	s, ok := build(t, "slack", options, sinks.Env{}).(notify.Follower)
	if !ok {
		t.Fatal("a bot cannot follow")
	}
	return s
}

func TestSlackBotConformance(t *testing.T) {
	const yes = `{"ok":true,"channel":"C0ALERTS","ts":"1772366400.000001"}`
	bot := func(t *testing.T, url string, timeout time.Duration, now func() time.Time) sinks.Sink {
		return build(t, "slack", fmt.Sprintf("{bot_token: %s, channel: C0ALERTS, api_url: %q, timeout: %v}", sinkstest.SlackToken, url, timeout), sinks.Env{Now: now})
	}
	t.Run("send", func(t *testing.T) {
		sinkstest.Answered(t, yes, func(t *testing.T, url string, timeout time.Duration, now func() time.Time) notify.Receiver {
			return bot(t, url, timeout, now)
		})
	})
	t.Run("follow", func(t *testing.T) {
		sinkstest.Answered(t, yes, func(t *testing.T, url string, timeout time.Duration, now func() time.Time) notify.Receiver {
			return following{bot(t, url, timeout, now).(notify.Follower), "C0ALERTS/1772366400.000001"}
		})
	})
}

// following is a receiver of which only Follow is called.
type following struct {
	notify.Follower
	first string
}

func (f following) Send(ctx context.Context, n schemas.Notification) (string, error) {
	return f.Follow(ctx, n, f.first)
}

// TestSlackBotThread tells of an alert, of a change of it, and of its end.
func TestSlackBotThread(t *testing.T) {
	api := sinkstest.NewSlackAPI(t)
	s := slackBotAt(t, api.URL)
	first, err := s.Send(t.Context(), sinkstest.Notification())
	if err != nil || first != "C0ALERTS/1772366400.000001" {
		t.Fatalf("%q, %v", first, err)
	}
	changed := sinkstest.Notification()
	changed.ID, changed.Reason = strings.Repeat("1", 32), "changed"
	second, err := s.Follow(t.Context(), changed, first)
	if err != nil || second != "C0ALERTS/1772366400.000002" {
		t.Fatalf("%q, %v", second, err)
	}
	for range 2 { // a second attempt changes nothing
		last, err := s.Follow(t.Context(), sinkstest.Resolved(), first)
		if err != nil || last != first {
			t.Fatalf("%q, %v", last, err)
		}
	}
	m := api.Messages()
	if len(m) != 2 || m[0].Thread != "" || m[0].Edits != 2 || m[1].Thread != m[0].TS || m[1].Edits != 0 {
		t.Fatalf("messages: %+v", m)
	}
	if m[0].Color != "#2eb67d" || !strings.Contains(strings.Join(m[0].Texts, "\n"), "RESOLVED") {
		t.Errorf("the first message says %s %q, want green and resolved", m[0].Color, m[0].Texts)
	}
	golden(t, "slack_bot_reply.json", m[1].Body)
	golden(t, "slack_bot_update.json", m[0].Body)

	// What somebody has deleted is told anew.
	api.Delete(m[0].TS)
	for i, n := range []schemas.Notification{changed, sinkstest.Resolved()} {
		got, err := s.Follow(t.Context(), n, first)
		if want := fmt.Sprintf("C0ALERTS/1772366400.%06d", 3+i); err != nil || got != want {
			t.Errorf("%q, %v, want %s", got, err, want)
		}
	}
	// A reference that is none.
	for _, first := range []string{"", "req-1", "C0ALERTS", "C0ALERTS/1/2", "<!channel>/1.1"} {
		if _, err := s.Follow(t.Context(), changed, first); err != nil {
			t.Errorf("%q: %v", first, err)
		}
	}
	for _, p := range api.Messages()[2:] {
		if p.Thread != "" {
			t.Errorf("%s is a reply to %s, which is not there", p.TS, p.Thread)
		}
	}
}

// TestSlackBotHostile: whatever is in a notification, Slack takes it as a
// message, a reply and an update, and does nothing because of it.
func TestSlackBotHostile(t *testing.T) {
	api := sinkstest.NewSlackAPI(t)
	s := slackBotAt(t, api.URL)
	for i, n := range sinkstest.Hostile() {
		first, err := s.Send(t.Context(), n)
		if err != nil {
			t.Fatalf("%d: %v", i, err)
		}
		for _, status := range []string{"firing", "resolved"} {
			n.Status = status
			if _, err := s.Follow(t.Context(), n, first); err != nil {
				t.Fatalf("%d: %v", i, err)
			}
		}
	}
	for _, m := range api.Messages() {
		if len(m.Commands) > 0 {
			t.Errorf("commands: %.200q", m.Commands)
		}
		sinkstest.Visible(t, []byte(strings.Join(m.Texts, "\n")))
		var got struct{ Attachments []slack.Attachment }
		if err := json.Unmarshal(m.Body, &got); err != nil {
			t.Fatal(err)
		}
		for _, b := range got.Attachments[0].Blocks.BlockSet {
			if _, unknown := b.(*slack.UnknownBlock); unknown {
				t.Errorf("slack-go does not know the block %+v", b)
			}
		}
	}
}

// TestSlackBotAnswers are those that Slack gives with status 200.
func TestSlackBotAnswers(t *testing.T) {
	no := func(code string) string { return `{"ok":false,"error":"` + code + `"}` }
	for _, c := range []struct {
		body                 string
		permanent, ambiguous bool
		text                 string
	}{
		{no("ratelimited"), false, false, "refused: status 200, ratelimited"},
		{no("service_unavailable"), false, false, "refused: status 200, service_unavailable"},
		{no("internal_error"), false, true, "refused: status 200, internal_error"},
		{no("fatal_error"), false, true, "refused: status 200, fatal_error"},
		{no("channel_not_found"), true, false, "refused: status 200, channel_not_found"},
		{no("not_in_channel"), true, false, "refused: status 200, not_in_channel"},
		{no("invalid_auth"), true, false, "refused: status 200, invalid_auth"},
		{no("msg_too_long"), true, false, "refused: status 200, msg_too_long"},
		{no("see " + sinkstest.SlackToken), true, false, "refused: status 200"},
		{`{}`, false, true, "an answer that is not Slack's: status 200"},
		{`<html>proxy</html>`, false, true, "an answer that is not Slack's: status 200"},
	} {
		api := sinkstest.NewSlackAPI(t)
		api.Answer = func(int) (int, string, string) { return 200, "7", c.body }
		s := slackBotAt(t, api.URL)
		for name, send := range map[string]func() (string, error){
			"send":   func() (string, error) { return s.Send(t.Context(), sinkstest.Notification()) },
			"follow": func() (string, error) { return s.Follow(t.Context(), sinkstest.Notification(), "C0ALERTS/1.1") },
		} {
			_, err := send()
			var e *sinks.SendError
			if !errors.As(err, &e) || e.Permanent() != c.permanent || e.Ambiguous() != c.ambiguous || e.Error() != c.text {
				t.Errorf("%s, %s: %v, permanent %v, ambiguous %v", name, c.body, err, e.Permanent(), e.Ambiguous())
			}
			if want := 7 * time.Second; !c.permanent && !c.ambiguous && e.RetryAfter() != want {
				t.Errorf("%s, %s: again after %v, want %v", name, c.body, e.RetryAfter(), want)
			}
			sinkstest.NoSecret(t, sinkstest.SlackToken, err, s)
		}
	}
	// Slack's own refusal of a token and of a channel.
	api := sinkstest.NewSlackAPI(t)
	for options, want := range map[string]string{
		"{bot_token: xoxb-other, channel: C0ALERTS, api_url: %q}":                  "refused: status 200, invalid_auth",
		"{bot_token: " + sinkstest.SlackToken + ", channel: C0OTHER, api_url: %q}": "refused: status 200, channel_not_found",
	} {
		if _, err := build(t, "slack", fmt.Sprintf(options, api.URL), sinks.Env{}).Send(t.Context(), sinkstest.Notification()); err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

func TestSlackBotOptions(t *testing.T) {
	for _, c := range []struct {
		options string
		env     map[string]string
		off     bool
		fault   string
	}{
		{options: "channel: C0ALERTS", off: true},
		{options: "channel: C0ALERTS", env: map[string]string{"SLACK_BOT_TOKEN": "xoxb-1"}},
		{options: "channel: C0ALERTS", env: map[string]string{"SLACK_BOT_TOKEN": "xoxb-1", "SLACK_WEBHOOK_URL": "https://hooks.example.com/x"}},
		{options: "bot_token: xoxb-xyzzySECRET", fault: "channel: give the channel's ID"},
		{options: "{bot_token: xoxb-xyzzySECRET, channel: '<!channel>'}", fault: "channel: give the channel's ID"},
		{options: `{bot_token: "xyzzySECRET\nx", channel: C0ALERTS}`, fault: "bot_token: not the value of a header"},
		{options: "{bot_token: xoxb-xyzzySECRET, channel: C0ALERTS, webhook_url: https://hooks.example.com/x}", fault: "webhook_url and bot_token with channel: give one of the two"},
		{options: "{bot_token: xoxb-xyzzySECRET, channel: C0ALERTS, api_url: http://slack.example.com}", fault: "api_url: use https"},
	} {
		s, err := open("slack", c.options, sinks.Env{Getenv: func(name string) string { return c.env[name] }})
		sinkstest.NoSecret(t, "xyzzySECRET", err, s)
		if c.fault != "" {
			if err == nil || !strings.Contains(err.Error(), c.fault) {
				t.Errorf("%s: %v, want %s", c.options, err, c.fault)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.options, err)
			continue
		}
		if reason, off := s.Off(); off != c.off || off != (reason != "") {
			t.Errorf("%s: off %v, %q", c.options, off, reason)
		}
	}
}
