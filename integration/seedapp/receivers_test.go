package seedapp_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/integration/reference"
	"github.com/dermai/millrace/internal/testenv"
	"github.com/dermai/millrace/schemas"
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
	return head + more + "route:" + route + "  group_interval: 1s\n"
}

// sent is every message that each receiver got, all of its bytes. What the
// outbox shows of mail and of Sentry stands beside it.
func (d *deployment) sent() map[string][]string {
	r, got := d.receivers, map[string][]string{}
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
	for m := range strings.SplitSeq(d.processor.Stdout(), "\n20") { // each begins with its time
		if strings.TrimSpace(m) != "" {
			got["terminal"] = append(got["terminal"], m)
		}
	}
	for name, file := range map[string]string{"outbox": "slack.json", "outbox mail": "email.eml", "outbox sentry": "sentry.json"} {
		files, err := filepath.Glob(filepath.Join(d.dir, "data/outbox/outbox/[0-9a-f]*", file)) // others are not whole yet
		if err != nil {
			d.t.Fatal(err)
		}
		for _, f := range files {
			text, err := os.ReadFile(f)
			if err != nil {
				d.t.Fatal(err)
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

// message is one that a receiver got, and what it tells: "firing HighCPU".
type message struct {
	id   string
	told []string
}

// messages are those that were delivered, by receiver. What a message tells is in
// NOTIFY, from the sequences that its record in DELIVERIES names: those of a digest
// are several.
func (d *deployment) messages() (map[string][]message, error) {
	ctx := d.t.Context()
	type planned struct {
		seq  uint64
		tell string
	}
	plan := map[string][]planned{}
	err1 := reference.Each(ctx, d.log, schemas.StreamNotify, func(e fence.Entry) error {
		var n schemas.Notification
		if e.Header[schemas.HeaderType] != schemas.TypeNotification {
			return nil
		}
		if err := schemas.DecodeInto(e.Data, &n); err != nil {
			return err
		}
		for _, a := range n.Alerts {
			plan[n.Receiver] = append(plan[n.Receiver], planned{e.Seq, a.Status + " " + a.Rule})
		}
		return nil
	})
	got := map[string][]message{}
	err2 := reference.Each(ctx, d.log, schemas.StreamDeliveries, func(e fence.Entry) error {
		var attempt schemas.Delivery
		if e.Header[schemas.HeaderType] != schemas.TypeDelivery {
			return nil
		}
		if err := schemas.DecodeInto(e.Data, &attempt); err != nil {
			return err
		}
		if len(attempt.Sent) > 5 {
			return fmt.Errorf("%s: %d messages in a minute", e.Subject, len(attempt.Sent))
		}
		switch attempt.Outcome {
		case schemas.DeliveryStarted:
		case schemas.DeliveryDelivered:
			receiver := strings.TrimPrefix(e.Subject, "deliveries.")
			m := message{id: attempt.Notification}
			for _, p := range plan[receiver] {
				if p.seq == attempt.Seq || p.seq < attempt.Seq && attempt.From != 0 && p.seq >= attempt.From {
					m.told = append(m.told, p.tell)
				}
			}
			got[receiver] = append(got[receiver], m)
		default:
			return fmt.Errorf("%s: %s: %s", e.Subject, attempt.Outcome, attempt.Detail)
		}
		return nil
	})
	return got, errors.Join(err1, err2)
}

// told waits until every receiver was told that each alert fires and that it ended,
// once, within the five messages a minute that are the default: what there is no
// room for comes in a digest, so that which message tells what differs from run to
// run. Then it holds what arrived against that.
func (d *deployment) told() {
	t := d.t
	t.Helper()
	var want []string
	for _, a := range alerts {
		want = append(want, "firing "+a, "resolved "+a)
	}
	slices.Sort(want)
	var messages map[string][]message
	testenv.Eventually(t, "every receiver is told", func() (err error) {
		messages, err = d.messages()
		for _, r := range named {
			var got []string
			for _, m := range messages[r] {
				got = append(got, m.told...)
			}
			slices.Sort(got)
			if diff := cmp.Diff(want, got); diff != "" {
				err = errors.Join(err, fmt.Errorf("%s (-want +got):\n%s", r, diff))
			}
		}
		return err
	})
	sent := d.sent()
	for _, r := range named {
		if len(sent[r]) != len(messages[r]) {
			t.Errorf("%s got %d messages, %d are recorded", r, len(sent[r]), len(messages[r]))
		}
		for _, m := range messages[r] {
			arrived(t, r, sent[r], m)
		}
		t.Logf("%s: %d alerts in %d messages", r, len(want), len(messages[r]))
	}
}

// arrived: one of the texts that a receiver got is the message. It names every
// alert with what became of it last.
func arrived(t *testing.T, receiver string, texts []string, m message) {
	t.Helper()
	i := slices.IndexFunc(texts, func(text string) bool { return strings.Contains(text, m.id) })
	if i < 0 {
		t.Errorf("%s did not get %s, which tells %v", receiver, m.id, m.told)
		return
	}
	last := map[string]string{}
	for _, tell := range m.told {
		status, alert, _ := strings.Cut(tell, " ")
		last[alert] = status
	}
	count := map[string]int{}
	want := []string{}
	for alert, status := range last {
		count[status]++
		want = append(want, fmt.Sprintf("[%s] %s", strings.ToUpper(status), alert))
	}
	if len(m.told) > 1 {
		want = append(slices.Sorted(maps.Keys(last)), fmt.Sprintf("[DIGEST] %d alerts fire, %d ended", count["firing"], count["resolved"]))
	}
	for _, w := range want {
		if !strings.Contains(texts[i], w) {
			t.Errorf("%s is not told %q:\n%s", receiver, w, texts[i])
		}
	}
}

// discreet: no byte that a receiver or Sentry got tells of a patient, nor do the
// daemons' logs and metrics. The files of the other sinks stay in the house.
func (d *deployment) discreet() {
	texts := d.sent()
	for _, q := range d.sinks.sentry.Requests() {
		texts["the errors in Sentry"] = append(texts["the errors in Sentry"], string(q.Body))
	}
	for _, p := range d.daemons {
		metrics, err := testenv.Get("http://" + p.HTTP + "/metrics")
		if err != nil {
			d.t.Error(err)
		}
		name := filepath.Base(p.Path)
		texts[name] = []string{string(metrics), p.Stderr()}
	}
	for name, list := range texts {
		for _, text := range list {
			for _, p := range patient {
				if strings.Contains(text, p) {
					d.t.Errorf("%s tells of %q:\n%s", name, p, text)
				}
			}
		}
	}
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
