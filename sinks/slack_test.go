package sinks_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/dermai/millrace/notify"
	"github.com/dermai/millrace/schemas"
	"github.com/dermai/millrace/sinks"
	"github.com/dermai/millrace/sinks/sinkstest"
)

func slackAt(t *testing.T, url string) sinks.Sink {
	return build(t, "slack", "webhook_url: "+url, sinks.Env{})
}

func TestSlackConformance(t *testing.T) {
	sinkstest.HTTP(t, func(t *testing.T, url string, timeout time.Duration, now func() time.Time) notify.Receiver {
		return build(t, "slack", fmt.Sprintf("{webhook_url: %q, timeout: %v}", url, timeout), sinks.Env{Now: now})
	})
}

func TestSlackGolden(t *testing.T) {
	stub := sinkstest.NewSlack(t)
	s := slackAt(t, stub.URL)
	for i, n := range []schemas.Notification{sinkstest.Notification(), sinkstest.Resolved(), sinkstest.Digest()} {
		reference, err := s.Send(t.Context(), n)
		if err != nil || reference != "req-"+n.ID[:8] {
			t.Fatalf("%q, %v", reference, err)
		}
		m := stub.Messages()[i]
		golden(t, []string{"slack_firing.json", "slack_resolved.json", "slack_digest.json"}[i], m.Body)
		if len(m.Commands) > 0 {
			t.Errorf("commands: %q", m.Commands)
		}
	}
}

