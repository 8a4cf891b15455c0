package secret

import (
	"fmt"
	"io"
	"net/url"
	"strings"
)

// URL is one URL, or several with commas between them, that may carry a user's
// name, a password or a token. It shows scheme, host and path only.
type URL struct{ text Text }

// NewURL keeps the URLs in s.
func NewURL(s string) URL { return URL{New(s)} }

// Reveal returns the URLs with their secrets, "" if none is set.
func (u URL) Reveal() string { return u.text.Reveal() }

// IsZero tells that no URL is set.
func (u URL) IsZero() bool { return u.text.IsZero() }

// Equal tells that both hold the same URLs.
func (u URL) Equal(v URL) bool { return u.text.Equal(v.text) }

// String is the URLs without what may be secret in them.
func (u URL) String() string {
	if u.IsZero() {
		return ""
	}
	parts := strings.Split(u.Reveal(), ",")
	for i, part := range parts {
		parts[i] = public(strings.TrimSpace(part))
	}
	return strings.Join(parts, ",")
}

func public(s string) string {
	parsed, err := url.Parse(s)
	if err != nil || parsed.Host == "" {
		return Redacted
	}
	shown := url.URL{Scheme: parsed.Scheme, Host: parsed.Host, Path: parsed.Path}
	if parsed.User != nil || parsed.RawQuery != "" || parsed.Fragment != "" {
		return shown.Scheme + "://" + Redacted + "@" + shown.Host + shown.EscapedPath()
	}
	return shown.String()
}

// Format prints String for every verb.
func (u URL) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, u.String()) }

// MarshalText writes String.
func (u URL) MarshalText() ([]byte, error) { return []byte(u.String()), nil }

// UnmarshalText reads URLs. It refuses a URL that was shown without its secret.
func (u *URL) UnmarshalText(b []byte) error {
	if strings.Contains(string(b), Redacted) {
		return fmt.Errorf("%s stands for a secret: give the URL with the secret", Redacted)
	}
	*u = NewURL(string(b))
	return nil
}
