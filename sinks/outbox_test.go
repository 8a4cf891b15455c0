package sinks_test

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"mime"
	"mime/multipart"
	"net/mail"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dermai/millrace/schemas"
	"github.com/dermai/millrace/sinks"
	"github.com/dermai/millrace/sinks/sinkstest"
)

// files lists what is below a directory.
func files(t *testing.T, dir string) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			rel, _ := filepath.Rel(dir, path)
			out = append(out, rel)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func read(t *testing.T, path ...string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestOutboxGolden(t *testing.T) {
	dir := t.TempDir()
	s := build(t, "outbox", "", sinks.Env{Dir: dir})
	for name, n := range map[string]schemas.Notification{"firing": sinkstest.Notification(), "resolved": sinkstest.Resolved(), "digest": sinkstest.Digest()} {
		reference, err := s.Send(t.Context(), n)
		if err != nil || reference != "team/"+n.ID {
			t.Fatalf("%q, %v", reference, err)
		}
		at := filepath.Join(dir, "outbox", "team", n.ID)
		if diff := cmp.Diff([]string{"email.eml", "sentry.json", "slack.json"}, files(t, at)); diff != "" {
			t.Errorf("files (-want +got):\n%s", diff)
		}
		golden(t, "email_"+name+".eml", read(t, at, "email.eml"))
		golden(t, "sentry_"+name+".json", read(t, at, "sentry.json"))
		golden(t, "slack_"+name+".json", read(t, at, "slack.json"))
	}
}

// TestOutboxHostile reads back what was rendered as its readers would.
func TestOutboxHostile(t *testing.T) {
	dir := t.TempDir()
	s := build(t, "outbox", "dir: "+dir, sinks.Env{})
	for i, n := range sinkstest.Hostile() {
		if _, err := s.Send(t.Context(), n); err != nil {
			t.Fatalf("%d: %v", i, err)
		}
		at := filepath.Join(dir, "outbox", "team", n.ID)
		m, err := mail.ReadMessage(strings.NewReader(string(read(t, at, "email.eml"))))
		if err != nil {
			t.Fatalf("%d: %v", i, err)
		}
		if len(m.Header) != 9 || m.Header.Get("Bcc") != "" || m.Header.Get("Message-Id") != "<"+n.ID+"@millrace>" {
			t.Errorf("%d: headers %.300q", i, m.Header)
		}
		text, html := mailParts(t, m)
		sinkstest.Visible(t, text)
		sinkstest.Visible(t, html)
		if size := len(text) + len(html); size > 100<<10 {
			t.Errorf("%d: %d bytes of mail", i, size)
		}
		// The same tags as for any other notification: texts are only text.
		if diff := cmp.Diff(map[string]bool{}, strangeTags(html)); diff != "" {
			t.Errorf("%d: tags (-want +got):\n%s", i, diff)
		}
		for line := range strings.SplitSeq(string(read(t, at, "email.eml")), "\r\n") {
			if len(line) > 998 || strings.Contains(line, "\n") { // RFC 5322, 2.1.1
				t.Errorf("%d: a line of %d bytes", i, len(line))
			}
		}
		var event struct {
			ID    string            `json:"event_id"`
			Level string            `json:"level"`
			Tags  map[string]string `json:"tags"`
		}
		data := read(t, at, "sentry.json")
		if err := json.Unmarshal(data, &event); err != nil || event.ID != n.ID || event.Level != "error" && event.Level != "fatal" {
			t.Errorf("%d: %+v, %v", i, event, err)
		}
		for name, value := range event.Tags {
			if len([]rune(name)) > 32 || len([]rune(value)) > 200 || strings.Contains(value, "\n") {
				t.Errorf("%d: tag %q has %d characters", i, name, len(value))
			}
		}
		sinkstest.Visible(t, data)
	}
	// Nothing has left its directory, and nothing else was written.
	for _, f := range files(t, dir) {
		if parts := strings.Split(f, "/"); len(parts) != 4 || parts[0] != "outbox" || parts[1] != "team" {
			t.Errorf("wrote %s", f)
		}
	}
}

// mailParts reads the text and the HTML of a mail.
func mailParts(t *testing.T, m *mail.Message) (text, html []byte) {
	t.Helper()
	kind, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/alternative" {
		t.Fatalf("%s: %v", kind, err)
	}
	r := multipart.NewReader(m.Body, params["boundary"])
	var parts [][]byte
	for {
		p, err := r.NextPart() // decodes quoted-printable
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(p)
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, b)
	}
	if len(parts) != 2 {
		t.Fatalf("%d parts", len(parts))
	}
	return parts[0], parts[1]
}

var tag = regexp.MustCompile(`<(/?[^ >]+)`)

// strangeTags are those that are not in the template.
func strangeTags(html []byte) map[string]bool {
	own := strings.Fields("!doctype html head meta title style body div h1 span p table tr th td")
	out := map[string]bool{}
	for _, m := range tag.FindAllSubmatch(html, -1) {
		if name := strings.TrimPrefix(string(m[1]), "/"); !slices.Contains(own, name) {
			out[name] = true
		}
	}
	return out
}

// TestOutboxAgain sends twice, beside another sender, and after one that died.
func TestOutboxAgain(t *testing.T) {
	dir := t.TempDir()
	n := sinkstest.Notification()
	left := filepath.Join(dir, "outbox", "team", "."+n.ID+"-123")
	if err := os.MkdirAll(left, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(left, "slack.json"), []byte("{ha"), 0o600); err != nil {
		t.Fatal(err)
	}
	var senders sync.WaitGroup
	for range 8 {
		senders.Go(func() {
			s := build(t, "outbox", "", sinks.Env{Dir: dir})
			for {
				_, err := s.Send(t.Context(), n)
				var e *sinks.SendError
				if err == nil {
					return
				}
				if !errors.As(err, &e) || e.Permanent() {
					t.Error(err)
					return
				}
			}
		})
	}
	senders.Wait()
	base := filepath.Join("outbox", "team", n.ID)
	want := []string{filepath.Join(base, "email.eml"), filepath.Join(base, "sentry.json"), filepath.Join(base, "slack.json")}
	if diff := cmp.Diff(want, files(t, dir)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	golden(t, "slack_firing.json", read(t, dir, base, "slack.json"))
}

func TestOutboxRefuses(t *testing.T) {
	dir := t.TempDir()
	s := build(t, "outbox", "", sinks.Env{Dir: dir})
	for _, id := range []string{"", ".", "..", "../x", "a/b", "/etc", "a\x00", strings.Repeat("a", 64), "-x"} {
		n := sinkstest.Notification()
		n.ID = id
		_, err := s.Send(t.Context(), n)
		var e *sinks.SendError
		if !errors.As(err, &e) || !e.Permanent() {
			t.Errorf("id %q: %v", id, err)
		}
	}
	if got := files(t, dir); len(got) > 0 {
		t.Errorf("wrote %q", got)
	}
	if _, off := build(t, "outbox", "", sinks.Env{}).Off(); !off {
		t.Error("on without a directory")
	}
	// A directory that cannot be made is tried again, and its path is not shown.
	blocked := filepath.Join(dir, "file")
	if err := os.WriteFile(blocked, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := build(t, "outbox", "dir: "+blocked, sinks.Env{}).Send(t.Context(), sinkstest.Notification())
	var e *sinks.SendError
	if !errors.As(err, &e) || e.Permanent() || strings.Contains(e.Error(), dir) {
		t.Errorf("blocked: %v", err)
	}
}
