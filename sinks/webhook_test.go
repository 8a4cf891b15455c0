package sinks_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/dermai/millrace/notify"
	"github.com/dermai/millrace/schemas"
	"github.com/dermai/millrace/sinks"
	"github.com/dermai/millrace/sinks/sinkstest"
)

func TestWebhookConformance(t *testing.T) {
	for _, more := range []string{"", `, secret: xyzzySECRET, token: xyzzySECRET, headers: {X-Key: xyzzySECRET}`, `, template: '{"key": {{json .ID}}}'`} {
		sinkstest.HTTP(t, func(t *testing.T, url string, timeout time.Duration, now func() time.Time) notify.Receiver {
			return build(t, "webhook", fmt.Sprintf("{url: %q, timeout: %v%s}", url, timeout, more), sinks.Env{Now: now})
		})
	}
}

func TestWebhookGolden(t *testing.T) {
	r := sinkstest.NewRecorder(t)
	now := time.Unix(1772366405, 0)
	s := build(t, "webhook", "{url: "+r.URL+", secret: xyzzy, token: abc, headers: {x-team: payments}}", sinks.Env{Now: func() time.Time { return now }})
	for i, n := range []schemas.Notification{sinkstest.Notification(), sinkstest.Resolved(), sinkstest.Digest()} {
		if reference, err := s.Send(t.Context(), n); err != nil || reference != "" {
			t.Fatalf("%q, %v", reference, err)
		}
		q := r.Requests()[i]
		var body bytes.Buffer
		if err := json.Indent(&body, q.Body, "", " "); err != nil {
			t.Fatal(err)
		}
		golden(t, []string{"webhook_firing.json", "webhook_resolved.json", "webhook_digest.json"}[i], append(body.Bytes(), '\n'))
		for name, want := range map[string]string{
			"Content-Type": "application/json", "Authorization": "Bearer abc", "X-Team": "payments", "Idempotency-Key": n.ID,
		} {
			if got := q.Header.Get(name); got != want {
				t.Errorf("%s is %q, want %q", name, got, want)
			}
		}
		if err := verifyWebhook([]byte("xyzzy"), q.Header.Get(sinks.SignatureHeader), q.Body, now.Add(time.Minute)); err != nil {
			t.Error(err)
		}
		for name, err := range map[string]error{
			"another key":  verifyWebhook([]byte("xyzzz"), q.Header.Get(sinks.SignatureHeader), q.Body, now),
			"another body": verifyWebhook([]byte("xyzzy"), q.Header.Get(sinks.SignatureHeader), append(q.Body, ' '), now),
			"another day":  verifyWebhook([]byte("xyzzy"), q.Header.Get(sinks.SignatureHeader), q.Body, now.Add(time.Hour)),
		} {
			if err == nil {
				t.Errorf("%s passes for signed", name)
			}
		}
	}
}

