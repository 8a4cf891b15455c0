package sinks

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dermai/millrace/internal/secret"
	"github.com/dermai/millrace/notify"
	"github.com/dermai/millrace/schemas"
)

// SignatureHeader tells who sent a webhook and when: t=<Unix seconds>,v1=<hex>,
// where v1 is the HMAC-SHA256 of the same seconds, a dot and the body.
const SignatureHeader = "Millrace-Signature"

// webhookOptions are the options of a webhook.
type webhookOptions struct {
	// URL is where to post to; it may hold a secret. Default: what the file
	// URLFile, the variable WEBHOOK_URL or the file that WEBHOOK_URL_FILE names
	// holds. None: the receiver is off.
	URL     string `yaml:"url"`
	URLFile string `yaml:"url_file"`
	// Secret is the key of the signature, in the same ways, and WEBHOOK_SECRET.
	// None: requests are not signed.
	Secret     string `yaml:"secret"`
	SecretFile string `yaml:"secret_file"`
	// Token is a bearer token, in the same ways, and WEBHOOK_TOKEN. None: no
	// Authorization.
	Token     string `yaml:"token"`
	TokenFile string `yaml:"token_file"`
	// Headers go along with each request.
	Headers map[string]string `yaml:"headers"`
	// Template makes the body, see webhookTemplate. Default: the whole notification
	// as JSON.
	Template string `yaml:"template"`
	// ContentType is that of the body. Default: application/json. A body of that
	// type must be JSON.
	ContentType string `yaml:"content_type"`
	HTTPOptions `yaml:",inline"`
}

// Webhook posts notifications as JSON, or as a template makes them. The body of
// a second attempt is that of the first; only the time in the signature differs.
type Webhook struct {
	poster      *Poster // nil: off
	key         secret.Text
	token       secret.Text
	headers     []webhookHeader
	template    *webhookTemplate // nil: the whole notification
	contentType string
}

type webhookHeader struct {
	name  string
	value secret.Text
}

func buildWebhook(_ string, options notify.Options, env Env) (Sink, error) {
	var o webhookOptions
	if err := options.Decode(&o); err != nil {
		return nil, err
	}
	w := &Webhook{contentType: o.ContentType}
	if w.contentType == "" {
		w.contentType = "application/json"
	}
	if !fieldValue.MatchString(w.contentType) {
		return nil, errors.New("content_type: not the value of a header; use application/json")
	}
	url, err1 := env.ReadSecret("url", secret.New(o.URL), o.URLFile, "WEBHOOK_URL")
	key, err2 := env.ReadSecret("secret", secret.New(o.Secret), o.SecretFile, "WEBHOOK_SECRET")
	token, err3 := env.ReadSecret("token", secret.New(o.Token), o.TokenFile, "WEBHOOK_TOKEN")
	headers, err4 := webhookHeaders(o.Headers)
	template, err5 := newWebhookTemplate(o.Template, w.json())
	err := errors.Join(err1, err2, err3, err4, err5)
	if err == nil && !token.IsZero() && !fieldValue.MatchString(token.Reveal()) {
		err = errors.New("token: not the value of a header; write the token alone into it")
	}
	if err != nil || url.IsZero() {
		return w, err
	}
	w.key, w.token, w.headers, w.template = key, token, headers, template
	w.poster, err = NewPoster("url", url, o.HTTPOptions, env.Now)
	return w, err
}

var (
	fieldName  = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}$") // token of RFC 9110, 5.6.2
	fieldValue = regexp.MustCompile(`^[\x20-\x7e]{1,1000}$`)
)

// webhookHeaders checks the headers of the configuration. Values are secret.
func webhookHeaders(given map[string]string) ([]webhookHeader, error) {
	var out []webhookHeader
	var faults []error
	for _, name := range slices.Sorted(maps.Keys(given)) {
		fault := func(text string) {
			faults = append(faults, errors.New("headers: "+strconv.Quote(truncate(name, 100))+": "+text))
		}
		canonical := http.CanonicalHeaderKey(name)
		switch {
		case !fieldName.MatchString(name):
			fault("not the name of a header; use letters, digits and -")
		case slices.Contains(ownHeaders, canonical) || strings.HasPrefix(canonical, "Millrace-"):
			fault("is set by Millrace; remove it")
		case !fieldValue.MatchString(given[name]):
			fault("the value must be 1 to 1000 printable ASCII characters")
		}
		out = append(out, webhookHeader{canonical, secret.New(given[name])})
	}
	return out, errors.Join(faults...)
}

// ownHeaders are those that a configuration cannot set.
var ownHeaders = []string{
	"Authorization", "Connection", "Content-Encoding", "Content-Length", "Content-Type", "Host", "Idempotency-Key",
	"Te", "Trailer", "Transfer-Encoding", "Upgrade", "User-Agent",
}

// json tells whether the body must be JSON.
func (w *Webhook) json() bool {
	kind, _, _ := strings.Cut(w.contentType, ";")
	kind = strings.ToLower(strings.TrimSpace(kind))
	return kind == "application/json" || strings.HasSuffix(kind, "+json")
}

// Off implements Sink.
func (w *Webhook) Off() (reason string, off bool) {
	if w.poster == nil {
		return "no URL: set url or url_file, or WEBHOOK_URL in the environment", true
	}
	return "", false
}

// Send implements notify.Receiver. There is no reference.
func (w *Webhook) Send(ctx context.Context, n schemas.Notification) (string, error) {
	if reason, off := w.Off(); off {
		return "", &SendError{Reason: reason}
	}
	body, err := w.body(n)
	if err != nil {
		return "", &SendError{Reason: err.Error(), Never: true}
	}
	_, err = w.poster.Post(ctx, n.ID, w.contentType, body, w.header(body, w.poster.now()))
	return "", err
}

func (w *Webhook) body(n schemas.Notification) ([]byte, error) {
	m := webhookMessageOf(n)
	if w.template == nil {
		return webhookJSON(m)
	}
	return w.template.execute(m)
}

// header holds what goes along with a body that is sent now.
func (w *Webhook) header(body []byte, now time.Time) http.Header {
	h := http.Header{}
	for _, f := range w.headers {
		h.Set(f.name, f.value.Reveal())
	}
	if !w.token.IsZero() {
		h.Set("Authorization", "Bearer "+w.token.Reveal())
	}
	if !w.key.IsZero() {
		at := strconv.FormatInt(now.Unix(), 10)
		mac := hmac.New(sha256.New, []byte(w.key.Reveal()))
		mac.Write(bytes.Join([][]byte{[]byte(at), body}, []byte(".")))
		h.Set(SignatureHeader, "t="+at+",v1="+hex.EncodeToString(mac.Sum(nil)))
	}
	return h
}
