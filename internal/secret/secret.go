// Package secret holds what must never be shown.
//
// The invariant: no verb of fmt, no encoder and no logger prints the value of a
// Text, also not from inside another struct. Only Reveal gives it, and callers
// hand that straight to the client that needs it.
package secret

import (
	"fmt"
	"io"
)

// Redacted is what stands in place of a secret.
const Redacted = "[redacted]"

// Text is a secret string. The zero value is "not set". It is immutable.
type Text struct {
	// A pointer, since fmt does not ask the methods of values in unexported
	// fields, but prints no memory behind a nested pointer.
	value *string
}

// New keeps s. An empty s is "not set".
func New(s string) Text {
	if s == "" {
		return Text{}
	}
	return Text{&s}
}

// Reveal returns the secret itself, "" if it is not set.
func (t Text) Reveal() string {
	if t.value == nil {
		return ""
	}
	return *t.value
}

// IsZero tells that no secret is set.
func (t Text) IsZero() bool { return t.value == nil }

// Equal tells that both hold the same secret.
func (t Text) Equal(u Text) bool { return t.Reveal() == u.Reveal() }

// String is Redacted, or "" if nothing is set.
func (t Text) String() string {
	if t.IsZero() {
		return ""
	}
	return Redacted
}

// Format prints String for every verb.
func (t Text) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, t.String()) }

// MarshalText writes String: a secret survives no round trip.
func (t Text) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText reads a secret. It refuses Redacted, which is never one.
func (t *Text) UnmarshalText(b []byte) error {
	if string(b) == Redacted {
		return fmt.Errorf("%s is what a secret is shown as: give the secret itself", Redacted)
	}
	*t = New(string(b))
	return nil
}
