package sinkstest

import (
	"fmt"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/dermai/millrace/schemas"
)

// hostile is text that wants to be more than text somewhere.
var hostile = []string{
	"<!channel>", "<!here|here>", "<@U012AB3CD>", "<http://evil.example|bank>", "<https://evil.example>", "&lt;!channel&gt;",
	"```\ncode\n```", "*bold* _it_ ~no~ `code`", "> quote", ":fire:", "@channel @here #general",
	"\x1b[2J\x1b[31mred\x1b]0;title\x07", "\x00\x01\x7f\u0085", "\u202egpj.exe\u2066x\u2069", "\u200b\u200e\ufeff",
	"line\r\nBcc: all@example.com\r\n\r\nbody", "\n\n\n", "../../../../etc/passwd", "$(reboot) `reboot`", "{{ .Secret }} %s%n ${jndi:ldap://x}",
	"<script>alert(1)</script>", "'; DROP TABLE alerts; --", "\xff\xfe\xc3\x28", "=?utf-8?q?x?=", "", " ",
	strings.Repeat("ä", 1<<19), // a megabyte
	strings.Repeat("&<>", 5000),
}

// Hostile gives notifications that hold text which wants to be more than text in
// every place where text of events may stand.
func Hostile() []schemas.Notification {
	out := make([]schemas.Notification, 0, len(hostile)+1)
	for i, s := range hostile {
		n := Notification()
		n.ID = fmt.Sprintf("%032x", i+1)
		n.Alerts[0] = infect(n.Alerts[0], s)
		out = append(out, n)
	}
	// As many alerts as there may be, with as much in them.
	n := Notification()
	n.ID, n.Truncated = fmt.Sprintf("%032x", 1<<20), 12345
	long := strings.Repeat("<&>ä", 250)
	for range 50 {
		a := infect(Notification().Alerts[0], long)
		for i := range 30 {
			a.Labels[fmt.Sprint("l", i)] = long
			a.Annotations[fmt.Sprint("a", i)] = long
		}
		for len(a.Evidence) < schemas.EvidenceLimit {
			a.Evidence = append(a.Evidence, a.Evidence[0])
		}
		n.Alerts = append(n.Alerts, a)
	}
	return append(out, n)
}

func infect(a schemas.Alert, s string) schemas.Alert {
	a.Alert, a.Why = "R{service="+s+"}", s
	a.Labels = map[string]string{"service": s, "severity": s, "name" + s: "x"}
	a.Annotations = map[string]string{"summary": s, "more": s}
	a.Evidence = []schemas.Evidence{{ID: s, Trace: s, Fields: map[string]string{"path": s, s: "x"}}}
	return a
}

// Visible checks that a text hides nothing from who reads it, and gives its
// terminal no commands. Line ends are fine.
func Visible(t *testing.T, text []byte) {
	t.Helper()
	if !utf8.Valid(text) {
		t.Errorf("not UTF-8: %.100q", text)
	}
	for i, r := range string(text) {
		if r != '\n' && r != '\r' && !unicode.IsPrint(r) {
			t.Errorf("%U at %d: %q", r, i, text[max(0, i-20):min(len(text), i+20)])
			return
		}
	}
}