// TestSlackHostile: whatever is in a notification, Slack takes the message and
// does nothing because of it.
func TestSlackHostile(t *testing.T) {
	stub := sinkstest.NewSlack(t)
	s := slackAt(t, stub.URL)
	for i, n := range sinkstest.Hostile() {
		if _, err := s.Send(t.Context(), n); err != nil {
			t.Fatalf("%d: %v", i, err)
		}
		m := stub.Messages()[i]
		if len(m.Commands) > 0 {
			t.Errorf("%d: commands: %.200q", i, m.Commands)
		}
		all := strings.Join(m.Texts, "\n")
		sinkstest.Visible(t, []byte(all))
		if !strings.Contains(all, n.ID) {
			t.Errorf("%d: the id is not in the message", i)
		}
		if len(m.Body) > 100_000 {
			t.Errorf("%d: %d bytes", i, len(m.Body))
		}
		long := len(n.Alerts[0].Annotations["summary"]) > 2000
		if long != strings.Contains(all, "… (cut)") && n.Truncated == 0 {
			t.Errorf("%d: cut or not, and does not say so", i)
		}
		shown := 0
		for _, text := range m.Texts {
			if strings.HasPrefix(text, "FIRING ") {
				shown++
			}
		}
		if more := len(n.Alerts) + n.Truncated - shown; shown == 0 || more > 0 && !strings.Contains(all, fmt.Sprintf("and %d more", more)) {
			t.Errorf("%d: shows %d, and does not say that there are %d more", i, shown, more)
		}
	}
	// What is harmless is shown as it is.
	n := sinkstest.Notification()
	n.Alerts[0].Annotations["summary"] = "a < b && c > d &lt; größer als 5 % 🚒"
	if _, err := s.Send(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	m := stub.Messages()
	if all := strings.Join(m[len(m)-1].Texts, "\n"); !strings.Contains(all, n.Alerts[0].Annotations["summary"]) {
		t.Errorf("the summary is not in %q", all)
	}
}

// TestSlackCutsOnTheEdge sends every length around the limits.
func TestSlackCutsOnTheEdge(t *testing.T) {
	stub := sinkstest.NewSlack(t)
	s := slackAt(t, stub.URL)
	for _, unit := range []string{"x", "ä", "🚒", "&", "<a>"} {
		for _, size := range []int{120, 130, 140, 148, 149, 150, 151, 190, 199, 200, 201, 290, 299, 300, 301, 1490, 1499, 1500, 1501, 3000} {
			n := sinkstest.Notification()
			text := strings.Repeat(unit, size/len([]rune(unit)))
			a := &n.Alerts[0]
			a.Rule, a.Labels["service"], a.Annotations["summary"], a.Evidence[0].ID = text, text, text, text
			if _, err := s.Send(t.Context(), n); err != nil {
				t.Errorf("%d of %s: %v", size, unit, err)
			}
		}
	}
}

func TestSlackColors(t *testing.T) {
	stub := sinkstest.NewSlack(t)
	s := slackAt(t, stub.URL)
	for _, c := range []struct{ status, severity, want string }{
		{"firing", "critical", "#e01e5a"}, {"firing", "error", "#e01e5a"}, {"firing", "warning", "#ecb22e"},
		{"firing", "info", "#36c5f0"}, {"firing", "<b>", "#ecb22e"}, {"resolved", "critical", "#2eb67d"},
	} {
		n := sinkstest.Notification()
		n.Status, n.Alerts[0].Status, n.Alerts[0].Labels["severity"] = c.status, c.status, c.severity
		// The worst of those that fire counts, not the worst that ended.
		ended := sinkstest.Resolved().Alerts[0]
		n.Alerts = append(n.Alerts, ended)
		if _, err := s.Send(t.Context(), n); err != nil {
			t.Fatal(err)
		}
		m := stub.Messages()
		if got := m[len(m)-1].Color; got != c.want {
			t.Errorf("%s %s has the color %s, want %s", c.status, c.severity, got, c.want)
		}
	}
}

// TestSlackAnswers are those that Slack has words for.
func TestSlackAnswers(t *testing.T) {
	for _, c := range []struct {
		status    int
		body      string
		permanent bool
		text      string
	}{
		{404, "no_service", true, "refused: status 404, no_service"},
		{400, "invalid_payload", true, "refused: status 400, invalid_payload"},
		{410, "channel_is_archived", true, "refused: status 410, channel_is_archived"},
		{403, "action_prohibited", true, "refused: status 403, action_prohibited"},
		{500, "no_service", true, "the receiver is in trouble: status 500, no_service"},
		{500, "rollup_error", false, "the receiver is in trouble: status 500, rollup_error"},
		{429, "rate_limited", false, "asked to wait: status 429, rate_limited"},
		{200, `{"ok":false,"error":"invalid_blocks"}`, true, "refused: status 200, invalid_blocks"},
		{200, `{"ok":false,"error":"ratelimited"}`, false, "refused: status 200, ratelimited"},
		{200, `{"ok":false,"error":"see https://hooks.example/T0SECRET"}`, true, "refused: status 200"},
		{404, "no route for T0SECRET/B0SECRET/xyzzySECRET", true, "refused: status 404"},
	} {
		stub := sinkstest.NewSlack(t)
		stub.Answer = func(int) (int, string, string) { return c.status, "", c.body }
		_, err := slackAt(t, stub.URL).Send(t.Context(), sinkstest.Notification())
		var e *sinks.SendError
		if !errors.As(err, &e) || e.Permanent() != c.permanent || e.Error() != c.text || e.Ambiguous() {
			t.Errorf("%d %s: %v, permanent %v; want %s, %v", c.status, c.body, err, e.Permanent(), c.text, c.permanent)
		}
	}
}

// TestSlackAddresses tries to reach what is not public.
func TestSlackAddresses(t *testing.T) {
	for _, host := range []string{
		"10.0.0.1", "10.255.255.255", "172.16.0.1", "172.31.9.9", "192.168.1.1", "169.254.169.254", "169.254.0.1",
		"100.64.0.1", "100.127.255.255", "0.0.0.0", "0.1.2.3", "192.0.0.8", "198.18.0.1", "198.19.255.255", "224.0.0.1", "239.1.1.1",
		"240.0.0.1", "255.255.255.255", "[::]", "[fe80::1]", "[fe80::1%25lo]", "[fc00::1]", "[fd12:3456::1]", "[ff02::1]", "[fec0::1]",
		"[::ffff:10.0.0.1]", "[::ffff:169.254.169.254]", "[::ffff:a9fe:a9fe]", "[::10.0.0.1]", "[64:ff9b::a00:1]", "[64:ff9b:1::1]",
		"[2002:a00:1::1]", "[2002:a9fe:a9fe::]", "[2001::1]",
	} {
		for _, port := range []string{"", ":8443"} {
			s := slackAt(t, `"https://`+host+port+`/services/SECRET"`)
			_, err := s.Send(t.Context(), sinkstest.Notification())
			var e *sinks.SendError
			if !errors.As(err, &e) || e.Ambiguous() || !strings.Contains(e.Error(), "not allowed") {
				t.Errorf("%s%s: %v, want that the address is not allowed", host, port, err)
			}
			sinkstest.NoSecret(t, "SECRET", err)
		}
	}
	// Spellings of an address that are none, and lead nowhere.
	for _, host := range []string{"2130706433", "0x7f000001", "017700000001", "127.1", "0177.0.0.1", "localhost.", "LOCALHOST."} {
		if _, err := slackAt(t, `"https://`+host+`/services/SECRET"`).Send(t.Context(), sinkstest.Notification()); err == nil {
			t.Errorf("%s was reached", host)
		}
	}
	// A network that is allowed is reached, and no other.
	for host, want := range map[string]string{"127.0.0.1.": "cannot be resolved", "10.9.8.7": "not allowed"} {
		s := build(t, "slack", `{webhook_url: "https://`+host+`/x", allow_networks: [10.1.0.0/16]}`, sinks.Env{})
		if _, err := s.Send(t.Context(), sinkstest.Notification()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", host, err, want)
		}
	}
}