// TestWebhookSchema: every body is what the schema says, whatever is in the
// notification, and can be looked at.
func TestWebhookSchema(t *testing.T) {
	schema, err := jsonschema.NewCompiler().Compile("webhook.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	r := sinkstest.NewRecorder(t)
	s := build(t, "webhook", "url: "+r.URL, sinks.Env{})
	for i, n := range append(sinkstest.Hostile(), sinkstest.Notification(), sinkstest.Resolved()) {
		if _, err := s.Send(t.Context(), n); err != nil {
			t.Fatal(err)
		}
		body := r.Requests()[i].Body
		sinkstest.Visible(t, body)
		v, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
		if err != nil {
			t.Fatalf("%d: %v", i, err)
		}
		if err := schema.Validate(v); err != nil {
			t.Errorf("%d: %v", i, err)
		}
		var got struct{ Alerts []struct{ Why string } }
		if err := json.Unmarshal(body, &got); err != nil {
			t.Fatal(err)
		}
		want := string([]rune(n.Alerts[0].Why)) // each byte that is no text is a mark
		if len(want) > 10000 {
			want = string([]rune(want)[:4096-len([]rune(" … (cut)"))]) + " … (cut)"
		}
		if got.Alerts[0].Why != want {
			t.Errorf("%d: %s", i, cmp.Diff(want, got.Alerts[0].Why))
		}
	}
}

func TestWebhookTemplate(t *testing.T) {
	r := sinkstest.NewRecorder(t)
	for i, c := range []struct{ options, want string }{
		{`template: '{"text": {{json .Title}}}'`, `{"text": "[FIRING] HighErrorRate service=api"}`},
		{`template: '{"all": [{{range $i, $a := .Alerts}}{{if $i}},{{end}}{{json $a.Labels}}{{end}}]}'`, `{"all": [{"service":"api","severity":"critical"}]}`},
		{"content_type: text/plain\ntemplate: '{{.Status}} {{len .Alerts}} {{(index .Alerts 0).Labels.none}}.'", `firing 1 .`},
	} {
		s := build(t, "webhook", "url: "+r.URL+"\n"+c.options, sinks.Env{})
		if _, err := s.Send(t.Context(), sinkstest.Notification()); err != nil {
			t.Fatal(err)
		}
		if got := string(r.Requests()[i].Body); got != c.want {
			t.Errorf("got %s, want %s", got, c.want)
		}
	}
	// Text of events is data, whatever it looks like.
	s := build(t, "webhook", "url: "+r.URL+"\n"+`template: '{"s": {{json (index .Alerts 0).Annotations.summary}}}'`, sinks.Env{})
	for _, n := range sinkstest.Hostile() {
		if _, err := s.Send(t.Context(), n); err != nil {
			t.Fatal(err)
		}
		all := r.Requests()
		sinkstest.Visible(t, all[len(all)-1].Body)
		if !json.Valid(all[len(all)-1].Body) {
			t.Errorf("not JSON: %.200q", all[len(all)-1].Body)
		}
	}
}

func TestWebhookFaults(t *testing.T) {
	for _, c := range []struct{ options, fault string }{
		{`template: "{{.Titel}} xyzzySECRET"`, "receivers[0].webhook: template: line 1: has no field Titel; use one of docs/receivers.md"},
		{`template: "xyzzySECRET {{env .Title}}"`, "template: line 1: has no function env"},
		{`template: "a\nb{{if .Title}}xyzzySECRET"`, "template: line 2: ends too early"},
		{`template: "{{template \"x\"}}"`, `has no template x`},
		{`template: '{"a": "{{.Title}}", "b": {{(index .Alerts 0).Annotations.summary}} }'`, "template: does not make JSON; write each value as {{json .Title}}"},
		{"content_type: text/plain\n" + `template: "{{printf \"%999999d%999999d\" 1 1}}"`, "template: makes more than 1048576 bytes"},
		{"content_type: text/plain\n" + `template: "{{range $x := .Alerts}}{{.Nothing}}{{end}}"`, "has no field Nothing"},
		{"template: " + strings.Repeat("x", 65<<10), "template: longer than 65536 bytes"},
		{`headers: {"X Y": a}`, `headers: "X Y": not the name of a header`},
		{`headers: {idempotency-key: a}`, `headers: "idempotency-key": is set by Millrace`},
		{`headers: {millrace-signature: a}`, `headers: "millrace-signature": is set by Millrace`},
		{`headers: {X-Key: "xyzzySECRET\r\nX: y"}`, `headers: "X-Key": the value must be`},
		{`content_type: "a\nb"`, "content_type: not the value of a header"},
		{`token: "xyzzySECRET\nx"`, "token: not the value of a header"},
		{"secret: a\nsecret_file: b", "secret and secret_file: give one of the two"},
	} {
		s, err := open("webhook", "url: https://hooks.example.com/x\n"+c.options, sinks.Env{})
		if err == nil || !strings.Contains(err.Error(), c.fault) {
			t.Errorf("%.80s: %v, want %s", c.options, err, c.fault)
			continue
		}
		sinkstest.NoSecret(t, "xyzzySECRET", err, s)
	}
}
