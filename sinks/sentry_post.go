package sinks

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/getsentry/sentry-go"

	"github.com/dermai/millrace/internal/secret"
)

// sentryProject takes events to a project of Sentry. It stands in for the client
// of sentry-go, which says of no event whether it arrived, drops what comes while
// Sentry asks to wait, and puts the machine's name, its variables and its
// revision into events; from there are the events and the DSN. See
// docs/adr/0010-sentry-without-its-client.md.
type sentryProject struct {
	poster               *Poster
	auth                 secret.Text
	environment, release string
}

// openSentry is nil without a DSN.
func openSentry(o SentryOptions, env Env) (*sentryProject, error) {
	given, err := env.ReadSecret("dsn", secret.New(o.DSN), o.DSNFile, "SENTRY_DSN")
	if err != nil || given.IsZero() {
		return nil, err
	}
	dsn, err := sentry.NewDsn(given.Reveal())
	if err != nil {
		return nil, errors.New("dsn: not a DSN; copy it from the project's client keys") // err would show it
	}
	p, err := NewPoster("dsn", secret.New(dsn.GetAPIURL().String()), o.HTTPOptions, env.Now)
	if err != nil {
		return nil, err
	}
	p.after = func(h http.Header) time.Duration { return sentryAfter(h, env.Now()) }
	auth := "Sentry sentry_version=7, sentry_client=millrace/1, sentry_key=" + dsn.GetPublicKey()
	if s := dsn.GetSecretKey(); s != "" {
		auth += ", sentry_secret=" + s
	}
	if !fieldValue.MatchString(auth) {
		return nil, errors.New("dsn: not a DSN; copy it from the project's client keys")
	}
	return &sentryProject{p, secret.New(auth), o.Environment, o.Release}, nil
}

func (p *sentryProject) off() (reason string, off bool) {
	if p == nil {
		return "no DSN: set dsn_file, or SENTRY_DSN in the environment", true
	}
	return "", false
}

// mark notes where an event is from.
func (p *sentryProject) mark(e *sentry.Event) {
	e.Environment = truncate(printable(p.environment, false), 64)
	e.Release = truncate(printable(p.release, false), sentryTagValue)
}

// send makes one attempt at an event. Its body holds no time of its own, so that
// a second attempt is the same.
func (p *sentryProject) send(ctx context.Context, e *sentry.Event) error {
	event, err := sentryJSON(e)
	if err != nil {
		return &SendError{Reason: "the message cannot be written", Never: true}
	}
	id := string(e.EventID)
	body := bytes.Join([][]byte{
		[]byte(`{"event_id":` + strconv.Quote(id) + `}`),
		[]byte(`{"type":"event","length":` + strconv.Itoa(len(event)) + `}`),
		event, nil,
	}, []byte("\n"))
	_, err = p.poster.Post(ctx, id, "application/x-sentry-envelope", body, http.Header{"X-Sentry-Auth": {p.auth.Reveal()}})
	return err
}

// sentryJSON writes an event so that whoever looks at the bytes sees all of them.
// Exceptions are {"values": [...]}, as Sentry describes them: not everything that
// takes what Sentry takes knows the bare list that sentry-go writes.
func sentryJSON(e *sentry.Event) ([]byte, error) {
	type fields sentry.Event // without the method that writes it
	type values struct {
		Values []sentry.Exception `json:"values"`
	}
	doc := struct {
		*fields
		Exception *values `json:"exception,omitempty"`
	}{fields: (*fields)(e)}
	if len(e.Exception) > 0 {
		doc.Exception = &values{e.Exception}
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(doc)
	return visible(bytes.TrimSuffix(b.Bytes(), []byte("\n"))), err
}

// sentryAfter is how long no error events are wanted: what X-Sentry-Rate-Limits
// says of them, otherwise Retry-After. develop.sentry.dev/sdk/expected-features/rate-limiting
func sentryAfter(h http.Header, now time.Time) time.Duration {
	limits := strings.Join(h.Values("X-Sentry-Rate-Limits"), ",")
	if strings.TrimSpace(limits) == "" {
		return retryAfter(h, now)
	}
	var longest time.Duration
	for limit := range strings.SplitSeq(limits, ",") {
		fields := strings.Split(limit, ":")
		seconds, err := strconv.ParseFloat(strings.TrimSpace(fields[0]), 64)
		if err != nil || !(seconds > 0) || seconds > math.MaxInt32 {
			continue
		}
		about := len(fields) < 2 || strings.TrimSpace(fields[1]) == "" // everything
		if !about {
			for category := range strings.SplitSeq(fields[1], ";") {
				category = strings.TrimSpace(category)
				about = about || category == "error" || category == "default"
			}
		}
		if about {
			longest = max(longest, time.Duration(math.Ceil(seconds))*time.Second)
		}
	}
	return longest
}
