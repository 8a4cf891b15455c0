package seedapp_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/dermai/millrace/sinks/sinkstest"
)

// receivers are servers for every type of receiver that there is.
type receivers struct {
	slack  *sinkstest.Slack
	bot    *tape
	mail   *sinkstest.Mail
	hook   *sinkstest.Recorder
	issues *sinkstest.Recorder
}

// named are the receivers by name: those of docs/python.md, and the others.
var named = []string{"terminal", "outbox", "team", "bot", "mail", "hook", "issues"}

func newReceivers(t *testing.T) *receivers {
	r := &receivers{
		slack:  sinkstest.NewSlack(t),
		bot:    &tape{to: sinkstest.NewSlackAPI(t)},
		mail:   sinkstest.NewMail(t, sinkstest.MailConfig{STARTTLS: true}),
		hook:   sinkstest.NewRecorder(t),
		issues: sinkstest.NewRecorder(t),
	}
	server := httptest.NewServer(r.bot)
	t.Cleanup(server.Close)
	r.bot.url = server.URL
	r.issues.Yes = `{}`
	return r
}

// configuration adds the other receivers to the document's, which is otherwise
// as it is, but told of each change at once.
func (r *receivers) configuration(document string) string {
	more := fmt.Sprintf(`
- {name: bot, slack: {bot_token: %s, channel: C0ALERTS, api_url: %s/api}}
- {name: mail, email: {to: [ops@clinic.test], from: millrace@clinic.test, host: %s, port: %d, ca_file: %s, user: %s, password: %s}}
- {name: hook, webhook: {url: %s}}
- {name: issues, sentry: {dsn: %s/42, resolved: true}}
`, sinkstest.SlackToken, r.bot.url, r.mail.Host, r.mail.Port, r.mail.CAFile, r.mail.User, r.mail.Password, r.hook.URL,
		strings.Replace(r.issues.URL, "http://", "http://key@", 1))
	head, route, _ := strings.Cut(document, "\nroute:")
	for _, name := range []string{"bot", "mail", "hook", "issues"} {
		route = strings.Replace(route, "  - {receiver: team", "  - {receiver: "+name+", matchers: ['alertname=~\".+\"'], continue: true}\n  - {receiver: team", 1)
	}
	return strings.ReplaceAll(head+more, "- {name: ", "- {max_per_minute: 0, name: ") + "route:" + route + "  group_interval: 1s\n"
}

// sent is every message that each receiver got, all of its bytes. What the
// outbox shows of mail and of Sentry stands beside it.
func (r *receivers) sent(t *testing.T, dir, stdout string) map[string][]string {
	t.Helper()
	got := map[string][]string{}
	for _, m := range r.slack.Messages() {
		got["team"] = append(got["team"], string(m.Body))
	}
	got["bot"] = r.bot.bodies()
	for _, m := range r.mail.Messages() {
		got["mail"] = append(got["mail"], unfolded(m.Data))
	}
	for _, q := range r.hook.Requests() {
		got["hook"] = append(got["hook"], string(q.Body))
	}
	for _, q := range r.issues.Requests() {
		got["issues"] = append(got["issues"], string(q.Body))
	}
	for m := range strings.SplitSeq(stdout, "\n20") { // each begins with its time
		if strings.TrimSpace(m) != "" {
			got["terminal"] = append(got["terminal"], m)
		}
	}
	for name, file := range map[string]string{"outbox": "slack.json", "outbox mail": "email.eml", "outbox sentry": "sentry.json"} {
		files, err := filepath.Glob(filepath.Join(dir, "data/outbox/outbox/[0-9a-f]*", file)) // others are not whole yet
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			text, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			got[name] = append(got[name], unfolded(text))
		}
	}
	return got
}

// unfolded joins the lines that mail breaks softly.
func unfolded(mail []byte) string {
	return string(bytes.ReplaceAll(mail, []byte("=\r\n"), nil))
}

var headline = regexp.MustCompile(`\[(FIRING|RESOLVED)[^\]]*\] (\w+)`)

// heard counts what a receiver was told: "firing HighCPU".
func heard(t *testing.T, receiver string, messages []string) map[string]int {
	t.Helper()
	got := map[string]int{}
	for _, m := range messages {
		if h := headline.FindStringSubmatch(m); h != nil {
			got[strings.ToLower(h[1])+" "+h[2]]++
		} else {
			t.Errorf("%s: no headline in %q", receiver, m)
		}
	}
	return got
}

// tape keeps what goes to a server.
type tape struct {
	to  http.Handler
	url string
	mu  sync.Mutex
	got []string // guarded by mu
}

func (p *tape) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	body, err := io.ReadAll(q.Body)
	if err != nil {
		return
	}
	p.mu.Lock()
	p.got = append(p.got, string(body))
	p.mu.Unlock()
	q.Body = io.NopCloser(bytes.NewReader(body))
	p.to.ServeHTTP(w, q)
}

func (p *tape) bodies() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.got...)
}
