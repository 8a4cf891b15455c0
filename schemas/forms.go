package schemas

import (
	"encoding/base64"
	"regexp"
	"strings"
)

// form is the look of a kind of secret.
type form struct {
	hint    string         // text without it cannot have the form, so most text is never matched
	pattern *regexp.Regexp // the secret is the group, or all of it if there is none
	is      func(string) bool
}

var secretForms = []form{
	{hint: "PRIVATE KEY", pattern: regexp.MustCompile(`-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----(?s:.*?)(?:-----END [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----|$)`)},
	{hint: "eyJ", pattern: regexp.MustCompile(`\beyJ[A-Za-z0-9_-]{6,}\.[A-Za-z0-9_-]{4,}(?:\.[A-Za-z0-9_-]*){0,3}`)},
	{hint: "earer", pattern: regexp.MustCompile(`\b[Bb]earer[ :=]+["']?([A-Za-z0-9._~+/-]+=*)`), is: notWord},
	{hint: "asic", pattern: regexp.MustCompile(`\b[Bb]asic +([A-Za-z0-9+/]{4,}={0,2})`), is: isBasic},
	{hint: "A", pattern: regexp.MustCompile(`\b(?:AKIA|ASIA)[A-Z0-9]{16}\b`)},
	{hint: "gh", pattern: regexp.MustCompile(`\bgh[pousr]_[A-Za-z0-9]{20,}`)},
	{hint: "github_pat_", pattern: regexp.MustCompile(`\bgithub_pat_[A-Za-z0-9_]{20,}`)},
	{hint: "glpat-", pattern: regexp.MustCompile(`\bglpat-[A-Za-z0-9_-]{16,}`)},
	{hint: "xox", pattern: regexp.MustCompile(`\bxox[a-z]-[A-Za-z0-9-]{10,}`)},
	{hint: "xapp-", pattern: regexp.MustCompile(`\bxapp-[A-Za-z0-9-]{10,}`)},
	{hint: "hooks.slack.com/", pattern: regexp.MustCompile(`hooks\.slack\.com/[a-z]+/([A-Za-z0-9/_-]+)`)},
	{hint: "k_", pattern: regexp.MustCompile(`\b[sr]k_(?:live|test)_[A-Za-z0-9]{10,}`)},
	{hint: "AIza", pattern: regexp.MustCompile(`\bAIza[A-Za-z0-9_-]{30,}`)},
	{hint: "://", pattern: regexp.MustCompile(`\b[A-Za-z][A-Za-z0-9+.-]*://[^\s/?#:@"']*:([^\s/?#"']+)@`), is: notRedacted},
}

// notWord tells a token from the next word of a sentence ("bearer token is ...").
func notWord(s string) bool {
	return len(s) >= 16 || strings.ContainsFunc(s, func(r rune) bool { return r < 'a' || r > 'z' })
}

// isBasic tells whether text is user:password in base64.
func isBasic(s string) bool {
	b, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(s, "="))
	return err == nil && strings.Contains(string(b), ":")
}

func notRedacted(s string) bool { return s != Redacted }

// forms replaces secrets in a text by their form, and by the name before them.
func (r *redactor) forms(s string) string {
	for _, f := range secretForms {
		if strings.Contains(s, f.hint) {
			s = r.form(s, f)
		}
	}
	return r.named(s)
}

func (r *redactor) form(s string, f form) string {
	var out []byte
	from := 0
	for _, m := range f.pattern.FindAllStringSubmatchIndex(s, -1) {
		m = m[len(m)-2:]
		if f.is != nil && !f.is(s[m[0]:m[1]]) {
			continue
		}
		out = append(append(out, s[from:m[0]]...), r.redact()...)
		from = m[1]
	}
	if from == 0 {
		return s
	}
	return string(append(out, s[from:]...))
}

// named replaces the values in name=value, "name": value, 'name': value and,
// where the name can mean nothing else, name: value.
func (r *redactor) named(s string) string {
	var out []byte
	from := 0
	for i := 0; i < len(s); i++ {
		if s[i] != '=' && s[i] != ':' {
			continue
		}
		if strings.HasPrefix(s[i:], "==") {
			i++
			continue
		}
		name, quoted := nameBefore(s[from:i])
		secrecy := secretName(name)
		if secrecy == notSecret || s[i] == ':' && !quoted && secrecy != secretAlways {
			continue
		}
		start, end := valueAfter(s, i+1, takesLine(name) && !quoted)
		if !hidesText(secrecy, s[start:end]) {
			continue
		}
		out = append(append(out, s[from:start]...), r.redact()...)
		from = end
		i = end - 1
	}
	if from == 0 {
		return s
	}
	return string(append(out, s[from:]...))
}

// nameBefore is the name at the end of s, and whether it is in quotes, which may
// be escaped.
func nameBefore(s string) (name string, quoted bool) {
	s = strings.TrimSuffix(s, " ")
	if n := len(s); n > 0 && (s[n-1] == '"' || s[n-1] == '\'') {
		quoted = true
		s = strings.TrimSuffix(s[:n-1], `\`)
	}
	start := len(s)
	for start > 0 && len(s)-start <= nameBytes && (isWord(s[start-1]) || s[start-1] == '.') {
		start--
	}
	return s[start:], quoted
}

// takesLine tells names whose values have blanks in them: headers of HTTP.
func takesLine(name string) bool {
	name = strings.ToLower(name)
	return strings.HasSuffix(name, "authorization") || strings.HasSuffix(name, "cookie")
}

// valueAfter is where the value from i on begins and ends: in quotes, or to the
// next delimiter, or to the end of the line.
func valueAfter(s string, i int, line bool) (start, end int) {
	for i < len(s) && s[i] == ' ' {
		i++
	}
	if line {
		if n := strings.IndexAny(s[i:], "\r\n\"'"); n >= 0 {
			return i, i + n
		}
		return i, len(s)
	}
	if strings.HasPrefix(s[i:], `b'`) || strings.HasPrefix(s[i:], `b"`) {
		i++
	}
	escaped := strings.HasPrefix(s[i:], `\`)
	if escaped {
		i++
	}
	switch {
	case i >= len(s):
		return i, i
	case s[i] == '"' || s[i] == '\'':
		return i + 1, closing(s, i+1, s[i], escaped)
	case (s[i] == '{' || s[i] == '[') && !strings.HasPrefix(s[i:], Redacted):
		return i, len(s)
	}
	if n := strings.IndexAny(s[i:], " \t\r\n&;,\"')]}<>|"); n >= 0 {
		return i, i + n
	}
	return i, len(s)
}

// closing is where the text in quotes that begins at i ends; it may be cut off.
func closing(s string, i int, quote byte, escaped bool) int {
	for ; i < len(s); i++ {
		switch {
		case s[i] == quote:
			return i
		case s[i] == '\\' && escaped && i+1 < len(s) && s[i+1] == quote:
			return i
		case s[i] == '\\':
			i++
		}
	}
	return len(s)
}

// hidesText is hides for a value in a text.
func hidesText(s secrecy, v string) bool {
	switch strings.ToLower(v) {
	case "", "true", "false", "null", "none", "nil", "[redacted":
		return false
	}
	return v != Redacted && (s == secretAlways || strings.Trim(v, "0123456789.") != "")
}
