package schemas

import (
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// Redacted stands where a secret was.
const Redacted = "[redacted]"

// Redact replaces secrets in an event by Redacted and returns how many. It works
// in place and is meant to run before anything is stored. Replaced are
//
//   - in attributes and details, at any depth, the values of names that
//     SecretName knows: strings, objects and arrays always, numbers unless
//     the name may mean a count, booleans and null never;
//   - in every text (attributes, details, message, error, user, action,
//     resource) the forms of secrets: a JSON web token, what follows Bearer or
//     Basic, key ids of AWS, tokens of GitHub, GitLab, Slack, Stripe and Google, a
//     private key in PEM, the password of a URL, and the value in name=value or
//     "name": value where SecretName knows the name;
//   - in a text that is itself a JSON object or array, the same.
//
// It finds what looks like a secret. It is no leave to log them.
func Redact(e *Event) int {
	var r redactor
	for _, s := range []*string{&e.Message, &e.User, &e.Action, &e.Resource} {
		*s = r.text(*s)
	}
	if e.Error != nil {
		for _, s := range []*string{&e.Error.Type, &e.Error.Message, &e.Error.Stack} {
			*s = r.text(*s)
		}
	}
	r.members(e.Attributes, 0)
	r.members(e.Details, 0)
	return r.n
}

// redactor counts what it replaced.
type redactor struct{ n int }

func (r *redactor) redact() string {
	r.n++
	return Redacted
}

// members redacts an object in place. What is nested deeper than an event may be
// cannot be sent, so it is left alone.
func (r *redactor) members(m map[string]any, depth int) {
	for name, v := range m {
		if s := secretName(name); s != notSecret && hides(s, v) {
			m[name] = r.redact()
			continue
		}
		m[name] = r.value(v, depth)
	}
}

// hides tells whether a value under a secret name is one.
func hides(s secrecy, v any) bool {
	switch v := v.(type) {
	case nil, bool:
		return false
	case string:
		return v != "" && v != Redacted
	case map[string]any, []any:
		return true
	}
	return s == secretAlways
}

func (r *redactor) value(v any, depth int) any {
	if depth > maxDepth {
		return v
	}
	switch v := v.(type) {
	case string:
		before := r.n
		if s := r.text(v); r.n > before {
			return s
		}
	case map[string]any:
		r.members(v, depth+1)
	case []any:
		for i := range v {
			v[i] = r.value(v[i], depth+1)
		}
	}
	return v
}

// text redacts a string. JSON inside JSON inside JSON comes to an end soon, since
// each level doubles the backslashes of the next.
func (r *redactor) text(s string) string {
	if len(s) < 4 {
		return s
	}
	if c := strings.TrimLeft(s, " \t\r\n"); c != "" && (c[0] == '{' || c[0] == '[') && jsontext.Value(s).IsValid() {
		if inner, ok := r.json(s); ok {
			return inner
		}
	}
	return r.forms(s)
}

// json redacts JSON text, which is written anew if anything was replaced.
func (r *redactor) json(s string) (string, bool) {
	w := newWalker([]byte(s))
	w.skipSpace()
	v, err := w.value(0)
	if err != nil {
		return "", false // too deep, or numbers that are none: as plain text
	}
	before := r.n
	v = r.value(v, 0)
	if r.n == before {
		return s, true
	}
	var out writer
	if err := out.value(v, 0); err != nil {
		return r.redact(), true
	}
	return string(out.b), true
}
